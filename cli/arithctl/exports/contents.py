"""What an exported run consists of; all of it follows from the run's rows and artifacts.

README.md                    what is in here, and how to check it
run.json  spec.json          id, recipe, state, provenance; the whole spec
shards.json                  of each shard of the trained LM: split, problems tried and solved
tables/NAME.csv .json .parquet   scores, summary, claims, emergence
figures/...                  png, pdf and the numbers as csv
report.html                  the page of `arithctl report`, dated by the run's end
states/KEY/...               with states: hidden states and problems of each shard
predictions/KEY.parquet      with states: what each probe predicted, problem by problem
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import arith_shared
from arith_shared.errors import MissingExtraError, UserError
from arith_shared.ledger import runs, views
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.predictions import PREDICTIONS_FILE
from arithctl.conclude import TABLES, figure_data
from arithctl.exports.archive import Writer
from arithctl.figures import draw
from arithctl.output import COLUMNS, Format, replacing, write_rows
from arithctl.verdicts import claim_rows

#: Formats of each table: the first keeps every digit and type, and is what `verify` recomputes from.
TABLE_FORMATS: tuple[Format, ...] = ("json", "csv", "parquet")

_README = """\
# {run}

A run of the recipe `{recipe}` by arithctl {version}. `spec.json` is the experiment, `run.json` where it ran,
`tables/` its rows, `figures/` the figures with their numbers, `report.html` all of it for a browser.
`arithctl verify FILE.zip` compares every file with `manifest.json` and computes
summary, emergence and claims again from `tables/scores.json`.
"""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A run's rows, and the artifacts whose files may go along."""

    id: str
    recipe: str
    ended_at: float
    run: dict[str, Any]
    spec: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    shards: list[dict[str, Any]]
    #: Content key and path below the artifact root.
    states: list[tuple[str, str]]
    scores: list[tuple[str, str]]


def write(
    database: Database, store: ArtifactStore, name: str, destination: Path, *, states: bool = False
) -> list[str]:
    """Write the run called `name` to the zip `destination`, whole or not at all.

    Returns in sentences what could not go along. Raises UserError for a run that is not done, and for
    `states` where they were deleted.
    """
    found = _gather(database, name)
    writer = Writer()
    _add_texts(writer, found)
    with tempfile.TemporaryDirectory(prefix="arithctl-export-") as folder:
        missing = _add_made(writer, database, store, found, Path(folder))
        if states:
            _add_states(writer, store, found)
        with replacing(destination) as path:
            writer.write(path, found.id, arith_shared.__version__)
    return missing


def _gather(database: Database, name: str) -> Gathered:
    with database.reading() as session:
        run = runs.find(session, name)
        if run.state != "done":
            raise UserError(
                f"{run.id} is {run.state}: a run is exported when it is done, since its rows could still change"
            )
        tables = {table: views.table(session, run.id, table) for table in TABLES}
        tables["claims"] = claim_rows(session, [run])
        every = views.artifacts(session, run.id, deleted=True)
        facts = {
            "run": run.id,
            "recipe": run.recipe,
            "name": run.name,
            "state": run.state,
            "spec_key": run.spec_key,
            "submitted": _utc(run.created_at),
            "ended": _utc(run.ended_at or run.created_at),
            "provenance": run.provenance,
        }
        kinds = [(kind_of(stage), artifact) for stage, _, artifact in every]
        shards = [
            {name: artifact.meta[name] for name in ("split", "tried", "solved")}
            # Rounds after the first are the same problems again, read at other layers.
            for stage, _, artifact in every
            if stage == "extract" and artifact.meta["weights"] == "trained"
        ]
        gone = any(artifact.deleted_at is not None for kind, artifact in kinds if kind == "extract")
        paths = {
            wanted: [(artifact.key, artifact.path) for kind, artifact in kinds if kind == wanted]
            for wanted in ("extract", "probe")
        }
        return Gathered(
            run.id, run.recipe, run.ended_at or run.created_at, facts, run.spec, tables, shards,
            [] if gone else paths["extract"], paths["probe"],
        )  # fmt: skip


def _add_texts(writer: Writer, found: Gathered) -> None:
    readme = _README.format(run=found.id, recipe=found.recipe, version=arith_shared.__version__)
    writer.add("README.md", readme.encode())
    for name, value in (("run", found.run), ("spec", found.spec), ("shards", found.shards)):
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        writer.add(f"{name}.json", f"{text}\n".encode())


def _add_made(
    writer: Writer, database: Database, store: ArtifactStore, found: Gathered, folder: Path
) -> list[str]:
    """Tables, figures and the report, made in `folder`."""
    from arithctl import report

    missing = []
    for name, rows in found.tables.items():
        for format_ in TABLE_FORMATS:
            path = folder / f"{name}.{format_}"
            write_rows(rows, COLUMNS[name], format_, path)
            writer.add(f"tables/{path.name}", path)
    try:
        for path in draw(figure_data(database, found.id), folder / "figures"):
            writer.add(f"figures/{path.name}", path)
    except MissingExtraError as error:
        missing.append(f"no figures: {error}")
    data = report.collect(database, [found.id], store)
    dated = replace(data, created=_utc(found.ended_at))
    writer.add("report.html", report.page(dated).encode())
    return missing


def _add_states(writer: Writer, store: ArtifactStore, found: Gathered) -> None:
    if not found.states:
        raise UserError(
            f"{found.id}: its hidden states were deleted to save space; export without --states, or submit it again "
            "with -s extract.keep_states=true"
        )
    for key, where in found.states:
        folder = store.fetch_verified(where)
        for path in sorted(folder.glob("*.parquet")):
            writer.add(f"states/{key}/{path.name}", path)
    for key, where in found.scores:
        path = store.fetch_verified(where) / PREDICTIONS_FILE
        if path.exists():
            writer.add(f"predictions/{key}.parquet", path)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
