"""What a figure shows, read from score rows alone: a figure can be drawn wherever the rows can be read.

A cell is one (layer, position, variable). It may be absent (the run has not come that far), failed (the
probe diverged, or its prediction was constant), or carry a correlation; a figure must show which, so a
failed cell is never given a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arith_shared.analysis.panel import UNTRAINED_SUFFIX

#: Tokens that end an equation.
_ENDS = (",", ";")

Row = Mapping[str, Any]


class Accuracy(NamedTuple):
    """Share of problems that the LM solves, its 95 % interval (None: not known), and how many were tried."""

    value: float
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The scores of one probe family as arrays."""

    family: str
    value: NDArray[np.float64]
    """float64[layer, position, variable]: Pearson r; NaN where there is none."""
    failed: NDArray[np.bool_]
    """bool[layer, position, variable]: the probe was fitted and gave no correlation."""
    n_train: tuple[int, int]
    """Fewest and most problems that a probe was fitted on."""
    n_eval: tuple[int, int]

    @property
    def best(self) -> NDArray[np.float64]:
        """float64[position, variable]: the largest correlation over the layers; NaN where there is none."""
        # fmax prefers a number to NaN, and unlike nanmax does not warn where there is none.
        best: NDArray[np.float64] = np.fmax.reduce(self.value, axis=0)
        return best


@dataclass(frozen=True, slots=True, eq=False)
class FigureData:
    """One run as its figures show it."""

    run: str
    title: str
    accuracy: Accuracy | None
    rows: tuple[Row, ...]
    """Score rows of all probe families."""
    labels: tuple[str, ...]
    """Generic label of the token at each position; empty where no row names it."""
    variables: tuple[str, ...]
    layers: tuple[int, ...]
    ceiling: NDArray[np.float64]
    """float64[position, variable]: best correlation that any reader of the tokens so far could reach; NaN
    where it is not known."""
    given: NDArray[np.bool_]
    """bool[position, variable]: the text read so far prints the variable's value."""
    own_equation_end: Mapping[str, int]
    """Position of the last token of each variable's own equation."""
    untrained: Mapping[str, float | None]
    """Best correlation that the same probe finds in an untrained LM; None where it was not measured."""
    name: str
    """What tells it from others on the same page where there is no room for its title."""

    @classmethod
    def from_rows(
        cls, run: str, rows: Iterable[Row], *, title: str = "", name: str = "", summary: Iterable[Row] = ()
    ) -> FigureData:
        """Read everything from the score rows of one run, and accuracy and `untrained/…` from its summary.

        `name` is the run's id unless said otherwise.
        Raises ValueError if there is no row.
        """
        rows = tuple(rows)
        if not rows:
            raise ValueError(
                f"run {run} has no scores yet, and a figure needs some; wait for its probe stage"
            )
        summary = tuple(summary)
        variables = tuple(sorted({row["variable"] for row in rows}))
        labels = _labels(rows)
        return cls(
            run=run,
            title=title,
            accuracy=_accuracy(summary),
            rows=rows,
            labels=labels,
            variables=variables,
            layers=tuple(sorted({int(row["layer"]) for row in rows})),
            ceiling=_by_position(rows, labels, variables, "ceiling", np.nan, np.float64),
            given=_by_position(rows, labels, variables, "given", False, np.bool_),
            own_equation_end=own_equation_ends(labels, variables),
            untrained={variable: _untrained(summary, variable) for variable in variables},
            name=name or run,
        )

    @property
    def families(self) -> tuple[str, ...]:
        """Probe families, in the order in which the rows name them; those of the untrained LM are no findings."""
        names = dict.fromkeys(str(row["family"]) for row in self.rows)
        return tuple(name for name in names if not name.endswith(UNTRAINED_SUFFIX))

    @property
    def output_start(self) -> int | None:
        """Position of the first token that the LM writes; None if only the question was probed."""
        length = question_length(self.labels)
        return length if length < len(self.labels) else None

    @property
    def equation_starts(self) -> list[int]:
        """Positions at which an equation or the question begins, apart from the first."""
        return [position + 1 for position, label in enumerate(self.labels[:-1]) if label in _ENDS]

    def family_rows(self, family: str) -> list[Row]:
        """The score rows of `family`, by layer, position and variable."""
        mine = [row for row in self.rows if row["family"] == family]
        return sorted(mine, key=lambda row: (row["layer"], row["position"], row["variable"]))

    def grid(self, family: str) -> Grid:
        """The scores of `family` as arrays; raises ValueError if two rows claim the same cell."""
        shape = (len(self.layers), len(self.labels), len(self.variables))
        value, failed, seen = np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        rows = self.family_rows(family)
        for row in rows:
            cell = (self.layers.index(row["layer"]), row["position"], self.variables.index(row["variable"]))
            if seen[cell]:
                where = f"layer {row['layer']}, position {row['position']}, variable {row['variable']}"
                raise ValueError(f"expected one {family} score at {where}, found two; draw one run at a time")
            seen[cell] = True
            failed[cell] = row["status"] != "ok" or row["value"] is None
            value[cell] = np.nan if failed[cell] else row["value"]
        return Grid(family, value, failed, _extent(rows, "n_train"), _extent(rows, "n_eval"))


def own_equation_ends(labels: Sequence[str], variables: Sequence[str]) -> dict[str, int]:
    """Position of the last token of each variable's own equation: of ``5`` in ``C = 4 + 5 ;`` for C."""
    ends: dict[str, int] = {}
    start = 0
    for position, label in enumerate(labels):
        if label in _ENDS:
            if labels[start] in variables:
                ends.setdefault(labels[start], position - 1)
            start = position + 1
    return ends


def question_length(labels: Sequence[str]) -> int:
    """How many tokens the LM reads before it writes: definitions, ``;``, and what is asked, up to ``=`` or ``?``."""
    if "?" in labels:
        return list(labels).index("?") + 1
    if ";" not in labels:
        return len(labels)
    asked = list(labels).index(";") + 1
    return next((i + 1 for i in range(asked, len(labels)) if labels[i] == "="), len(labels))


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    found = {int(row["position"]): str(row["token"]) for row in rows}
    return tuple(found.get(position, "") for position in range(max(found) + 1))


def _by_position(
    rows: Sequence[Row], labels: Sequence[str], variables: Sequence[str], column: str, empty: Any, dtype: type
) -> NDArray[Any]:
    array: NDArray[Any] = np.full((len(labels), len(variables)), empty, dtype)
    for row in rows:
        if row[column] is not None:
            array[row["position"], variables.index(row["variable"])] = row[column]
    return array


def _accuracy(summary: Sequence[Row]) -> Accuracy | None:
    for row in summary:
        if row["name"] == "accuracy" and row["value"] is not None:
            return Accuracy(row["value"], row.get("ci_low"), row.get("ci_high"), row.get("n"))
    return None


def _untrained(summary: Sequence[Row], variable: str) -> float | None:
    """The largest value among ``untrained/C``, ``untrained/mlp/C`` and the like."""
    names = [(str(row["name"]).split("/"), row["value"]) for row in summary]
    found = [value for parts, value in names if parts[0] == "untrained" and parts[-1] == variable]
    return max((value for value in found if value is not None), default=None)


def _extent(rows: Sequence[Row], column: str) -> tuple[int, int]:
    counts = [int(row[column]) for row in rows if row[column] is not None]
    return (min(counts), max(counts)) if counts else (0, 0)
