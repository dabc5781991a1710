"""Other programs open the hidden states of a real run with the lines of docs/states.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arith_shared.store.halves import encode_half
from arith_shared.store.states import StateReader
from harness.documents import blocks
from harness.tiny import ENV, Tiny

#: The first test to ask for the runs waits for them, on a busy machine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIBRARIES = ("pandas", "pyarrow", "datasets")
*THREE, FACTS, BFLOAT16 = blocks("docs/states.md", "python")


@pytest.fixture(scope="module")
def shard(tiny: Tiny) -> Path:
    """A shard of the trained LM, as the command of the document gives it."""
    tiny.arithctl("export", tiny.run, "--states", "-o", "run.zip")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", "run.zip", "run"], cwd=tiny.folder, check=True)
    return min((tiny.folder / "run" / "states").iterdir())


def run_in(folder: Path, lines: str, name: str, caches: Path) -> np.ndarray:
    """What the lines leave under a name; they run in a process of their own that has no network."""
    target = caches / "array.npy"
    offline = {"HF_HOME": str(caches / "hf"), "HF_HUB_OFFLINE": "1"}
    program = f"{lines}\nimport numpy\nnumpy.save({str(target)!r}, {name})\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=ENV | offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.load(target, allow_pickle=False)


@pytest.mark.parametrize(("library", "lines"), [*zip(LIBRARIES, THREE, strict=True)], ids=LIBRARIES)
def test_three_lines_give_the_states_that_our_own_reader_gives(shard, tmp_path, library, lines):
    assert library in lines.splitlines()[0]
    assert len([line for line in lines.splitlines() if line]) == 3
    states = run_in(shard, lines, "states", tmp_path)
    assert states.dtype == np.float16
    expected = StateReader([shard], limit=1_000).matrix(1, 5)
    assert expected.std() > 0
    np.testing.assert_array_equal(states.astype(np.float32), expected)


def test_the_values_beside_them_are_those_of_the_problems_that_were_kept(shard, tmp_path):
    values = run_in(shard, FACTS, "values", tmp_path)
    np.testing.assert_array_equal(values, StateReader([shard], limit=1_000).values("B"))
    labels = run_in(shard, FACTS, "facts['labels']", tmp_path)
    assert tuple(labels) == StateReader([shard], limit=1).labels


def test_the_line_for_bfloat16_undoes_what_writing_did():
    numbers = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    bits = np.empty(numbers.shape, np.uint16)
    encode_half(numbers, "bfloat16", out=bits)
    names = {"numpy": np, "cells": [row.tobytes() for row in bits]}
    exec(BFLOAT16, names)  # noqa: S102 - the line is the promise
    assert np.abs(names["states"] / numbers - 1).max() < 2**-8
