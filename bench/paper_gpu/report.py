"""What stays of it: tables, figures, the accuracy over time, and a page that says how they were made."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.provenance import commit, installed
from clock import decoder

from arith_shared.analysis.claims import Evidence, judge
from arith_shared.errors import MissingExtraError
from arithctl.figures import FigureData, draw, draw_together
from arithctl.output import COLUMNS, print_table, write_rows
from pipeline import END, Finished

_CURVE = ("run", "step", "seconds", "loss", "accuracy")
_TRAINING = ("run", "device", "steps", "seconds", "tokens_per_s", "mfu", "accuracy", "stopped_by")


def report(finished: Sequence[Finished], out: Path, command: Sequence[str]) -> None:
    """Print the training, accuracy over time and claims; write all tables and figures below `out`."""
    claims = judge(
        [
            Evidence.of(run.name, run.spec, list(run.rows["scores"]), list(run.rows["summary"]))
            for run in finished
        ]
    )
    training = [{"run": run.name, **run.facts} for run in finished]
    curve = [{"run": run.name, **row} for run in finished for row in run.curve]
    print_table(training, _TRAINING, title="Training")
    print_table(curve, _CURVE, title="Accuracy over time (validation split)")
    print_table(claims, COLUMNS["claims"], title="Claims")
    for run in finished:
        for table in ("summary", "emergence", "scores"):
            write_rows(list(run.rows[table]), COLUMNS[table], "csv", out / run.name / f"{table}.csv")
    write_rows(training, _TRAINING, "csv", out / "training.csv")
    write_rows(curve, _CURVE, "csv", out / "accuracy.csv")
    for format_ in ("csv", "markdown"):
        ending = {"csv": "csv", "markdown": "md"}[format_]
        write_rows(claims, COLUMNS["claims"], format_, out / f"claims.{ending}")
    _figures(finished, out)
    (out / "README.md").write_text(_page(finished, command), encoding="utf-8")
    sys.stdout.write(f"written to {out}\n")


def _figures(finished: Sequence[Finished], out: Path) -> None:
    drawn = [
        FigureData.from_rows(run.name, list(run.rows["scores"]), summary=list(run.rows["summary"]))
        for run in finished
    ]
    try:
        for data in drawn:
            draw(data, out / data.run)
        if len(drawn) > 1:
            draw_together(drawn, out)
    except MissingExtraError as error:
        sys.stdout.write(f"no figures: {error}\n")


def _page(finished: Sequence[Finished], command: Sequence[str]) -> str:
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    lines = [
        "# Section 3 of the paper, handlers called directly",
        "",
        f"Made on {today} by `{' '.join(['python bench/paper_gpu', *command])}` at commit {commit()}, "
        f"Python {platform.python_version()}, torch {installed('torch')}, transformers {installed('transformers')}.",
        "",
    ]
    for run in finished:
        facts, wanted = run.facts, decoder(run.spec).training
        lines.append(
            f"- **{run.name}** on {facts['device']}: {facts['steps']:,} steps in {facts['seconds']:,.0f} s, ended by "
            f"{facts['stopped_by']}; validation accuracy {facts['accuracy']}. "
            f"The recipe asks for {wanted.epochs} epochs of {wanted.problems:,} problems"
            + ("." if facts["stopped_by"] == END else ", so this is not table 2 to the letter.")
        )
    return "\n".join(
        [*lines, "", "Verdicts are in `claims.md`; `docs/paper-claims.md` explains each rule.", ""]
    )
