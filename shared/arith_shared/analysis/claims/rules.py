"""What a rule is, what it finds, and the words about it that are the same for all rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arith_shared.analysis.claims.evidence import Evidence, Experiment
from arith_shared.analysis.claims.verdicts import Measured, Range, number

#: How far "about 0.7" and its like reach to either side.
ABOUT = 0.05
#: How far below the paper's accuracy ours may lie: one in a hundred problems.
ACCURACY_MARGIN = 0.01
#: Accuracy from which an LM counts as solving its task, of whatever size it is.
SOLVES = 0.9
#: Tokens after the one that makes a value computable that still count as "right after" it: the comma, and the
#: name that begins the next equation.
SOON = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule measured, and where it would have to lie."""

    measured: Measured
    allowed: Range
    why: str
    """The evidence in words."""
    rests_on: tuple[str, ...] = ()
    """Variables whose probes the finding depends on."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence of the paper, over one run and, where `find` looks at probes, one family."""

    name: str
    place: str
    """Section and figure."""
    sentence: str
    """What the paper says, in English."""
    experiments: tuple[Experiment, ...]
    kind: Literal["value", "order"]
    """A value is judged at the paper's size only, an order at every size."""
    find: Callable[[Evidence, str], Finding | str]
    """From a run and a family to a finding, or to the reason why there is none."""
    by_family: bool = True
    of_solvers: bool = False
    """Whether an LM that does not solve its task passes for nothing: what it leaves out is then no finding."""

    @property
    def source(self) -> str:
        """Place and sentence, for the column of that name."""
        return f"{self.place}: {self.sentence}"


def about_its_ceiling(evidence: Evidence, variable: str) -> str:
    """How much of `variable` is known before its last operand is read, and to an untrained LM."""
    ceiling, untrained = evidence.ceiling_before(variable), evidence.untrained(variable)
    words = []
    if ceiling is not None:
        words.append(f"whoever has not read {variable}'s last operand can reach {number(ceiling)}")
    if untrained is not None:
        words.append(f"ridge on the untrained LM {number(untrained)}")
    return "; ".join(words)


def sentence(*parts: str) -> str:
    """Join the parts that are there by semicolons."""
    return "; ".join(part for part in parts if part)


def no_score(family: str, variable: str) -> str:
    """Said where a rule finds no number."""
    return f"{family} has no correlation for {variable} that counts (diverged, constant, or not probed)"
