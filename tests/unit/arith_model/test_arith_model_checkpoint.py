"""A checkpoint is whole or not there, and the newest whole one is found."""

from __future__ import annotations

import os
import time

import pytest
import torch

from arith_model import checkpoint
from arith_model.checkpoint import Checkpoint


def checkpoint_of(step: int) -> Checkpoint:
    return Checkpoint(step, {"model/w": torch.full((3,), float(step))}, {"log": [{"loss": 0.1 + 0.2}]})


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "truncated":
        del data[-1:]
    elif how == "emptied":
        data.clear()
    else:
        data[-1] ^= 1
    path.write_bytes(data)


def test_what_was_written_is_read(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    written = checkpoint_of(7)
    checkpoint.write(tmp_path, written)
    read = checkpoint.newest(tmp_path)
    assert (read.step, read.facts) == (7, written.facts)
    assert read.tensors.keys() == {"model/w"}
    assert torch.equal(read.tensors["model/w"], written.tensors["model/w"])


def test_a_folder_that_is_not_there_is_made_by_writing_and_holds_nothing_before(tmp_path):
    folder = tmp_path / "not" / "yet"
    assert checkpoint.newest(folder) is None
    checkpoint.write(folder, checkpoint_of(1))
    assert checkpoint.newest(folder).step == 1


def test_the_newest_two_stay(tmp_path):
    paths = [checkpoint.write(tmp_path, checkpoint_of(step)) for step in (1, 2, 9, 10, 100)]
    assert sorted(tmp_path.iterdir()) == paths[-2:]
    assert checkpoint.newest(tmp_path).step == 100


@pytest.mark.parametrize("how", ["truncated", "emptied", "one flipped bit"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, caplog, how):
    checkpoint.write(tmp_path, checkpoint_of(1))
    newest = checkpoint.write(tmp_path, checkpoint_of(2))
    damage(newest, how)
    assert checkpoint.newest(tmp_path).step == 1
    assert f"{newest}: does not match its checksum, using an older checkpoint" in caplog.messages
    damage(next(tmp_path.glob("step-000000001-*")), how)
    assert checkpoint.newest(tmp_path) is None


def test_equal_checkpoints_are_equal_files(tmp_path):
    one, two = (checkpoint.write(tmp_path / name, checkpoint_of(3)) for name in ("one", "two"))
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.write(tmp_path, checkpoint_of(1))
    assert list(tmp_path.iterdir()) == []


def test_the_half_written_file_of_a_killed_writer_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    abandoned, living = tmp_path / ".dead.part", tmp_path / ".alive.part"
    for path in (abandoned, living):
        path.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(abandoned, (two_hours_ago, two_hours_ago))
    checkpoint.write(tmp_path, checkpoint_of(1))
    assert not abandoned.exists()
    assert living.exists()
    assert checkpoint.newest(tmp_path).step == 1


def test_one_that_another_writer_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, checkpoint_of(1))
    newest = checkpoint.write(tmp_path, checkpoint_of(2))
    read = checkpoint.load_file

    def removed_first(path):
        newest.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(checkpoint, "load_file", removed_first)
    assert checkpoint.newest(tmp_path).step == 1


@pytest.mark.parametrize("tied", [False, True])
def test_a_fresh_model_and_optimiser_go_on_where_the_gathered_ones_stood(tmp_path, tied):
    def fresh():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.0), torch.nn.Linear(3, 3))
        if tied:
            model[2].weight = model[0].weight
        return model, torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    def step(model, optimizer):
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    one, two = fresh(), fresh()
    for _ in range(3):
        step(*one)
    checkpoint.write(tmp_path, Checkpoint(3, checkpoint.gather(*one), {}))
    checkpoint.scatter(checkpoint.newest(tmp_path).tensors, *two)
    step(*one)
    step(*two)
    after_one, after_two = checkpoint.gather(*one), checkpoint.gather(*two)
    assert after_one.keys() == after_two.keys()
    assert all(torch.equal(after_one[name], after_two[name]) for name in after_one)
    assert sum(name.startswith("optimizer/") for name in after_one) == 3 * len(list(one[0].parameters()))


def test_what_was_gathered_does_not_change_with_the_model():
    model = torch.nn.Linear(2, 2)
    gathered = checkpoint.gather(model, torch.optim.Adam(model.parameters()))
    before = gathered["model/weight"].clone()
    with torch.no_grad():
        model.weight.add_(1)
    assert torch.equal(gathered["model/weight"], before)
