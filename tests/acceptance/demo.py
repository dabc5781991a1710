"""Checks the promises of `make demo` on a finished run: `python tests/acceptance/demo.py RUN`.

Asked of the run through the command line, as a user would: answers, correlations, and where they are reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ARITHCTL = Path(sys.executable).with_name("arithctl")
#: The last operand of B's equation in `A = 1 + B , B = 2 + 3 , C = 4 + 5 ; A =`, and two tokens of grace.
WINDOW = range(10, 13)


def rows(run: str, table: str) -> list[dict[str, Any]]:
    """A result table of the run."""
    command = [str(ARITHCTL), "results", run, "--table", table, "--format", "json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(json.loads(output))


def best(scores: list[dict[str, Any]], variable: str, positions: range) -> float:
    """The largest ridge correlation over layers and the given positions."""
    return max(
        row["value"]
        for row in scores
        if row["family"] == "ridge"
        and row["variable"] == variable
        and row["position"] in positions
        and row["value"] is not None
    )


def main(run: str) -> int:
    """Print each promise with what was found; 0 if all hold."""
    summary = {row["name"]: row for row in rows(run, "summary")}
    scores = rows(run, "scores")
    a, b = (best(scores, variable, WINDOW) for variable in "AB")
    c = best(scores, "C", range(20))
    checks = [
        ("answer accuracy >= 0.98", summary["accuracy"]["value"] >= 0.98, summary["accuracy"]["value"]),
        ("on at least 2,000 problems", summary["accuracy"]["n"] >= 2_000, summary["accuracy"]["n"]),
        ("A >= 0.97 within two tokens of B's last operand", a >= 0.97, a),
        ("B >= 0.97 within two tokens of its last operand", b >= 0.97, b),
        ("C clearly below both, everywhere", c <= min(a, b) - 0.05, c),
        ("probes evaluated on 2,000 problems", {row["n_eval"] for row in scores} == {2_000}, len(scores)),
    ]
    for text, holds, found in checks:
        sys.stdout.write(f"{'ok  ' if holds else 'FAIL'} {text}: {found:,.4g}\n")
    failed = sum(not holds for _, holds, _ in checks)
    sys.stdout.write(f"{len(checks) - failed} passed, {failed} failed\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
