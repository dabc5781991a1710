# arithctl: `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install demo check format test test-fast test-faults test-browser lock vendor reference env up down logs soak explore bench bench-gpu paper-gpu clean

# Python 3.11 or newer. PIP_FLAGS reaches every pip call, for example to choose a CPU build of torch.
PYTHON ?= python3.11
PIP_FLAGS ?=
BIN := .venv/bin

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed ## Make .venv with everything: command line, workers, figures, development tools.

.venv/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $@

demo: install ## The paper's phenomenon on a laptop: train, extract, probe, draw (a few minutes on two cores).
	ARITH_MODE=embedded $(BIN)/arithctl submit tiny-specialized --wait

# Peers of the benches, laid over .venv so that they share its torch and leave it as it is.
.venv-peers/.installed: bench/peers.txt .venv/.installed
	$(BIN)/python -m venv --clear .venv-peers
	echo 'import site; site.addsitedir("$(CURDIR)/.venv/lib/'$$(ls .venv/lib)'/site-packages")' \
	  > .venv-peers/lib/$$(ls .venv/lib)/site-packages/ours.pth
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -r bench/peers.txt
	@touch $@

BENCH_FLAGS ?=

bench: .venv-peers/.installed ## Measure beside what a user would pick instead, write docs/benchmarks.md; BENCH_FLAGS=--quick.
	OMP_WAIT_POLICY=passive .venv-peers/bin/python -m bench $(BENCH_FLAGS)

# On a bare GPU machine the environment's own Python: GPU_PYTHON=python3 make bench-gpu, PAPER_PYTHON=python3 make paper-gpu
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_FLAGS ?=

bench-gpu: ## What one GPU makes of training, extraction, probes: ten minutes; GPU_FLAGS='--quick --out DIR'.
	$(GPU_PYTHON) bench/gpu.py $(GPU_FLAGS)

PAPER_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
PAPER_FLAGS ?=

paper-gpu: ## Section 3 at full size on one GPU, without queue or database; PAPER_FLAGS='--budget-min 60 --out docs/results/gpu'.
	$(PAPER_PYTHON) bench/paper_gpu $(PAPER_FLAGS)

check: install ## Format, lint, types, import rule: what CI checks before the tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Let ruff format and mend what it can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A file's tests share processes and models, so files are what is shared out; two compute threads would fight for a core.
PYTEST := OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/pytest
SHARED_OUT := -n 2 --dist loadfile

test: install ## All tests but those of `make test-faults`, on two cores.
	$(PYTEST) $(SHARED_OUT) -m "not faults"

test-fast: install ## The tests that take seconds.
	$(PYTEST) $(SHARED_OUT) -m "not slow and not faults"

test-faults: install ## The tests that kill, fill or cut off real processes, brokers and databases.
	OMP_WAIT_POLICY=passive $(BIN)/pytest -m faults

test-browser: install ## The tests that open pages in Debian's headless Chromium; screenshots land in .screenshots.
	OMP_WAIT_POLICY=passive $(BIN)/pytest -m browser

env: ## Write .env with strong passwords for the compose stack; overwrites nothing.
	@sh services/env.sh

up: ## Start the compose stack and wait until it is healthy.
	docker compose --profile cli build
	docker compose up --wait --detach

down: ## Stop the compose stack; its volumes stay (`docker compose down --volumes` removes them).
	docker compose down

logs: ## Follow the logs of the compose stack.
	docker compose logs --follow --tail 100

# Torch is not in the locks: each image picks the build for its device. UV_FLAGS says where its small build is.
UV_FLAGS ?= --torch-backend cpu
UV_COMPILE = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --no-emit-package torch \
	--custom-compile-command "make lock" $(UV_FLAGS) pyproject.toml --extra s3 --extra metrics

reference: install ## Write docs/commands.md from the commands' own help.
	$(BIN)/python -m arithctl.reference > docs/commands.md

lock: install ## Pin the dependencies of each image anew.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for service in trainer extractor prober; do \
	  $(UV_COMPILE) --extra $$service -o services/$$service/requirements.lock || exit 1; done
	$(UV_COMPILE) --extra figures --extra dashboard -o cli/requirements.lock

# The charting library of the report: its file is committed, so that nobody needs npm; this fetches it anew.
ECHARTS := 6.1.0
VENDOR := cli/arithctl/report/vendor

vendor: ## Fetch the report's charting library from its package (needs npm) and check it against SHA256SUMS.
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  file=$$(cd "$$folder" && npm pack --silent echarts@$(ECHARTS)); tar -xzf "$$folder/$$file" -C "$$folder"; \
	  mkdir "$$folder/new"; cp "$$folder/package/dist/echarts.min.js" "$$folder/new/echarts.min.js"; \
	  cp "$$folder/package/LICENSE" "$$folder/new/echarts-LICENSE"; cp "$$folder/package/NOTICE" "$$folder/new/echarts-NOTICE"; \
	  cp "$$folder/package/licenses/LICENSE-d3" "$$folder/new/echarts-LICENSE-d3"; \
	  (cd "$$folder/new" && sha256sum --check "$(CURDIR)/$(VENDOR)/SHA256SUMS"); cp "$$folder/new/"* $(VENDOR)/

# The soak: how long, which faults (a number repeats them; empty = new ones), on what.
MINUTES ?= 20
SEED ?=
DATABASE ?= sqlite

soak: install ## Small runs under random faults; MINUTES=20 SEED= DATABASE=sqlite (or postgresql) SOAK_FLAGS=.
	PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --database $(DATABASE) $(SOAK_FLAGS)

# How many random orders of events `make explore` tries on each database.
EXAMPLES ?= 1000

explore: install ## New random orders of events in the ledger, longer and more than `make test` tries; EXAMPLES=1000.
	ARITH_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q tests/contract/test_contract_state_machine.py

clean: ## Remove the environment, caches and the state of embedded runs in this folder.
	rm -rf .venv .arith arithctl-results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
