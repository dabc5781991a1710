"""What one GPU makes of training, extraction and probes: `python bench/gpu.py`, or `make bench-gpu`.

Ten minutes on one H100-class GPU. Needed are Python 3.11, torch, transformers (which brings numpy and PyYAML),
pyarrow and this repository; `accelerate` adds transformers' Trainer. Each section is a process of its own that is
ended when its time is over, so that neither a hang nor a broken CUDA context costs more than that section. Without a
GPU, `--quick` shows at tiny sizes that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

#: Before torch is imported, which takes seconds.
START = time.monotonic()
#: Seconds that are left for writing down what was found.
RESERVE_S = 5.0
ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".", "shared", "cli", "services/trainer", "services/extractor", "services/prober")
# First, so that this checkout's code runs, whatever is installed, and in place of the script's own folder.
sys.path[:1] = [str(ROOT / folder) for folder in FOLDERS]

from bench.gpu_sections import SECTIONS, page  # noqa: E402
from bench.gpu_sections.cases import Bench, run_cases  # noqa: E402


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python bench/gpu.py", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, also without a GPU: measures nothing"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bench-gpu-results"), help="folder for gpu.json and gpu.md"
    )
    parser.add_argument("--budget-min", type=float, default=10.0, help="minutes for everything (default 10)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma-separated sections (default: all)")
    # What a section's own process is given: its name, its seconds, and the file for its rows.
    parser.add_argument("--section", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = set(given.only.split(",")) - SECTIONS.keys()
    if unknown:
        parser.error(f"--only: expected some of {', '.join(SECTIONS)}, found {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    """Run the sections and write what they found; 2 where there is no GPU and no `--quick`."""
    options = arguments()
    if options.section:
        return section(options.quick, *options.section)
    if not torch.cuda.is_available() and not options.quick:
        sys.stderr.write("no GPU that torch can use was found; --quick tries everything at tiny sizes\n")
        return 2
    end = START + 60 * options.budget_min - RESERVE_S
    found: dict[str, Any] = {
        "command": " ".join(sys.argv), "quick": options.quick, "machine": page.machine(), "sections": {}
    }  # fmt: skip
    names = options.only.split(",")
    for place, name in enumerate(names):
        share = SECTIONS[name] / sum(SECTIONS[later] for later in names[place:])
        found["sections"][name] = in_process(name, share * (end - time.monotonic()), options.quick)
    found["seconds"] = time.monotonic() - START
    page.write(found, options.out)
    sys.stdout.write(f"written to {options.out} after {found['seconds']:.0f} s\n")
    return 0


def in_process(name: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Run a section in a process that is ended after `seconds`; its rows, also those of one that was ended."""
    sys.stdout.write(f"{name} ({seconds:.0f} s at most)\n")
    sys.stdout.flush()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        rows = Path(folder) / "rows.jsonl"
        command = [sys.executable, __file__, "--section", name, f"{seconds}", str(rows)]
        # A session of its own, so that the compiler's processes end with it.
        process = subprocess.Popen([*command, *(["--quick"] if quick else [])], start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        written = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    by_case = {row["case"]: row for row in map(json.loads, written)}
    if not by_case and code is None:
        by_case[name] = {"case": name, "status": "stopped before its first case: the section's time was over"}
    if code:
        by_case[name] = {
            "case": name,
            "status": f"failed: the process ended with {code}; see what it printed",
        }
    for row in by_case.values():
        if row["status"] != "ok":
            sys.stdout.write(f"  {row['case']}: {row['status']}\n")
    return {"seconds": time.monotonic() - start, "rows": list(by_case.values())}


def section(quick: bool, name: str, seconds: str, rows: str) -> int:
    """What a section's process does."""
    until = time.monotonic() + float(seconds)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, quick, Path(rows).parent)
    with Path(rows).open("a", encoding="utf-8") as file:
        run_cases(bench, import_module(f"bench.gpu_sections.{name}").cases(bench), until, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
