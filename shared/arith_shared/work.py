"""What a handler is given and what it gives back; standard library only.

A handler is a plain function ``(spec, unit, context) -> Outcome``. It knows neither queue nor database,
so tests, benchmarks and a bare GPU machine call it directly with a `Context` on a temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, Any]

#: The file of an artifact that holds its rows by table: a run that reuses the files gets the same rows.
ROWS_FILE = "rows.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest scheduled piece of a run; a try at it is an attempt."""

    run: str
    #: What is done in its stage: train, extract, probe or summarize.
    stage: str
    key: str
    attempt: int
    #: What distinguishes this unit from its siblings: a shard's range, a probe block's layer and positions.
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Artifact:
    """Immutable files under a content key, published and verified, at hand on this machine."""

    key: str
    kind: str
    path: Path
    #: SHA-256 over the sizes and checksums of all files; two artifacts with equal digests are equal.
    digest: str
    #: Small facts that the producing handler returned as `Outcome.meta`.
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handler returns: its files lie in `Context.output`, the rest is small."""

    #: Small JSON facts that later stages and `status` need without opening a file.
    meta: Mapping[str, Any] = field(default_factory=dict)
    #: Rows for the database by table name (`scores`, `summary`, `emergence`), stored in the artifact too, so
    #: that a run which reuses the artifact gets the same rows.
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)


class Progress(Protocol):
    """Called often by a handler; cheap. Raises InterruptedUnitError when the unit must stop."""

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Report `done` of `total` in `unit` (steps, problems, probes); `note` is shown as it is."""


def no_progress(done: float, total: float, unit: str, note: str = "") -> None:
    """A `Progress` that reports to nobody."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a handler reads, writes and reports."""

    #: Artifacts of the stages upstream, by stage name, each in the order of its unit keys.
    inputs: Mapping[str, Sequence[Artifact]]
    #: An empty folder; what lies in it when the handler returns is published as the unit's artifact.
    output: Path
    #: A folder that outlives the attempt: checkpoints go here, under names that explain themselves.
    scratch: Path
    progress: Progress = no_progress


Handler = Callable[[Any, Unit, Context], Outcome]
