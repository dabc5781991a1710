"""Doubles that ship with the code: the real state machine with work that takes milliseconds.

The handlers here train, extract and probe nothing, but their artifacts and rows have the form of the real
ones, so every promise of the engine can be put to the test without a model.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arith_shared.ledger import schema
from arith_shared.ledger.database import Database
from arith_shared.ledger.reconcile import Message
from arith_shared.specs import Spec, parse_spec
from arith_shared.work import Context, Outcome, Row, Unit

#: Names a JSON file that says what a fake handler does besides its work, by unit key, on the first attempt or
#: the first few: {"model": {"sleep_s": 5, "attempts": 2}}; also {"kill": true}, {"raise": "message"} and
#: {"call": "module:function", "with": "text"}.
FAULTS = "ARITH_TEST_FAULTS"


class RecordingSender:
    """Takes messages instead of a broker; `sent` holds them in order."""

    def __init__(self) -> None:
        """Starts with nothing sent."""
        self.sent: list[Message] = []

    def __call__(self, message: Message) -> None:
        """Record one message."""
        self.sent.append(message)

    def take(self) -> list[Message]:
        """All messages since the last call."""
        taken, self.sent = self.sent, []
        return taken


def fresh_database(url: str) -> Database:
    """A database with the current schema at `url`."""
    database = Database(url)
    schema.upgrade(database)
    return database


def small_spec(**groups: Mapping[str, Any]) -> Spec:
    """A spec of few units: 1 model, 2 + 1 shards of 10 problems, 2 layers x 2 blocks; groups override fields."""
    data: dict[str, Any] = {
        "task": {"max_number": 9},
        "lm": {"layers": 1, "heads": 1, "width": 8, "ffn": 8, "training": {"problems": 64, "epochs": 1}},
        "extract": {"n_train": 20, "n_eval": 10, "shard_problems": 10},
        "probe": {"block_positions": 10},
    }
    for name, values in groups.items():
        data[name] = {**data.get(name, {}), **values}
    return parse_spec(data)


def fake_handler(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Do what a real handler of the unit's stage would record, and what `FAULTS` says besides."""
    _misbehave(unit, context)
    outcomes = {"train": _train, "extract": _extract, "probe": _probe, "summarize": _summarize}
    return outcomes[unit.stage](spec, unit, context)


def _misbehave(unit: Unit, context: Context) -> None:
    path = os.environ.get(FAULTS)
    fault = json.loads(Path(path).read_text(encoding="utf-8")).get(unit.key, {}) if path else {}
    if unit.attempt > fault.get("attempts", 1):
        return
    if fault.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if message := fault.get("raise"):
        raise RuntimeError(message)
    if call := fault.get("call"):
        module, _, function = call.partition(":")
        getattr(importlib.import_module(module), function)(fault.get("with"), context)
    until = time.monotonic() + fault.get("sleep_s", 0.0)
    while (left := until - time.monotonic()) > 0:
        context.progress(-left, 0.0, "seconds")
        time.sleep(min(0.05, left))


def _train(spec: Spec, unit: Unit, context: Context) -> Outcome:
    (context.output / "model.txt").write_text(f"seed {spec.seed}", encoding="utf-8")
    return Outcome(meta={"accuracy": 1.0})


def _extract(spec: Spec, unit: Unit, context: Context) -> Outcome:
    split, start, count = unit.payload["split"], unit.payload["start"], unit.payload["count"]
    model = _only(context.inputs["train"][0].path, "model.txt").read_text(encoding="utf-8")
    text = json.dumps([model, split, list(range(start, start + count))])
    (context.output / "states.json").write_text(text, encoding="utf-8")
    # The first shard of a split misses one problem, so that every run needs one shard more than planned.
    kept = count - 1 if start == 0 else count
    return Outcome(meta={**unit.payload, "tried": count, "solved": kept, "kept": kept})


def _probe(spec: Spec, unit: Unit, context: Context) -> Outcome:
    rows: list[Row] = [
        {
            "layer": unit.payload["layer"], "position": position, "token": "A", "variable": "A",
            "family": "ridge", "metric": "pearson", "value": position / 100, "ci_low": 0.0, "ci_high": 1.0,
            "n_train": spec.extract.n_train, "n_eval": spec.extract.n_eval, "ceiling": 1.0, "control": 0.0,
            "given": False, "status": "ok",
        }
        for position in unit.payload["positions"]
    ]  # fmt: skip
    return Outcome(rows={"scores": rows})


def _summarize(spec: Spec, unit: Unit, context: Context) -> Outcome:
    tried = sum(artifact.meta["tried"] for artifact in context.inputs["extract"])
    row = {"name": "accuracy", "value": 1.0, "ci_low": 1.0, "ci_high": 1.0, "n": tried}
    return Outcome(rows={"summary": [row], "emergence": []})


def _only(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: expected {name}, found {sorted(item.name for item in folder.iterdir())}"
        )
    return path
