"""`docs/benchmarks.md` from the JSON files beside it: nothing on the page is written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import BENCHES
from bench.report import FLOOR

_HEAD = """# Benchmarks

Written by `make bench` from the JSON files in `docs/benchmarks/`; one bench alone: `python -m bench.NAME`.
Contestants of a bench take turns in one process; ratios are medians over rounds of neighbours in time ("from" and
"to" are the extremes). The machine was shared with other work, so ratios of CPU time are what to trust; wall times
and rates depend on the load given with each bench. "Time / ours" above 1: arithctl is faster.
"""

#: What is to be measured and has no bench yet: said on the page, so that nobody takes silence for success.
_NOT_BUILT = (
    (
        "everything on a GPU",
        "see `make bench-gpu`",
        "no GPU here: `python bench/gpu.py` was never run on one",
    ),
)


def render(folder: Path) -> str:
    """The page for all benches of `folder`."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    }
    parts = [_HEAD, "## Targets\n", _targets(found)]
    parts += [_section(name, bench) for name, bench in found.items()]
    return "\n".join(parts)


def _targets(found: dict[str, dict[str, Any]]) -> str:
    rows = [
        {
            "bench": f"[{name}](#{name})",
            **{key: target[key] for key in ("what", "wanted", "found", "verdict", "why")},
        }
        for name, bench in found.items()
        for target in bench["targets"]
    ]
    rows += [
        {"bench": "-", "what": what, "wanted": wanted, "found": "-", "verdict": "not measured", "why": why}
        for what, wanted, why in (
            *_NOT_BUILT,
            *((name, "-", "this bench was not run yet") for name in BENCHES if name not in found),
        )
    ]
    return _table(rows)


def _section(name: str, bench: dict[str, Any]) -> str:
    parts = [f"## {name}\n", f"{bench['title']}. {bench['about']}\n"]
    hidden = FLOOR if _busy(bench["machine"]) else ""
    tables = [table for table in bench["tables"] if table["rows"]]
    parts += [f"### {table['title']}\n\n{_table(table['rows'], hidden)}" for table in tables]
    if hidden:
        parts.append(
            "- The machine was too busy to measure rates: those below are far too low, and shares are left out."
        )
    parts += [f"- {note}" for note in bench["notes"]]
    parts.append(f"{chr(10) if bench['notes'] else ''}{_machine(bench)}\n")
    return "\n".join(parts)


def _machine(bench: dict[str, Any]) -> str:
    machine = bench["machine"]
    gemm = ", ".join(f"{rate:.0f} on {threads}" for threads, rate in machine["gemm_fp32_gflops"].items())
    bf16 = ", ".join(machine["bf16_instructions"]) or "no bfloat16 instructions"
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    disk = [machine[f"disk_{way}_gb_per_s"] for way in ("write_fsync", "write_cached", "read_cached")]
    return (
        f"`{bench['command']}`, {machine['utc']} UTC, {bench['rounds']} rounds, {bench['seconds']:.0f} s. "
        f"{machine['processor']}, {machine['cores']} cores, {machine['vector']}, {bf16}, "
        f"{machine['memory_gb']:g} GB. "
        f"Floor: float32 matrix products GFLOP/s {gemm} thread(s); bfloat16 {machine['gemm_bf16_gflops']['1']:.0f}; "
        f"memory {machine['memory_copy_gb_per_s']:.1f} GB/s; disk GB/s {disk[0]:.2f} written through, {disk[1]:.2f} "
        f"to the page cache, {disk[2]:.2f} read from it. Load average {machine['load_average_before']:.1f} "
        f"before, {bench['load_average_after']:.1f} after. Python {machine['python']}, {versions}."
    )


def _busy(machine: dict[str, Any]) -> bool:
    """Whether others took so much of the cores that a rate per wall second says nothing of the machine."""
    return bool(machine["load_average_before"] > 2 * machine["cores"])


def _table(rows: Sequence[dict[str, Any]], hidden: str = "") -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != hidden))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
