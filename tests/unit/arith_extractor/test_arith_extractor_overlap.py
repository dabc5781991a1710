"""Work behind the LM's back changes nothing but the time: same states, own errors, bounded memory, no thread left."""

from __future__ import annotations

import threading

import pytest
import torch

from arith_extractor.handler import handle
from arith_extractor.overlap import DEPTH, Behind
from arith_shared.errors import CancelledError
from arith_shared.store.states import ShardWriter
from arith_shared.work import Artifact, Context, Unit

CPU = torch.device("cpu")


def threads_behind():
    return [thread for thread in threading.enumerate() if thread.name.startswith("behind")]


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    assert threads_behind() == []


def test_jobs_run_in_order_on_one_other_thread_and_are_done_when_the_block_ends():
    done = []
    with Behind(CPU) as behind:
        for number in range(50):
            behind.submit(lambda number=number: done.append((number, threading.get_ident())))
    assert [number for number, _ in done] == list(range(50))
    assert len({thread for _, thread in done} | {threading.get_ident()}) == 2


def test_no_more_jobs_are_taken_than_memory_is_meant_for():
    gate, taken, done = threading.Event(), [], []

    def hand_in():
        with Behind(CPU) as behind:
            for number in range(DEPTH + 1):
                behind.submit(lambda number=number: (gate.wait(30), done.append(number)))
                taken.append(number)

    feeder = threading.Thread(target=hand_in)
    feeder.start()
    feeder.join(0.5)
    assert taken == list(range(DEPTH))
    gate.set()
    feeder.join(30)
    assert done == taken == list(range(DEPTH + 1))


@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_jobs_error_is_raised_as_it_is_and_nothing_after_it_is_done(more):
    done, error = [], OSError(28, "No space left on device")

    def fail():
        raise error

    def batches():
        with Behind(CPU) as behind:
            behind.submit(fail)
            for _ in range(more):
                behind.submit(lambda: done.append(1))

    with pytest.raises(OSError, match="No space left") as caught:
        batches()
    assert caught.value is error
    assert done == []


def test_a_block_that_raises_drops_what_waits_and_keeps_its_own_error():
    gate, done = threading.Event(), []
    threading.Timer(0.2, gate.set).start()

    def cancelled():
        with Behind(CPU) as behind:
            behind.submit(lambda: (gate.wait(30), done.append("running")))
            behind.submit(lambda: done.append("waiting"))
            raise CancelledError("by its user")

    with pytest.raises(CancelledError, match="by its user"):
        cancelled()
    assert "waiting" not in done


@pytest.mark.parametrize(("keep", "batch"), [("all", 7), ("solved", 7), ("solved", 64)])
def test_a_shard_is_the_same_to_the_byte_as_without_a_thread(keep, batch, spec, lm, tmp_path, monkeypatch):
    lm.save_pretrained(tmp_path / "model")
    artifact = Artifact("k" * 32, "models", tmp_path / "model", f"overlap-{keep}-{batch}", {})
    options = spec.extract.model_copy(update={"keep": keep, "batch_problems": batch})
    payload = {"weights": "trained", "split": "probe", "start": 0, "count": 64}

    def extract(name):
        folder = tmp_path / name
        folder.mkdir()
        unit = Unit("run", "extract", "shard", 1, payload)
        handle(
            spec.model_copy(update={"extract": options}), unit, Context({"train": [artifact]}, folder, folder)
        )
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    behind = extract("behind")
    monkeypatch.setattr(Behind, "submit", lambda self, job: job())
    assert behind == extract("plain")
    assert len(behind) == 4


def test_a_unit_whose_states_cannot_be_kept_fails_with_the_reason(spec, lm, tmp_path, monkeypatch):
    lm.save_pretrained(tmp_path / "model")
    artifact = Artifact("k" * 32, "models", tmp_path / "model", "overlap-full", {})
    payload = {"weights": "untrained", "split": "probe", "start": 0, "count": 64}
    batches = iter(range(3))

    def full(*_):
        if next(batches) == 2:
            raise MemoryError("no room for the third batch")

    monkeypatch.setattr(ShardWriter, "add_bits", full)
    options = spec.extract.model_copy(update={"batch_problems": 8})
    unit = Unit("run", "extract", "shard", 1, payload)
    with pytest.raises(MemoryError, match="third batch"):
        handle(
            spec.model_copy(update={"extract": options}),
            unit,
            Context({"train": [artifact]}, tmp_path, tmp_path),
        )
