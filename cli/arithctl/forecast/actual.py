"""What a run took beside what was forecast when it was submitted.

The calibration of that moment is kept in the run's provenance, and the forecast is made again from it and from the
spec: what is kept is small, is no part of the spec or its key, and serves every run of a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from arith_shared.errors import SpecError
from arith_shared.ledger import plan
from arith_shared.ledger.rounds import kind_of, layer_groups
from arith_shared.ledger.tables import Artifact, Attempt, Run, Stage, Unit
from arith_shared.specs import Spec, parse_spec
from arithctl.forecast.calibration import Calibration, parse
from arithctl.forecast.stages import StageForecast, forecast

#: Where a run's provenance has the calibration.
PROVENANCE = "calibration"


@dataclass(frozen=True, slots=True)
class Done:
    """A finished attempt."""

    stage: str
    payload: Mapping[str, Any]
    worker: str
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A stage, over all its rounds: forecast, and what it took. Figures that would mean nothing are None."""

    stage: str
    #: Seconds forecast at submission; None: not calibrated then.
    forecast_s: float | None
    #: Whether that is an upper bound.
    at_most: bool
    #: The forecast for the steps that were taken and the shards that were needed, once they are known.
    for_done_s: float | None
    #: Seconds in which at least one of its units was at work; None: none has been yet.
    took_s: float | None
    #: took / forecast for what was done; None: not finished, or some units were reused.
    time_ratio: float | None
    forecast_bytes: int
    written_bytes: int | None
    bytes_ratio: float | None
    #: What the forecast for what was done counts: `450 of 700 steps`.
    note: str


def compare(session: Session, run_id: str) -> list[Comparison]:
    """Every stage of a run; nothing of a run whose spec this version cannot read."""
    run = session.get_one(Run, run_id)
    if (spec := _spec(run)) is None:
        return []
    calibration = _calibration(run)
    took, written = busy(session, run_id), _written(session, run_id, keep=spec.extract.keep_states)
    stages = session.scalars(select(Stage).where(Stage.run_id == run_id)).all()
    found = []
    # Without a calibration only units and bytes are of interest.
    for one in forecast(spec, calibration, flops_per_s=1.0):
        mine = [stage for stage in stages if kind_of(stage.name) == one.stage]
        is_done = all(stage.state == "done" for stage in mine)
        share, note = _share(session, run_id, one, mine, counts_steps=one.at_most) if is_done else (None, "")
        expected = one.fixed_s + (one.seconds - one.fixed_s) * share if share is not None else None
        fresh = is_done and not any(stage.reused for stage in mine)
        seconds, size = took.get(one.stage), written.get(one.stage)
        found.append(
            Comparison(
                stage=one.stage,
                forecast_s=one.seconds if calibration else None,
                at_most=one.at_most,
                for_done_s=expected if calibration else None,
                took_s=seconds,
                time_ratio=_ratio(seconds, expected) if calibration and fresh else None,
                forecast_bytes=one.size_bytes,
                written_bytes=size,
                bytes_ratio=_ratio(size, one.size_bytes) if is_done else None,
                note=note,
            )
        )
    return found


def forecast_s(session: Session, run_id: str) -> dict[str, float]:
    """Seconds of each stage as forecast at submission; empty where that is not known, or with rounds of layers."""
    run = session.get_one(Run, run_id)
    spec, calibration = _spec(run), _calibration(run)
    if spec is None or calibration is None or len(layer_groups(spec)) > 1:
        return {}
    return {one.stage: one.seconds for one in forecast(spec, calibration)}


def as_rows(found: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Plain dictionaries, for JSON."""
    return [asdict(one) for one in found]


def attempts(session: Session, run_id: str, outcomes: tuple[str, ...] = ("done",)) -> list[Done]:
    """Attempts of a run that ended so, in the order in which they began."""
    query = (
        select(Unit.stage, Unit.payload, Attempt.worker_id, Attempt.started_at, Attempt.ended_at)
        .join(Attempt, Attempt.unit_id == Unit.id)
        .where(Unit.run_id == run_id, Attempt.outcome.in_(outcomes), Attempt.ended_at.is_not(None))
        .order_by(Attempt.started_at)
    )
    return [Done(*row) for row in session.execute(query)]


def busy(session: Session, run_id: str) -> dict[str, float]:
    """Seconds in which at least one unit of a stage was at work, tries that led to nothing included."""
    spans: dict[str, list[tuple[float, float]]] = {}
    # An attempt whose lease was lost ended when somebody noticed.
    for one in attempts(session, run_id, ("done", "reused", "failed", "released", "cancelled")):
        spans.setdefault(kind_of(one.stage), []).append((one.started_at, one.ended_at))
    return {stage: sum(end - start for start, end in merged(each)) for stage, each in spans.items()}


def merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The time that spans cover, as spans without overlap, in order."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def device(session: Session, run_id: str) -> str | None:
    """What a run's LM was trained on, if it was."""
    for artifact in plan.artifacts_of(session, run_id, "train"):
        return artifact.meta.get("device")
    return None


def _spec(run: Run) -> Spec | None:
    """None: another version wrote it, and this one cannot read it."""
    try:
        return parse_spec(run.spec)
    except SpecError:
        return None


def _calibration(run: Run) -> Calibration | None:
    try:
        return parse(run.provenance[PROVENANCE])
    except (KeyError, ValueError):
        # Submitted without one, or by a version that counted otherwise.
        return None


def _share(
    session: Session, run_id: str, one: StageForecast, stages: list[Stage], *, counts_steps: bool
) -> tuple[float, str]:
    """How much of the forecast work was there to do, and in words where that is not all."""
    if one.stage == "train":
        steps = [artifact.meta.get("steps") for artifact in plan.artifacts_of(session, run_id, "train")]
        if counts_steps and one.steps and steps and steps[0] is not None:
            return steps[0] / one.steps, f"{steps[0]:,} of {one.steps:,} steps"
        return 1.0, ""
    units = sum(stage.total for stage in stages)
    return units / one.units, f"{units} units, {one.units} forecast" if units != one.units else ""


def _written(session: Session, run_id: str, *, keep: bool) -> dict[str, int]:
    """Bytes of a stage's artifacts; where states are not kept, those of the largest round."""
    query = (
        select(Unit.stage, Artifact.size_bytes)
        .join(Artifact, Artifact.key == Unit.artifact_key)
        .where(Unit.run_id == run_id, Unit.state == "done")
    )
    of_round: dict[str, int] = {}
    for stage, size in session.execute(query):
        of_round[stage] = of_round.get(stage, 0) + size
    found: dict[str, int] = {}
    for stage, size in of_round.items():
        kind, before = kind_of(stage), found.get(kind_of(stage), 0)
        found[kind] = max(before, size) if kind == "extract" and not keep else before + size
    return found


def _ratio(found: float | None, expected: float | None) -> float | None:
    return found / expected if found is not None and expected else None
