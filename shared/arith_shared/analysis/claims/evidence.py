"""What a run offers to the rules: which of the paper's experiments it is, its rows, and the few numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from arith_shared.analysis.claims.verdicts import Measured
from arith_shared.analysis.emergence import Onset, best_cell, onset, own_equation_ends
from arith_shared.analysis.panel import UNTRAINED_SUFFIX, families
from arith_shared.problems import LAYOUTS, question_tokens
from arith_shared.work import Row

if TYPE_CHECKING:
    from arith_shared.specs import Spec

#: Section 3's two models, and section 4's chain of thought.
Experiment = Literal["specialised", "general", "chain"]

#: From here on a ceiling is 1: the tokens read so far determine the value.
_DETERMINED = 1 - 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One run as the rules see it."""

    run: str
    experiment: Experiment | None
    """None: the problems are not those of equation 1, about which the paper makes its claims."""
    paper_size: bool
    """Whether the LM has the paper's size: then values are judged, not only orders."""
    max_number: int
    threshold: float
    """Correlation from which a variable counts as readable."""
    ends: Mapping[str, int]
    """Position of the last token of each variable's own equation."""
    output_start: int
    """Position of the first token that the LM writes."""
    scores: Sequence[Row]
    summary: Sequence[Row]
    values: str = "in_range"
    """Whether values outside 0 to `max_number` are rejected."""

    @classmethod
    def of(cls, run: str, spec: Spec, scores: Sequence[Row], summary: Sequence[Row]) -> Evidence:
        """Gather what the rules need of a run from its spec and rows."""
        (layout,) = spec.task.evaluation().layouts
        return cls(
            run=run,
            experiment=experiment(spec),
            paper_size=paper_size(spec),
            max_number=spec.task.max_number,
            threshold=spec.probe.threshold,
            ends=own_equation_ends(layout),
            output_start=len(question_tokens(layout)),
            scores=scores,
            summary=summary,
            values=spec.task.values,
        )

    @property
    def families(self) -> tuple[str, ...]:
        """Families that read the trained LM."""
        return tuple(name for name in families(self.scores) if not name.endswith(UNTRAINED_SUFFIX))

    def cells(self, family: str, variable: str) -> list[Row]:
        """The rows of one family and variable."""
        return [row for row in self.scores if row["family"] == family and row["variable"] == variable]

    def best(
        self, family: str, variable: str, where: Callable[[int], bool] = lambda position: True
    ) -> Measured | None:
        """The largest r at positions that satisfy `where`, with its cell's interval; None where no cell has one.

        Cells whose text already prints the value do not count.
        """
        cell = best_cell(row for row in self.cells(family, variable) if where(row["position"]))
        return Measured(cell["value"], cell["ci_low"], cell["ci_high"]) if cell else None

    def onset(self, family: str, variable: str) -> Onset:
        """Where the variable becomes readable."""
        return onset(self.cells(family, variable), self.threshold)

    def computable(self, variable: str) -> int | None:
        """The first position at which the tokens read so far determine the value; None if that is not known."""
        known = (row for row in self.scores if row["variable"] == variable and row["ceiling"] is not None)
        return min((row["position"] for row in known if row["ceiling"] >= _DETERMINED), default=None)

    def ceiling_before(self, variable: str) -> float | None:
        """The ceiling just before the last token of the variable's own equation: what is known without computing."""
        place = self.ends[variable] - 1
        found = (row for row in self.scores if row["variable"] == variable and row["position"] == place)
        return next((row["ceiling"] for row in found if row["ceiling"] is not None), None)

    def summarized(self, name: str) -> Measured | None:
        """A row of the summary; None where there is none."""
        row = next((row for row in self.summary if row["name"] == name and row["value"] is not None), None)
        return Measured(row["value"], row["ci_low"], row["ci_high"]) if row else None

    def untrained(self, variable: str) -> float | None:
        """The largest r that the same probe finds before training; None where it was not measured."""
        found = self.summarized(f"untrained/ridge/{variable}")
        return found.value if found else None


def experiment(spec: Spec) -> Experiment | None:
    """Which of the paper's experiments a spec is."""
    if LAYOUTS[spec.task.layout].formulas != LAYOUTS["eq1"].formulas:
        return None
    if spec.task.chain != "none":
        return "chain"
    return "general" if spec.task.training == "general" else "specialised"


def paper_size(spec: Spec) -> bool:
    """Whether LM and numbers are as large as the paper's: tables 1 and 2, or Mistral 7B with single digits."""
    size = (spec.lm.layers, spec.lm.width, spec.task.max_number)
    if spec.task.chain == "none":
        return size == (8, 1024, 99)
    kind: str = spec.lm.kind
    return kind == "pretrained" and size == (32, 4096, 9)
