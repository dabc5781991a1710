"""What a report shows, as plain data: everything below turns into JSON by `dataclasses.asdict`.

Numbers of cells are flat columns in the order layer, position, variable (the last runs fastest), as whole
millionths: a grid of paper size has 18,000 cells, and objects would weigh ten times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Cells hold correlations in this unit: 973456 is .973456.
UNIT = 1_000_000
#: What a cell's status code means; a cell that is not `ok` has no number.
STATUSES = ("ok", "diverged", "constant", "absent")

Row = dict[str, Any]
#: One number per cell; None where there is none.
Column = list[int | None]


@dataclass(frozen=True, slots=True)
class Family:
    """A probe family and its scores."""

    name: str
    title: str
    #: The untrained LM's twin of another family: a control, not a finding.
    untrained: bool
    value: Column
    low: Column
    high: Column
    control: Column
    #: Index into STATUSES, one per cell.
    status: list[int]
    #: Problems, one number per cell, or a single one where all cells have the same.
    n_train: list[int]
    n_eval: list[int]


@dataclass(frozen=True, slots=True)
class Grid:
    """All scores of a run."""

    layers: list[int]
    #: Generic label of the token at each position.
    tokens: list[str]
    variables: list[str]
    #: Positions at which an equation or the question begins, and the first that the LM writes itself.
    equation_starts: list[int]
    output_start: int | None
    #: Per position and variable (the last runs fastest).
    ceiling: Column
    given: list[bool]
    families: list[Family]


@dataclass(frozen=True, slots=True)
class Scatter:
    """Predictions of one cell, one byte each, as base64 text; byte b stands for low + (high - low) * b / 255."""

    low: float
    high: float
    bytes: str
    #: Which of `Scatters.truths` holds the values of the same problems.
    truth: int


@dataclass(frozen=True, slots=True)
class Scatters:
    """The same few hundred problems of each cell: the first of those that its probe was evaluated on."""

    #: What stands in place of the points; empty where there are some.
    note: str
    points: int
    truths: list[list[float]]
    #: By "family|cell index".
    cells: dict[str, Scatter]


@dataclass(frozen=True, slots=True)
class Curve:
    """The training of the LM; columns of the same length, None where nothing was measured at a step."""

    note: str
    step: list[int]
    loss: list[float | None]
    accuracy: list[float | None]
    #: Where lessons begin, by name; empty for a training of a single one.
    lessons: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run."""

    id: str
    name: str
    recipe: str
    title: str
    state: str
    error: str
    #: A problem as the LM reads it, and its gold output.
    question: str
    answer: str
    #: The same with generic labels, which name positions and variables: ``A=1+B,B=2+3,C=4+5;A=``.
    pattern: str
    #: Names and values of what was asked of what, for a reader.
    facts: list[tuple[str, str]]
    #: Rows with name, state, done, total, note.
    stages: list[Row]
    accuracy: Row | None
    summary: list[Row]
    emergence: list[Row]
    claims: list[Row]
    #: None before the first score.
    grid: Grid | None
    scatters: Scatters
    curve: Curve
    provenance: list[tuple[str, str]]
    spec: str
    #: What repeats the run in a shell; with a note where that needs more.
    command: str
    command_note: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that one page shows."""

    runs: list[RunReport]
    #: Claims that compare two of the runs.
    pair_claims: list[Row]
    version: str
    #: When the rows were read, in UTC.
    created: str
    #: Whether a run could still get new rows.
    live: bool
