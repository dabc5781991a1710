"""Rules about when a value becomes readable (sections 3.2 and 4.2, "timing of the computation")."""

from __future__ import annotations

from functools import partial
from math import inf, isfinite

from arith_shared.analysis.claims.evidence import Evidence
from arith_shared.analysis.claims.rules import SOON, Finding, Rule, no_score
from arith_shared.analysis.claims.verdicts import POSITIVE, Measured, Range, number
from arith_shared.analysis.emergence import Onset

#: What has to be computed for the answer; C does not.
NEEDED = ("A", "B")


def after_own_equation(evidence: Evidence, family: str) -> Finding | str:
    """B: tokens from the last one of its equation to the first at which it is readable."""
    if evidence.best(family, "B") is None:
        return no_score(family, "B")
    found = evidence.onset(family, "B")
    end = evidence.ends["B"]
    why = f"B reaches {number(evidence.threshold)} {_at(found)}; its equation ends at position {end}"
    return Finding(_since(found, end), Range(0, SOON), why, ("B",))


def a_after_b(evidence: Evidence, family: str) -> Finding | str:
    """A: tokens from where B becomes readable to where A does."""
    for variable in NEEDED:
        if evidence.best(family, variable) is None:
            return no_score(family, variable)
    first, then = evidence.onset(family, "B"), evidence.onset(family, "A")
    why = f"B reaches {number(evidence.threshold)} {_at(first)}, A {_at(then)}"
    if not isfinite(first.position):
        return f"{why}: there is nothing to come after"
    return Finding(_between(first, then), Range(0, SOON), why, NEEDED)


def as_soon_as_computable(evidence: Evidence, family: str) -> Finding | str:
    """A and B: the longer of the two waits between being determined by what was read, and being readable."""
    waits, words = [], []
    for variable in NEEDED:
        computable = evidence.computable(variable)
        if computable is None or evidence.best(family, variable) is None:
            return no_score(family, variable)
        found = evidence.onset(family, variable)
        waits.append(_since(found, computable))
        words.append(f"{variable} is determined from position {computable} on, readable {_at(found)}")
    return Finding(_longest(waits), Range(-inf, SOON), "; ".join(words), NEEDED)


def first_in_chain(variable: str, evidence: Evidence, family: str) -> Finding | str:
    """Tokens from the first that the LM writes to the first at which `variable` is readable."""
    if evidence.best(family, variable) is None:
        return no_score(family, variable)
    found = evidence.onset(family, variable)
    start = evidence.output_start
    why = f"{variable} reaches {number(evidence.threshold)} {_at(found)}; the LM writes from position {start} on"
    # Never is not "in the chain": the value must also become readable there.
    return Finding(_since(found, start), Range(0, _LONGEST), why, (variable,))


def rises_in_chain(variable: str, evidence: Evidence, family: str) -> Finding | str:
    """Best r in the chain minus best r in the input."""
    start = evidence.output_start
    read = evidence.best(family, variable, lambda position: position < start)
    written = evidence.best(family, variable, lambda position: position >= start)
    if read is None or written is None:
        return no_score(family, variable)
    why = f"best r of {variable} {written} in the chain, {read} in the input; values already printed do not count"
    return Finding(written.minus(read), Range(POSITIVE), why, (variable,))


#: More tokens than any text has: a finite bound, so that "never" lies outside.
_LONGEST = 1e6

_TIMING, _CHAIN = "section 3.2, timing, figure 2", "section 4.2, timing, figure 3"

RULES = (
    Rule(
        "b-after-its-equation",
        _TIMING,
        "right after B=2+3 has been read, B correlates strongly, in both models",
        ("specialised", "general"),
        "order",
        after_own_equation,
    ),
    Rule(
        "a-after-b",
        _TIMING,
        "right after that, A, which depends on B, correlates strongly",
        ("specialised", "general"),
        "order",
        a_after_b,
    ),
    Rule(
        "as-soon-as-computable",
        _TIMING,
        "each variable is computed greedily, at the moment at which it can be",
        ("specialised", "general"),
        "order",
        as_soon_as_computable,
    ),
    *(
        Rule(
            f"{variable.lower()}-first-in-chain",
            _CHAIN,
            f"correlations are low in the input and become high in the output: {variable} is solved while the "
            "chain is written, not while the problem is read",
            ("chain",),
            "order",
            partial(first_in_chain, variable),
        )
        for variable in NEEDED
    ),
    *(
        Rule(
            f"{variable.lower()}-rises-in-chain",
            _CHAIN,
            f"correlations are lower in the input than in the output: {variable}",
            ("chain",),
            "order",
            partial(rises_in_chain, variable),
        )
        for variable in NEEDED
    ),
)


def _since(found: Onset, start: float) -> Measured:
    low, high = (None if bound is None else bound - start for bound in (found.low, found.high))
    return Measured(found.position - start, low, high)


def _between(first: Onset, then: Onset) -> Measured:
    """Widest difference of two positions within their intervals."""
    value = then.position - first.position
    if first.low is None or first.high is None or then.low is None or then.high is None:
        return Measured(value, None, None)
    return Measured(value, _difference(then.low, first.high), _difference(then.high, first.low))


def _difference(left: float, right: float) -> float:
    # Two positions that may both be never reached can be in any order.
    return -inf if isfinite(left) and not isfinite(right) else inf if not isfinite(left) else left - right


def _longest(waits: list[Measured]) -> Measured:
    lows = [wait.low for wait in waits if wait.low is not None]
    highs = [wait.high for wait in waits if wait.high is not None]
    known = len(lows) == len(waits)
    value = max(wait.value for wait in waits)
    return Measured(value, max(lows) if known else None, max(highs) if known else None)


def _at(found: Onset) -> str:
    if not isfinite(found.position):
        return "nowhere"
    if found.low is None or found.high is None or found.low == found.high:
        return f"at position {number(found.position)}"
    return f"at position {number(found.position)} [{number(found.low)}, {number(found.high)}]"
