"""However a worker is started, its threads are counted, asleep while idle, and known before torch is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from arith_shared.compute import cpu_quota, usable_cores

#: What Celery does with `-A MODULE`, then what a handler does first; torch says what its OpenMP has read.
WORKER = """
import importlib, json, os, sys
importlib.import_module(sys.argv[1])
assert "torch" not in sys.modules, "an OpenMP library was loaded too early"
from arith_model.devices import choose_device
choose_device()
import torch
print(json.dumps({
    "threads": torch.get_num_threads(),
    "omp": int(torch.__config__.parallel_info().split("omp_get_max_threads() : ")[1].split()[0]),
    "env": dict(os.environ),
}))
"""
MODULES = {
    "train": "arith_trainer.worker",
    "extract": "arith_extractor.worker",
    "probe": "arith_prober.worker",
}


def start(queue: str, folder, core: bool = False, **env: str):
    """A worker's process up to its first unit, in a bare environment and a folder without settings."""
    one = [sys.executable, "-c", WORKER, MODULES[queue]]
    pinned = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *one] if core else one
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder), **env}
    done = subprocess.run(pinned, env=bare, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["omp"] == found["threads"]
    return found["threads"], found["env"]


@pytest.mark.parametrize("queue", MODULES)
def test_a_worker_started_by_hand_waits_asleep_and_takes_its_share_of_the_cores(queue, tmp_path):
    threads, env = start(queue, tmp_path)
    assert threads == (1 if queue == "probe" else usable_cores())
    assert env["OMP_WAIT_POLICY"] == "passive"
    assert env["OMP_NUM_THREADS"] == env["ARITH_THREADS"] == str(threads)


def test_a_worker_does_as_it_is_told(tmp_path):
    threads, env = start("probe", tmp_path, ARITH_THREADS="3", OMP_WAIT_POLICY="active")
    assert (threads, env["OMP_NUM_THREADS"], env["OMP_WAIT_POLICY"]) == (3, "3", "active")
    assert start("extract", tmp_path, OMP_NUM_THREADS="3,1")[0] == 3
    # As docker compose passes on a variable that nobody has set.
    assert start("extract", tmp_path, ARITH_THREADS="")[0] == usable_cores()
    (tmp_path / ".env").write_text("ARITH_THREADS=3\n")
    assert start("train", tmp_path)[0] == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no processes to cores")
def test_a_worker_on_one_core_has_one_thread(tmp_path):
    assert start("extract", tmp_path, core=True)[0] == 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_control_group_is_read_in_both_versions(files, cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cores


def test_a_quota_of_this_process_lowers_its_cores(monkeypatch, tmp_path):
    # Version 2, and both names that the controller goes by in version 1.
    for folder in (tmp_path, tmp_path / "cpu", tmp_path / "cpu,cpuacct"):
        folder.mkdir(exist_ok=True)
        (folder / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr("arith_shared.compute._CGROUPS", tmp_path)
    assert usable_cores() == 1
