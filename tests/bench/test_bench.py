"""The benches run, say what they must, and count rightly; no test looks at how fast anything is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.growth import slope
from bench.race import OURS, Contestant, Lap, Timing, race
from bench.report import Report, Table, at_least, at_most, lap_rows, ratio
from bench.whole_run import Handled, merged, read

from bench import BENCHES, network, page

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_runs_and_writes_figures_and_page(name, tmp_path):
    command = [sys.executable, "-m", f"bench.{name}", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "benchmarks" / f"{name}.json").read_text())
    assert found["targets"]
    assert all(target["verdict"] in ("met", "missed", "not measured") for target in found["targets"])
    assert any(table["rows"] for table in found["tables"])
    assert found["machine"]["gemm_fp32_gflops"]["1"] > 0
    assert found["targets"][0]["what"] in (tmp_path / "benchmarks.md").read_text()


def test_every_bench_is_run_by_make_bench():
    shared = {
        "__init__",
        "__main__",
        "command",
        "flops",
        "gpu",
        "crew",
        "lightning_loop",
        "machine",
        "network",
        "page",
        "provenance",
        "race",
        "report",
        "servers",
        "shards",
        "sleeper",
        "ttt_generator",
    }
    modules = {path.stem for path in (ROOT / "bench").glob("*.py")}
    assert modules - shared == set(BENCHES)


def test_contestants_take_turns_and_each_leads_a_round():
    turns: list[str] = []
    contestants = [Contestant(name, lambda name=name: turns.append(name), 1) for name in ("a", "b", "c")]
    race(contestants, rounds=3, threads=1)
    assert "".join(turns) == "abc" + "abc" + "bca" + "cab"


def test_a_ratio_is_the_median_within_rounds_per_unit_of_work():
    ours = Lap(OURS, 10, [Timing(1.0, 1.0), Timing(10.0, 1.0), Timing(1.0, 1.0)])
    peer = Lap("peer", 5, [Timing(1.0, 3.0), Timing(10.0, 3.0), Timing(4.0, 3.0)])
    # Per unit of work 2, 2 and 8 times ours, although the second round was slow for both.
    assert ratio([ours, peer], "peer") == 2
    assert ratio([ours, peer], "peer", "wall") == pytest.approx(6)
    row = lap_rows([ours, peer], "things", 1)[1]
    assert (row["from"], row["to"]) == (2, 8)


def test_a_contestant_that_times_itself_is_believed():
    (lap,) = race([Contestant(OURS, lambda: Timing(2.0, 4.0), 2)], rounds=2, threads=1)
    assert (lap.cpu, lap.wall) == (1.0, 2.0)


def test_a_target_is_met_at_its_limit_and_says_why_it_was_missed():
    assert at_least("speed", 20, 20.0, "why").verdict == "met"
    assert at_most("bytes", 1.01, 1.01, "why").verdict == "met"
    missed = at_least("speed", 20, 19.0, "the disk binds")
    assert (missed.verdict, missed.why) == ("missed", "the disk binds")


def test_the_page_has_every_target_and_every_figure(tmp_path):
    report = Report(
        "Title", "About.", [Table("Speed", [{"x": 1234.5, "y": 0.1234}])], [at_least("fast", 2, 3.0)]
    )
    machine = {
        "processor": "P", "cores": 2, "memory_gb": 1, "vector": "avx2", "bf16_instructions": [], "python": "3",
        "versions": {"torch": "2"}, "gemm_fp32_gflops": {"1": 1.0}, "gemm_bf16_gflops": {"1": 1.0},
        "memory_copy_gb_per_s": 1.0, "disk_write_fsync_gb_per_s": 1.0, "disk_write_cached_gb_per_s": 1.0,
        "disk_read_cached_gb_per_s": 1.0, "load_average_before": 0.5, "utc": "now",
    }  # fmt: skip
    facts = {"command": "c", "rounds": 5, "seconds": 1.0, "machine": machine, "load_average_after": 1.0}
    report.save(tmp_path / "fast.json", facts)
    text = page.render(tmp_path)
    assert "| [fast](#fast) | fast | >= 2x | 3x | met |" in text
    assert "| 1,234 | 0.123 |" in text or "| 1,235 | 0.123 |" in text


def test_a_busy_machine_shows_no_share_of_a_floor():
    rows = [{"contestant": "a", "share of floor": 0.5}]
    assert page._busy({"load_average_before": 4.1, "cores": 2})
    assert not page._busy({"load_average_before": 4.0, "cores": 2})
    assert "floor" in page._table(rows)
    assert "floor" not in page._table(rows, "share of floor")


def test_time_inside_handlers_counts_overlaps_once():
    spans = [Handled("probe", 5, 6), Handled("extract", 0, 2), Handled("extract", 1, 3)]
    assert merged(spans) == [(0, 3), (5, 6)]


def test_a_worker_log_tells_when_a_handler_was_at_work():
    line = json.dumps(
        {"at": "1970-01-01T00:00:10+00:00", "message": "handled in 2.500 s", "unit": "probe/x#1"}
    )
    assert list(read(f"something else\n{line}\n")) == [Handled("probe", 7.5, 10.0)]


def test_a_slope_is_the_exponent_of_a_power_law():
    assert slope([100.0, 200.0, 400.0], [3.0, 12.0, 48.0]) == pytest.approx(2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_simulated_hosts_reach_us_and_are_gone_after_an_interruption(number):
    if reason := network.why_not():
        pytest.skip(reason)
    script = (
        "import signal, subprocess, sys, time\n"
        "from bench.network import network\n"
        # What a shell starts in the background ignores Ctrl-C, and so would this child of such a pytest.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with network(2) as net:\n"
        "    route = net.command(net.hosts[1], ['ip', 'route', 'get', net.address])\n"
        "    subprocess.run(route, check=True, stdout=sys.stderr)\n"
        "    print(*net.hosts, flush=True)\n"
        "    time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    hosts = process.stdout.readline().split()
    there = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    process.send_signal(number)
    process.wait(60)
    process.stdout.close()
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert len(hosts) == 2
    assert all(host in there and host not in left for host in hosts)
