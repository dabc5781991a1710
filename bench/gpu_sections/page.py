"""What was found, as JSON and as a Markdown page; shares of the measured rates are put in here."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.gpu_sections.cases import OK, Row, shown
from bench.provenance import commit, installed

_ABOUT = {
    "rates": "The floor of all that follows: square matrix products, copies, the disk of the temporary folder.",
    "training": "`opt-specialized` to the letter: its architecture, batch, precision, dropout.",
    "extraction": "From problems to Parquet, beside a forward of the same tokens that keeps nothing; random weights.",
    "probes": "The 3 variables of one cell, or of several, on 10,000 problems; a grid repeats it cell by cell.",
}


def machine() -> dict[str, Any]:
    """Device, versions and commit."""
    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu {platform.machine()}, no GPU",
        "memory GB": torch.cuda.get_device_properties(0).total_memory / 1e9 if on_gpu else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "transformers", "numpy", "pyarrow", "accelerate")},
        "commit": commit(),
        "utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def write(found: dict[str, Any], out: Path) -> None:
    """Write `gpu.json` and `gpu.md` to the folder `out`."""
    sections = found["sections"]
    rates = {row["case"]: row.get("TFLOP/s") for row in sections.get("rates", {}).get("rows", ())}
    for section in sections.values():
        section["rows"] = [_with_share(row, rates) for row in section["rows"]]
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    facts = ", ".join(
        f"{name} {shown(value)}" for name, value in found["machine"].items() if value is not None
    )
    quick = (
        "Made with `--quick`: sizes for a processor, whose figures measure nothing.\n"
        if found["quick"]
        else ""
    )
    parts = [f"# One GPU\n\nWritten by `{found['command']}` in {found['seconds']:.0f} s: {facts}.\n", quick]
    parts += [
        f"## {name}\n\n{_ABOUT[name]} {section['seconds']:.0f} s.\n\n{_table(section['rows'])}"
        for name, section in sections.items()
    ]
    (out / "gpu.md").write_text("\n".join(parts), encoding="utf-8")


def _with_share(row: Row, rates: dict[str, float | None]) -> Row:
    """The row with its TFLOP/s as a share of the measured rate that it names."""
    rate = rates.get(row.get("against", ""))
    return {**row, "share of it": row["TFLOP/s"] / rate} if rate and "TFLOP/s" in row else row


def _table(rows: Sequence[Row]) -> str:
    """Cases below each other, a column for each figure; empty ones are left out."""
    done = [row for row in rows if row["status"] == OK]
    columns = list(dict.fromkeys(name for row in done for name in row if name != "status"))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)] if done else []
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in columns) + " |" for row in done]
    lines += [f"- {row['case']}: {row['status']}" for row in rows if row["status"] != OK]
    first = len(lines) - len(rows) + len(done)
    return "\n".join([*lines[:first], "", *lines[first:]]) + "\n"
