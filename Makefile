# arithctl: `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install demo paper-gpu check format test test-fast clean

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
	$(BIN)/arithctl submit tiny-specialized --wait

# On a bare GPU machine the environment's own Python: PAPER_PYTHON=python3 make paper-gpu
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

test: install ## All tests.
	OMP_WAIT_POLICY=passive $(BIN)/pytest

test-fast: install ## The tests that take seconds.
	OMP_WAIT_POLICY=passive $(BIN)/pytest -m "not slow"

clean: ## Remove the environment, caches and the state of embedded runs in this folder.
	rm -rf .venv .arith arithctl-results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
