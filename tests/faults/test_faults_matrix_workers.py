"""Rows 1 to 9 of the fault matrix: what happens to workers and to their units, with work that takes milliseconds.

Rows 1 and 5 are also put to the test with the real trainer (`test_faults_matrix_training.py`).
"""

from __future__ import annotations

import signal

from arith_shared import queue
from arith_shared.ledger.reconcile import Message
from harness import processes
from harness.limits import MemoryGroup

LONG = {"sleep_s": 600}


def test_row_01_a_killed_pool_child_costs_one_attempt_and_its_parent_starts_another(standing, unharmed):
    worker = standing.services["worker"]
    starts, children = worker.starts, processes.pool_children(worker.pid)
    standing.break_units({"model": {"kill": True}, "trained/layer-01/position-010": {"kill": True}})
    run = standing.submit()
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["lost", "done"]
    assert standing.outcomes(run, "trained/layer-01/position-010") == ["lost", "done"]
    assert worker.starts == starts
    assert processes.pool_children(worker.pid) - children


def test_row_02_a_killed_worker_is_started_again_and_its_unit_done_by_the_next(standing, unharmed):
    standing.break_units({"model": LONG})
    run = standing.submit()
    worker = standing.holder(run, "model")
    starts = worker.starts
    worker.send(signal.SIGKILL)
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["lost", "done"]
    assert worker.starts == starts + 1


def test_row_03_files_of_a_worker_that_was_killed_before_it_recorded_them_are_garbage(standing, unharmed):
    standing.fail_at("publish.after", "kill")
    run = standing.submit()
    removed = unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["lost", "done"]
    assert sorted(name.split("/")[-1] for name in removed) == ["manifest.json", "model.txt", "rows.json"]


def test_row_04_the_message_of_a_worker_that_was_killed_before_it_acknowledged_is_stale(standing, unharmed):
    worker = standing.services["worker"]
    standing.fail_at("finish.after_commit", "stop")
    run = standing.submit()
    standing.until(worker.stopped)
    worker.send(signal.SIGKILL)
    # Another worker is handed the message that was never acknowledged.
    heir = standing.worker("heir", TEST_REDELIVER="1")
    stale = f"unit {standing.unit(run, 'model').id} attempt 1: stale message dropped"
    standing.until(lambda: any(service.says(stale) for service in (heir, worker)))
    unharmed(standing, run)
    heir.stop()
    assert standing.outcomes(run, "model") == ["done"]


def test_row_05_a_worker_told_to_stop_hands_its_unit_back_and_another_goes_on_at_once(standing, unharmed):
    standing.break_units({"model": LONG})
    run = standing.submit()
    worker = standing.holder(run, "model")
    other = standing.worker("other")
    standing.until(lambda: other.says("ready."))
    assert worker.stop(signal.SIGTERM) == 0
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["released", "done"]
    assert standing.unit(run, "model").failures == 0
    other.stop(signal.SIGTERM)
    standing.worker()


def test_row_06_a_worker_that_is_stopped_past_its_lease_changes_nothing(standing, unharmed):
    standing.break_units({"model": LONG})
    run = standing.submit()
    asleep = standing.holder(run, "model")
    awake = standing.worker("awake")
    said = asleep.log.stat().st_size
    asleep.send(signal.SIGSTOP)
    assert standing.over(run).state == "done"
    asleep.send(signal.SIGCONT)
    standing.until(lambda: asleep.says("another worker may hold the unit by now", after=said))
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["lost", "done"]
    awake.stop(signal.SIGTERM)


def test_row_07_a_unit_without_memory_fails_once_and_is_tried_again(standing, unharmed):
    standing.break_units({"model": {"call": "harness.mishaps:run_out_of_address_space"}})
    run = standing.submit()
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["failed", "done"]
    assert "MemoryError" in standing.cli("logs", run, "--errors").output


def test_row_07_a_unit_that_the_kernel_kills_for_its_memory_is_given_up_after_three_attempts(
    standing, unharmed
):
    with MemoryGroup("arith-test", limit=512 << 20) as group:
        mishap = {"call": "harness.mishaps:run_out_of_memory", "with": str(group.folder), "attempts": 9}
        standing.break_units({"trained/probe/00001": mishap})
        run = standing.submit()
        view = standing.over(run)
        assert group.kills() == 3
    assert view.state == "failed"
    assert "1 of 3 extract units failed: worker probe-" in view.error
    assert "stopped reporting (extract unit trained/probe/00001, attempt 3 on " in view.error
    assert [stage.done for stage in view.stages] == [1, 2, 0, 0]
    standing.break_units({})
    assert standing.cli("resume", run).exit_code == 0
    unharmed(standing, run)


def test_row_07_a_unit_that_a_gpu_has_no_memory_for_is_given_up_with_the_reason(standing, unharmed):
    mishap = {"call": "harness.mishaps:run_out_of_device_memory", "attempts": 9}
    standing.break_units({"trained/probe/00001": mishap})
    run = standing.submit()
    view = standing.over(run)
    assert view.state == "failed"
    assert "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. (extract unit " in view.error
    assert standing.outcomes(run, "trained/probe/00001") == ["failed"] * 3
    standing.break_units({})
    assert standing.cli("resume", run).exit_code == 0
    unharmed(standing, run)


def test_row_08_a_unit_that_always_kills_its_worker_is_given_up_and_spares_the_others(standing, unharmed):
    poison = "trained/layer-01/position-005"
    standing.break_units({poison: {"kill": True, "attempts": 99}})
    poisoned, healthy = standing.submit(probe={"block_positions": 5}), standing.submit()
    assert standing.over(healthy).state == "done"
    view = standing.over(poisoned)
    assert (view.state, standing.outcomes(poisoned, poison)) == ("failed", ["lost"] * 3)
    assert [stage.done for stage in view.stages] == [1, 5, 7, 0]
    standing.break_units({})
    assert standing.cli("resume", poisoned).exit_code == 0
    unharmed(standing, poisoned)
    unharmed(standing, healthy)


def test_row_09_of_ten_copies_of_a_message_one_is_taken_and_nine_are_stale(standing, unharmed):
    other = standing.worker("second")
    standing.until(lambda: other.says("ready."))
    services = (standing.services["worker"], other)
    standing.break_units({"model": {"sleep_s": 1}})
    run = standing.submit()
    unit = standing.unit(run, "model")
    send = queue.Sender(standing.settings.broker)
    for _ in range(9):
        send(Message(unit.id, unit.attempt, unit.queue))
    send.close()
    stale = f"unit {unit.id} attempt 1: stale message dropped".encode()

    def dropped() -> int:
        return sum(service.log.read_bytes().count(stale) for service in services)

    unharmed(standing, run)
    # The engine itself sends once, and again for as long as nobody has answered.
    standing.until(lambda: dropped() == 9 + standing.unit(run, "model").sends - 1)
    assert standing.outcomes(run, "model") == ["done"]
    other.stop(signal.SIGTERM)
