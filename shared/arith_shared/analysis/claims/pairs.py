"""The claim that compares the two models of section 3, which no single run can show."""

from __future__ import annotations

from arith_shared.analysis.claims.evidence import Evidence
from arith_shared.analysis.claims.rules import Finding, no_score
from arith_shared.analysis.claims.values import DISTRACTOR
from arith_shared.analysis.claims.verdicts import POSITIVE, Range, number

NAME = "c-higher-in-general"
SOURCE = (
    "section 3.2, distractor, figure 2: C correlates more strongly in the general model (about 0.9) than in the "
    "specialised one (at most about 0.7)"
)


def c_higher_in_general(general: Evidence, specialised: Evidence, family: str) -> Finding | str:
    """The best r of C in the general model minus the best in the specialised one."""
    if general.max_number != specialised.max_number:
        return (
            f"the runs have different numbers, 0 to {general.max_number} and 0 to {specialised.max_number}: "
            "their correlations cannot be compared"
        )
    if general.values != specialised.values:
        return (
            "the values of one run stay in range and those of the other do not (task.values): their correlations "
            "cannot be compared"
        )
    high, low = general.best(family, DISTRACTOR), specialised.best(family, DISTRACTOR)
    if high is None or low is None:
        return no_score(family, DISTRACTOR)
    ceiling = general.ceiling_before(DISTRACTOR)
    known = "" if ceiling is None else f"; without C's last operand {number(ceiling)} can be reached"
    why = f"best r of C: general {high}, specialised {low}{known}"
    return Finding(high.minus(low), Range(POSITIVE), why, (DISTRACTOR,))
