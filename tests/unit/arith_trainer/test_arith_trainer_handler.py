"""A spec goes in and a Hugging Face folder comes out, the same bytes however often the worker died."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from arith_model.transformer import build_for, load_model
from arith_shared.problems import encode, sample
from arith_shared.work import Context, Unit
from arith_trainer.evaluate import accuracy
from arith_trainer.handler import LOG_FILE, handle

UNIT = Unit("run", "train", "model", 1, {})
CPU = torch.device("cpu")


@pytest.fixture
def train(tmp_path):
    """Run the handler; returns the artifact's files by name, and the outcome."""

    def train(spec, name, scratch=None, **context):
        output, scratch = tmp_path / name, scratch or tmp_path / f"scratch-{name}"
        for folder in (output, scratch):
            folder.mkdir(exist_ok=True)
        outcome = handle(spec, UNIT, Context({}, output, scratch, **context))
        return {path.name: path.read_bytes() for path in output.iterdir()}, outcome

    return train


def test_two_runs_give_the_same_bytes_and_another_seed_gives_others(spec_with, train):
    spec = spec_with()
    one, outcome = train(spec, "one")
    two, again = train(spec, "two")
    assert one == two
    assert outcome == again
    other, _ = train(spec.model_copy(update={"seed": 7}), "other")
    assert {name for name in one if one[name] != other[name]} == {"README.md", "model.safetensors", LOG_FILE}


def test_the_artifact_is_a_model_folder_with_its_training_log(spec_with, train):
    files, _ = train(spec_with(), "one")
    assert set(files) == {
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "training.jsonl",
    }  # fmt: skip


def test_the_log_is_json_by_line_without_times(spec_with, train):
    files, _ = train(spec_with(), "one")
    lines = [json.loads(line) for line in files[LOG_FILE].decode().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 12]
    for line in lines:
        assert list(line) == ["step", "loss", "grad_norm", "lr", "accuracy"]


def test_the_outcome_says_how_the_training_ended(spec_with, train, tmp_path):
    spec = spec_with()
    files, outcome = train(spec, "one")
    last = json.loads(files[LOG_FILE].decode().splitlines()[-1])
    model = load_model(tmp_path / "one", torch.float32, CPU)
    distribution = spec.task.training_distribution()
    held_out = encode(sample(distribution, "valid", 0, 30, spec.seed), distribution)
    assert outcome.meta == {
        "accuracy": accuracy(model, held_out, CPU),
        "loss": last["loss"],
        "steps": 12,
        # 64 problems of 14 tokens, twice.
        "tokens": 2 * 64 * 14,
        "parameters": sum(weight.numel() for weight in build_for(spec).parameters()),
        "device": outcome.meta["device"],
    }
    assert json.loads(json.dumps(outcome.meta)) == outcome.meta
    assert not outcome.rows


def test_training_starts_from_the_untrained_lm_of_the_spec_and_keeps_its_embeddings(
    spec_with, train, tmp_path
):
    spec = spec_with(lr=1e-12)
    train(spec, "one")
    start, end = build_for(spec).state_dict(), load_model(tmp_path / "one", torch.float32, CPU).state_dict()
    for name, weight in start.items():
        torch.testing.assert_close(end[name], weight, rtol=0, atol=1e-7)
    assert torch.equal(end["model.decoder.embed_tokens.weight"], start["model.decoder.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ({"training": "general", "chain": "short"}, {"batch_tokens": 1000}),
        ({"layout": "level-4", "chain": "backtrack"}, {"batch_tokens": 1000, "loss": "sequence"}),
        ({}, {"precision": "bfloat16", "optimizer": "adamw", "stop_at_accuracy": 0.001}),
    ],
    ids=["general", "chain", "bfloat16"],
)
def test_every_kind_of_task_can_be_trained(spec_with, train, task, options):
    _, outcome = train(spec_with(task=task, **options), "one")
    assert 0 <= outcome.meta["accuracy"] <= 1
    assert outcome.meta["steps"] > 0


#: Trains until the process is killed in the middle of optimiser step 9, three steps after a checkpoint.
VICTIM = """
import itertools, os, signal, sys
from pathlib import Path
import torch
from arith_shared.specs import Spec
from arith_shared.work import Context, Unit
from arith_trainer import handler, loop

clock, steps, step = itertools.count(), itertools.count(1), torch.optim.Adam.step

def killed(optimizer, *arguments):
    if next(steps) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(optimizer, *arguments)

torch.set_num_threads(int(sys.argv[3]))
loop.time.monotonic = lambda: next(clock)
torch.optim.Adam.step = killed
folder = Path(sys.argv[1])
spec = Spec.model_validate_json(sys.argv[2])
handler.handle(spec, Unit("run", "train", "model", 1, {}), Context({}, folder / "lost", folder / "scratch"))
"""


def test_a_worker_killed_between_checkpoints_loses_time_and_nothing_else(spec_with, train, tmp_path):
    spec, scratch = spec_with(checkpoint_every_s=4.5), tmp_path / "scratch"
    for folder in (tmp_path / "lost", scratch):
        folder.mkdir()
    arguments = [tmp_path, spec.model_dump_json(), str(torch.get_num_threads())]
    victim = subprocess.run([sys.executable, "-c", VICTIM, *arguments], capture_output=True, timeout=120)
    assert victim.returncode == -signal.SIGKILL, victim.stderr.decode()
    assert [path.name[:14] for path in sorted(scratch.iterdir())] == ["step-000000005"]
    seen = []
    resumed, outcome = train(spec, "resumed", scratch, progress=lambda done, *rest: seen.append(done))
    assert seen == [0, *range(6, 13)]
    whole, expected = train(spec, "whole")
    assert resumed == whole
    assert outcome == expected
    assert not any(Path(tmp_path / "lost").iterdir())
