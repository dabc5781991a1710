"""What a run will cost, before it starts: units, FLOPs, bytes, and seconds on this machine.

After a calibration the seconds are those of the real workers doing such work here. Without one they are FLOPs over
the rate of a matrix product measured here and now, times the share of that rate which each stage reached on the
two-core machine that `docs/` describes: good to about a factor of two, and meant to tell minutes from hours.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arith_shared.ledger import plan
from arith_shared.specs import Spec
from arithctl.forecast import amounts, counts
from arithctl.forecast.calibration import Calibration
from arithctl.forecast.rates import makespan, seconds_of

#: Share of the measured float32 matrix rate that a stage reaches; training profits from bfloat16.
EFFICIENCY = {"train": 0.55, "extract": 0.35, "probe": 0.5, "summarize": 1.0}
_MATRIX = 1024


@dataclass(frozen=True, slots=True)
class StageForecast:
    """Cost of one stage, over all rounds; units are a lower bound where unsolved problems may ask for more.

    Bytes are those of artifacts that lie on the disk at one time: with `extract.keep_states: false` of one round.
    """

    stage: str
    units: int
    flops: float
    size_bytes: int
    #: Seconds in which at least one unit is at work.
    seconds: float
    #: Whether the stage may end sooner: a training that stops when the task is learnt.
    at_most: bool
    #: Steps of a training, at most; 0 elsewhere.
    steps: int
    #: Of the seconds, those that a training takes however short it is.
    fixed_s: float


def forecast(
    spec: Spec, calibration: Calibration | None = None, flops_per_s: float | None = None
) -> list[StageForecast]:
    """The cost of every stage; without a calibration from a measured rate (about 0.1 s if none is given)."""
    units = amounts.of_stages(spec)
    flops, size = counts.flops(spec), counts.written_bytes(spec)
    rate = 0.0 if calibration else flops_per_s or measure_rate()
    found = []
    for stage in plan.STAGES:
        if calibration is None:
            seconds, fixed = flops[stage] / (rate * EFFICIENCY[stage]), 0.0
        else:
            seconds, fixed = _seconds(calibration, stage, units[stage])
        at_most = stage == "train" and counts.may_stop_early(spec)
        steps = counts.training_steps(spec) if stage == "train" else 0
        found.append(
            StageForecast(stage, len(units[stage]), flops[stage], size[stage], seconds, at_most, steps, fixed)
        )
    return found


def in_all(stages: list[StageForecast], calibration: Calibration | None) -> float:
    """Seconds of the whole run, from its submission to its end, if workers are there at once."""
    return sum(stage.seconds for stage in stages) + (calibration.between_s if calibration else 0.0)


def as_rows(stages: list[StageForecast]) -> list[dict[str, Any]]:
    """Plain dictionaries, for JSON."""
    return [asdict(stage) for stage in stages]


def measure_rate() -> float:
    """Float32 FLOPs per second of a matrix product on this machine, the best of three."""
    left = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2 * _MATRIX**3 / best


def _seconds(calibration: Calibration, stage: str, units: list[amounts.Amounts]) -> tuple[float, float]:
    """Seconds of a stage, and how many of them do not grow with the work."""
    rates = calibration.rates.get(stage, {})
    start, unit = rates.get("start", 0.0), rates.get("unit", 0.0)
    workers = calibration.probers if plan.QUEUE_OF[stage] == "probe" else 1
    return makespan([seconds_of(rates, one) for one in units], workers, start), start + unit
