"""Rules about how high: accuracy, and the distractor C (sections 3.2 and 4.2)."""

from __future__ import annotations

from functools import partial

from arith_shared.analysis.claims.evidence import Evidence, Experiment
from arith_shared.analysis.claims.rules import (
    ABOUT,
    ACCURACY_MARGIN,
    Finding,
    Rule,
    about_its_ceiling,
    no_score,
    sentence,
)
from arith_shared.analysis.claims.timing import NEEDED
from arith_shared.analysis.claims.verdicts import POSITIVE, Measured, Range, number

#: The distractor: defined, and never asked for.
DISTRACTOR = "C"


def accuracy(paper: float, evidence: Evidence, family: str) -> Finding | str:
    """Share of evaluation problems whose whole output is right, against the paper's."""
    measured = evidence.summarized("accuracy")
    if measured is None:
        return "the run has no accuracy yet"
    limit = paper - ACCURACY_MARGIN
    why = f"the paper has {number(paper)}; at least {number(limit)} counts as that or better"
    return Finding(measured, Range(limit), why)


def at_most(paper: float, evidence: Evidence, family: str) -> Finding | str:
    """The best r of C anywhere, against the paper's largest."""
    measured = evidence.best(family, DISTRACTOR)
    if measured is None:
        return no_score(family, DISTRACTOR)
    limit = paper + ABOUT
    why = f"about {number(paper)} is at most {number(limit)}"
    return Finding(
        measured, Range(high=limit), sentence(why, about_its_ceiling(evidence, DISTRACTOR)), (DISTRACTOR,)
    )


def at_least(paper: float, evidence: Evidence, family: str) -> Finding | str:
    """The best r of C anywhere, against the paper's "about as high as"."""
    measured = evidence.best(family, DISTRACTOR)
    if measured is None:
        return no_score(family, DISTRACTOR)
    limit = paper - ABOUT
    why = f"about {number(paper)} is at least {number(limit)}"
    return Finding(
        measured, Range(limit), sentence(why, about_its_ceiling(evidence, DISTRACTOR)), (DISTRACTOR,)
    )


def not_computed(evidence: Evidence, family: str) -> Finding | str:
    """The best r of C minus what can be known of it without its last operand."""
    measured, ceiling = evidence.best(family, DISTRACTOR), evidence.ceiling_before(DISTRACTOR)
    if measured is None or ceiling is None:
        return no_score(family, DISTRACTOR)
    why = f"best r of C {measured}; about the same is at most {number(ABOUT)} more"
    excess = measured.minus(Measured(ceiling, ceiling, ceiling))
    return Finding(
        excess, Range(high=ABOUT), sentence(why, about_its_ceiling(evidence, DISTRACTOR)), (DISTRACTOR,)
    )


def computed(evidence: Evidence, family: str) -> Finding | str:
    """As `not_computed`, to be well above."""
    found = not_computed(evidence, family)
    if isinstance(found, str):
        return found
    why = found.why.replace("about the same is at most", "computed is at least")
    return Finding(found.measured, Range(ABOUT), why, found.rests_on)


def lower_than_needed(evidence: Evidence, family: str) -> Finding | str:
    """The lower one of the best r of A and B, minus the best r of C."""
    bests = {variable: evidence.best(family, variable) for variable in (*NEEDED, DISTRACTOR)}
    for variable, best in bests.items():
        if best is None:
            return no_score(family, variable)
    found = {variable: best for variable, best in bests.items() if best is not None}
    lower = min((found[variable] for variable in NEEDED), key=lambda best: best.value)
    why = ", ".join(f"best r of {variable} {best}" for variable, best in found.items())
    return Finding(
        lower.minus(found[DISTRACTOR]),
        Range(POSITIVE),
        sentence(why, about_its_ceiling(evidence, DISTRACTOR)),
        tuple(found),
    )


_ACCURACY: tuple[tuple[Experiment, float, str], ...] = (
    ("specialised", 0.988, "section 3.2, figure 2"),
    ("general", 0.995, "section 3.2, figure 2"),
    ("chain", 0.983, "section 4.2, figure 3"),
)
_DISTRACTOR_3, _DISTRACTOR_4 = "section 3.2, distractor, figure 2", "section 4.2, distractor, figure 3"

RULES = (
    *(
        Rule(
            "accuracy",
            place,
            f"the {name} LM answers {100 * paper:.1f} % of the evaluation problems",
            (name,),
            "value",
            partial(accuracy, paper),
            by_family=False,
        )
        for name, paper, place in _ACCURACY
    ),
    Rule(
        "c-about-0.9",
        _DISTRACTOR_3,
        "in the general model C correlates at about 0.9",
        ("general",),
        "value",
        partial(at_least, 0.9),
    ),
    Rule(
        "c-computed",
        _DISTRACTOR_3,
        "the general model computes C too, although the answer does not need it",
        ("general",),
        "order",
        computed,
    ),
    Rule(
        "c-at-most-0.7",
        _DISTRACTOR_3,
        "in the specialised model C correlates at no more than about 0.7",
        ("specialised",),
        "value",
        partial(at_most, 0.7),
    ),
    Rule(
        "c-at-most-0.6",
        _DISTRACTOR_4,
        "C correlates at no more than about 0.6",
        ("chain",),
        "value",
        partial(at_most, 0.6),
    ),
    Rule(
        "c-not-computed",
        "sections 3.2 and 4.2, distractor",
        "the model does not strictly compute C, which the answer does not need",
        ("specialised", "chain"),
        "order",
        not_computed,
        of_solvers=True,
    ),
    Rule(
        "c-below-a-and-b",
        "sections 3.2 and 4.2, distractor",
        "C correlates comparatively weakly: less than what the answer needs",
        ("specialised", "chain"),
        "order",
        lower_than_needed,
    ),
)
