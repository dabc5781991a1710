"""Rules and evidence to the rows of the table `claims`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from arith_shared.analysis.claims import pairs, timing, values
from arith_shared.analysis.claims.evidence import Evidence
from arith_shared.analysis.claims.rules import ABOUT, SOLVES, Finding, Rule
from arith_shared.analysis.claims.verdicts import Verdict, number
from arith_shared.work import Row

#: The paper's probe, and the one that shows whether it was fitted well enough to say anything.
_PAPER, _CONVERGED = "mlp", "ridge"


def judge(evidence: Sequence[Evidence]) -> list[Row]:
    """Return a row per run, rule and family, then one per general run, specialised run and family.

    Columns: run, claim, source, measured, ci_low, ci_high, verdict, why. `claim` is the rule's name, with the
    family where there is one: ``c-at-most-0.7/mlp``.
    """
    rows = [row for run in evidence for row in _single(run)]
    of_kind = {
        kind: [run for run in evidence if run.experiment == kind] for kind in ("general", "specialised")
    }
    for general in of_kind["general"]:
        for specialised in of_kind["specialised"]:
            rows += _pair(general, specialised)
    return rows


def _single(run: Evidence) -> Iterator[Row]:
    for rule in (*values.RULES, *timing.RULES):
        if run.experiment not in rule.experiments:
            continue
        for family in run.families if rule.by_family else ("",):
            found = rule.find(run, family)
            name = f"{rule.name}/{family}" if family else rule.name
            yield _row(run.run, name, rule.source, found, *_verdict(rule, run, family, found))


def _pair(general: Evidence, specialised: Evidence) -> Iterator[Row]:
    runs = f"{general.run} and {specialised.run}"
    for family in general.families:
        if family not in specialised.families:
            continue
        found = pairs.c_higher_in_general(general, specialised, family)
        verdict, why = _judged(found)
        reasons = [_underfitted(run, family, found) for run in (general, specialised)]
        if reason := next(filter(None, reasons), ""):
            verdict, why = "inconclusive", f"{why}; {reason}"
        yield _row(runs, f"{pairs.NAME}/{family}", pairs.SOURCE, found, verdict, why)


def _verdict(rule: Rule, run: Evidence, family: str, found: Finding | str) -> tuple[Verdict, str]:
    verdict, why = _judged(found)
    if rule.kind == "value" and not run.paper_size:
        return (
            "inconclusive",
            f"{why}; a value is judged at the paper's size only, and this LM is not of that size",
        )
    if reason := _underfitted(run, family, found):
        return "inconclusive", f"{why}; {reason}"
    if rule.of_solvers and verdict == "pass" and (reason := _unsolved(run)):
        return "inconclusive", f"{why}; {reason}"
    return verdict, why


def _judged(found: Finding | str) -> tuple[Verdict, str]:
    if isinstance(found, str):
        return "inconclusive", found
    verdict = found.allowed.verdict(found.measured)
    if found.measured.low is None:
        return verdict, f"{found.why}; no interval was computed (probe.resamples is 0)"
    border = "; the interval lies on both sides of the border" if verdict == "inconclusive" else ""
    return verdict, f"{found.why}{border}"


def _unsolved(run: Evidence) -> str:
    """Why nothing follows from what the LM leaves out; empty where it solves its task."""
    accuracy = run.summarized("accuracy")
    if accuracy is None:
        return "the run has no accuracy, so it is not known whether the LM solves its task"
    if accuracy.value >= SOLVES:
        return ""
    return (
        f"the LM answers only {100 * accuracy.value:.1f} % of its problems (below {100 * SOLVES:.0f} %): one that "
        "does not solve its task need not compute anything"
    )


def _underfitted(run: Evidence, family: str, found: Finding | str) -> str:
    """Why a small run's `mlp` says nothing about the LM; empty where it does.

    The paper's 30 steps are made for values up to 99. Where ridge reads far more from the same hidden states, what
    the mlp probe does not read was there all the same. At the paper's size the paper's probe is judged as it is.
    """
    if run.paper_size or family != _PAPER or isinstance(found, str):
        return ""
    for variable in found.rests_on:
        paper, converged = run.best(_PAPER, variable), run.best(_CONVERGED, variable)
        if paper and converged and converged.value - paper.value > ABOUT:
            return (
                f"the mlp probe is underfitted: it reads {variable} at {number(paper.value)}, "
                f"ridge at {number(converged.value)} from the same hidden states"
            )
    return ""


def _row(run: str, name: str, source: str, found: Finding | str, verdict: Verdict, why: str) -> Row:
    bounds: tuple[float | None, ...] = (None, None, None)
    if isinstance(found, Finding):
        bounds = (found.measured.value, found.measured.low, found.measured.high)
    measured, low, high = map(_finite, bounds)
    return {
        "run": run,
        "claim": name,
        "source": source,
        "measured": measured,
        "ci_low": low,
        "ci_high": high,
        "verdict": verdict,
        "why": why,
    }


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and isfinite(bound) else None
