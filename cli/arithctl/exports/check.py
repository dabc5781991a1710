"""Is an exported file what it says? Its hashes are compared, and what can be computed again is computed again.

Summary, emergence and claims are made from the score rows by the code that made them first
(`arith_shared.analysis`), and must be equal to the last digit. Where predictions are inside, each correlation is
computed from them by the textbook formula, which shares no code with the prober, and must be equal but for what
rounding the predictions to float32 can change. Hidden states are compared with their hashes only: fitting probes
again needs the prober, which the command line never loads.

The check finds what was changed, cut or mixed up. It does not prove who made the file: whoever changes everything
consistently, manifest included, passes; the manifest's SHA-256, which `verify` prints, tells the two apart.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from arith_shared import keys
from arith_shared.analysis.claims import Evidence, judge
from arith_shared.analysis.summary import summarize
from arith_shared.errors import ArithError, ArtifactError
from arith_shared.specs import Spec, parse_spec
from arith_shared.store.predictions import PREDICTIONS_FILE, Cell, Predictions
from arithctl.exports.archive import Reader
from arithctl.output import COLUMNS, TYPES
from arithctl.output.text import csv_text
from arithctl.output.values import cells

#: Largest relative error of a prediction that was rounded to float32, as the files keep them.
_ROUNDING = float(np.finfo(np.float32).eps) / 2
#: Tables that every export has.
TABLES = ("summary", "scores", "claims", "emergence")
#: Differences that are named of each thing that was checked.
_NAMED = 3

#: What reading tables can raise that somebody has tampered with: other types, missing entries, absurd numbers.
_NONSENSE = (ArithError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Literal["ok", "mismatch", "not done"]
    found: str


@dataclass(frozen=True, slots=True)
class Inside:
    """What the tables are computed from."""

    spec: Spec
    run: str
    shards: Rows
    tables: Mapping[str, Rows]


def check(reader: Reader) -> Iterator[Finding]:
    """Look at everything in an exported file; the files first, then what they say."""
    files = list(_differing(reader))
    total = sum(reader.size(name) for name in reader.names)
    yield _finding("files", files, f"{len(reader.names)} files, {total:,} bytes, as the manifest says")
    try:
        inside = _read(reader)
    except _NONSENSE as error:
        yield Finding("contents", "mismatch", f"spec and tables cannot be read: {error}")
        return
    same = "each table is the same as JSON, CSV and Parquet"
    looks: dict[str, Callable[[], Finding]] = {
        "formats": lambda: _finding("formats", list(_formats(reader, inside)), same),
        "summary": lambda: _recomputed("summary", inside, lambda: _summaries(inside)["summary"]),
        "emergence": lambda: _recomputed("emergence", inside, lambda: _summaries(inside)["emergence"]),
        "claims": lambda: _recomputed("claims", inside, lambda: _claims(inside)),
        "scores": lambda: _scores(reader, inside),
    }
    for name, look in looks.items():
        try:
            yield look()
        except _NONSENSE as error:
            yield Finding(name, "mismatch", f"cannot be checked: {type(error).__name__}: {error}")


def _differing(reader: Reader) -> Iterator[str]:
    for name in sorted(reader.names - set(reader.files)):
        yield f"{name} is not in the manifest"
    for name, entry in sorted(reader.files.items()):
        if name not in reader.names:
            yield f"{name} is missing"
        elif reader.size(name) != entry["size"]:
            yield f"{name} has {reader.size(name):,} bytes, the manifest says {entry['size']:,}"
        else:
            try:
                if reader.digest(name) != entry["sha256"]:
                    yield f"{name} has another SHA-256 than the manifest says"
            except ArtifactError as error:
                yield str(error)


def _read(reader: Reader) -> Inside:
    texts = {name: json.loads(reader.read(f"{name}.json")) for name in ("run", "spec", "shards")}
    spec, run = parse_spec(texts["spec"]), texts["run"]["run"]
    if run != reader.manifest["run"]:
        raise ValueError(f"run.json is about {run!r}, the manifest about {reader.manifest['run']!r}")
    if keys.spec_key(spec) != texts["run"]["spec_key"]:
        raise ValueError("spec.json is not the spec that run.json names")
    tables = {name: json.loads(reader.read(f"tables/{name}.json")) for name in TABLES}
    for name, rows in tables.items():
        if any(tuple(row) != COLUMNS[name] for row in rows):
            raise ValueError(f"tables/{name}.json has other columns than {', '.join(COLUMNS[name])}")
    return Inside(spec, run, texts["shards"], tables)


def _formats(reader: Reader, inside: Inside) -> Iterator[str]:
    for name, rows in inside.tables.items():
        if reader.read(f"tables/{name}.csv").decode() != csv_text(rows, COLUMNS[name]):
            yield f"tables/{name}.csv says something else than the JSON"
        if _parquet(reader.read(f"tables/{name}.parquet")) != _typed(rows, COLUMNS[name]):
            yield f"tables/{name}.parquet says something else than the JSON"


def _parquet(content: bytes) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Never read from a Python file by threads, as `read_table` does: one of them may still hold the file when the
    # interpreter ends, and aborts the process that has said its last word (apache/arrow#33975, #34314).
    try:
        with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
            rows: Rows = file.read(use_threads=False).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"a Parquet table cannot be read: {error}") from None
    return rows


def _typed(rows: Rows, columns: Sequence[str]) -> Rows:
    """The rows as a Parquet file of the same columns has them: a real number that is whole stays real."""
    real = {column for column in columns if TYPES[column] == "real"}
    return [
        {
            column: float(value) if column in real and value is not None else value
            for column, value in zip(columns, line, strict=True)
        }
        for line in cells(rows, columns)
    ]


def _summaries(inside: Inside) -> dict[str, Rows]:
    return summarize(
        layout=inside.spec.task.evaluation().layouts[0],
        threshold=inside.spec.probe.threshold,
        shards=inside.shards,
        scores=inside.tables["scores"],
    )


def _claims(inside: Inside) -> Rows:
    return judge([Evidence.of(inside.run, inside.spec, inside.tables["scores"], inside.tables["summary"])])


def _recomputed(name: str, inside: Inside, make: Callable[[], Rows]) -> Finding:
    """Compare a table with what its rows are computed to be now, whatever the order."""
    rows, columns = inside.tables[name], COLUMNS[name][1:]
    said, again = (_sorted(table, columns) for table in (rows, make()))
    wrong = [
        f"{_place(theirs)}: {differing}"
        for theirs, ours in zip(said, again, strict=False)
        if (differing := _difference(theirs, ours, columns))
    ]
    if len(said) != len(again):
        wrong.insert(0, f"{len(said)} rows, computed again {len(again)}")
    return _finding(name, wrong, f"{len(rows)} rows, computed again from the scores: equal")


def _sorted(rows: Rows, columns: Sequence[str]) -> Rows:
    named = [{column: row[column] for column in columns} for row in rows]
    return sorted(named, key=_place)


def _place(row: Mapping[str, Any]) -> str:
    """What a row is about; its numbers are not part of it."""
    return " ".join(
        str(row[name]) for name in ("name", "claim", "variable", "family", "threshold") if name in row
    )


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], columns: Sequence[str]) -> str:
    return "; ".join(
        f"{column} is {theirs[column]!r}, computed again {ours[column]!r}"
        for column in columns
        if theirs[column] != ours[column]
    )


def _scores(reader: Reader, inside: Inside) -> Finding:
    """Compare each correlation with the one of the predictions inside."""
    members = [name for name in sorted(reader.names) if name.startswith("predictions/")]
    if not members:
        return Finding("scores", "not done", "no predictions are inside (export with --states puts them in)")
    rows = {
        Cell(row["layer"], row["position"], row["variable"], row["family"]): row["value"]
        for row in inside.tables["scores"]
    }
    wrong = []
    with tempfile.TemporaryDirectory(prefix="arithctl-verify-") as folder:
        predictions = Predictions(_copied(reader, members, Path(folder)))
        for cell in predictions.cells:
            found, error = _pearson(predictions, cell)
            if not _agrees(rows.get(cell), found, error):
                wrong.append(
                    f"{' '.join(map(str, cell))}: value is {rows.get(cell)}, computed again {found:.6f}"
                )
    number = len(predictions.cells)
    without = sum(value is not None for value in rows.values()) - number
    note = f"; {without} have no predictions" if without else ""
    return _finding(
        "scores", wrong, f"{number} correlations, computed again from the predictions: equal{note}"
    )


def _copied(reader: Reader, members: Sequence[str], folder: Path) -> Iterator[Path]:
    for number, name in enumerate(members):
        place = folder / str(number)
        place.mkdir()
        reader.copy(name, place / PREDICTIONS_FILE)
        yield place


def _agrees(said: float | None, found: float, error: float) -> bool:
    """Whether a row is right; one without a correlation is, where the predictions or the truth do not vary."""
    if said is None or math.isnan(found):
        return said is None and (math.isnan(found) or error > 1)
    return math.isclose(found, said, abs_tol=error)


def _pearson(predictions: Predictions, cell: Cell) -> tuple[float, float]:
    """The correlation, and how far from it that of the unrounded predictions can be.

    r is the product of two unit vectors; rounding moves the centred predictions by at most `moved`, and so their
    direction by at most twice the ratio of that to their length. It matters where predictions hardly vary.
    """
    found = predictions.read(cell)
    p, t = found.predicted.astype(np.float64), found.truth.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = _ROUNDING * np.linalg.norm(p)
        error = 2 * moved / np.linalg.norm(p - p.mean())
        return float(np.corrcoef(p, t)[0, 1]), float(error) + 1e-9


def _finding(check: str, wrong: Sequence[str], fine: str) -> Finding:
    if not wrong:
        return Finding(check, "ok", fine)
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return Finding(check, "mismatch", "; ".join(wrong[:_NAMED]) + more)
