"""The lines of the live view: never wider than the terminal, and the most important ones on a low one."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from arith_shared.ledger.groups import Overview
from arith_shared.ledger.tables import Event
from arith_shared.ledger.views import RunView, StageView
from arithctl.live import frame
from arithctl.snapshot import Snapshot, WorkerNow

STAGE = StageView(
    name="train", state="open", total=4, done=1, reused=1, failed=1, running=2, waiting=2, fraction=0.3,
    elapsed_s=10.0, eta_s=125.0, progress="5/20 steps", rate=2_500.0, rate_unit="steps", note="loss 1.0",
    device="NVIDIA H100 80GB HBM3", workers=1,
)  # fmt: skip
RUN = RunView("tiny-specialized-ggfab", "tiny-specialized", "漢字" * 30, "active", None, 75.0, (STAGE,), None)


def drawn(snapshot, title="", columns=80, rows=24, encoding="utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, force_terminal=True, width=columns, height=rows, color_system=None)
    console.print(frame(snapshot, title, console))
    out.seek(0)
    return out.read().splitlines()


def one_run(**parts) -> Snapshot:
    overview = Overview(RUN.id, "active", {}, 1, 4, 75.0)
    workers = [WorkerNow("trainer-3b23a9e5", "train", "cpu", RUN.id, "train/model")]
    events = [Event(run_id=RUN.id, at=3_600.0 + i, kind="lease lost", message="x " * 60) for i in range(6)]
    fields = {"runs": [overview], "focus": [RUN], "workers": workers, "events": events}
    return Snapshot(**{**fields, **parts})


def a_group(count: int) -> Snapshot:
    states = ("done", "active")
    runs = [
        Overview(f"tiny-specialized-{i:05}", states[i % 2], {"seed": i, "lm.path": "/models/" + "a" * 40}, i, 99, 1.0)
        for i in range(count)
    ]  # fmt: skip
    idle = [WorkerNow(f"prober-{i}", "probe", "cpu", None, None) for i in range(3)]
    busy = [
        WorkerNow(f"a-host-with-a-long-name-{i}", "probe", "NVIDIA H100 80GB HBM3", RUN.id, "probe/layer-01")
        for i in range(9)
    ]
    return Snapshot(runs, [RUN, RUN], [*idle, *busy], one_run().events)


def test_a_stage_shows_what_was_forecast_for_it():
    forecast_s = {(RUN.id, "train"): 150.0, ("another", "train"): 3.0}
    text = "\n".join(drawn(one_run(forecast_s=forecast_s), columns=120))
    assert "ETA 2 m 5 s, forecast 2 m 30 s" in text
    assert "forecast" not in "\n".join(drawn(one_run(), columns=120))


def test_a_run_shows_stage_worker_and_events():
    text = "\n".join(drawn(one_run()))
    for words in (
        "tiny-specialized-ggfab", "━" * 6 + "─" * 14, "30%     1/4  2.5k steps/s       ETA 2 m 5 s",
        "5/20 steps, loss 1.0, 2 running, on NVIDIA H100 80GB HBM3, 1 reused", "trainer-3b23a9e5", "train/model",
        "01:00:05Z  lease lost",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("snapshot", [one_run(), a_group(3), a_group(30)])
def test_no_line_is_wider_than_the_terminal(snapshot, columns):
    title = "group-tiny-specialized-ashbf" if len(snapshot.runs) > 1 else ""
    assert max(map(cell_len, drawn(snapshot, title, columns))) < columns


def test_a_large_group_is_counted_and_its_unfinished_runs_come_first():
    lines = drawn(a_group(30), "group-x", rows=60)
    assert lines[0] == "group-x: active, 30 runs (15 done, 15 active)"
    assert all(" active " in line for line in lines[1:9])
    assert lines[9] == "  ... and 22 more"
    assert "  ... and 3 more at work" in lines
    assert "  idle: 3 probe" in lines


def test_on_a_low_terminal_old_events_make_room():
    assert sum("lease lost" in line for line in drawn(one_run(), rows=40)) == 6
    low = drawn(one_run(), rows=12)
    assert sum("lease lost" in line for line in low) == 3
    assert "01:00:05Z" in low[-1]
    assert len(low) <= 12


def test_a_screen_without_box_characters_gets_ascii_bars():
    lines = drawn(one_run(), encoding="ascii")
    assert "######--------------" in "\n".join(lines)
    assert lines[0].startswith("tiny-specialized-ggfab (??")


def test_an_idle_deployment_says_that_nobody_is_there_and_a_failed_run_why():
    failed = RunView("r", "r", None, "failed", "no luck\nat all", 1.0, (), None)
    lines = drawn(one_run(focus=[failed], workers=[]))
    assert "  none is alive" in lines
    assert any(line.startswith("error: no luck") for line in lines)
