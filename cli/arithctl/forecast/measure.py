"""`doctor --calibrate`: the embedded engine and its real workers run trials in a folder of their own; they are timed.

Times are those of the ledger, from the claim of a unit to the record of its result. So what surrounds a handler
(imports, checksums, the disk) is in them, and so is what the workers of one stage take from each other.
"""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from arith_shared.compute import usable_cores
from arith_shared.errors import ArithError, UserError
from arith_shared.ledger import runs, views
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of
from arith_shared.ledger.tables import RUN_OVER, Run, Unit
from arith_shared.settings import Settings, load_settings
from arith_shared.specs import Spec
from arithctl.connection import open_database
from arithctl.embedded import Engine
from arithctl.embedded.workers import slots
from arithctl.forecast import actual, amounts, counts
from arithctl.forecast.amounts import Amounts
from arithctl.forecast.calibration import VERSION, Calibration, machine
from arithctl.forecast.rates import fit
from arithctl.forecast.trials import Trial

#: Seconds between looks at the ledger.
_POLL_S = 0.2

#: Told which trial begins: its number, of how many, its name.
Tell = Callable[[int, int, str], None]


class CalibrationError(ArithError):
    """Raised when a trial did not come to its end."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A unit of a trial: the amounts of its work, and the seconds it took."""

    stage: str
    amounts: Amounts
    seconds: float


def calibrate(settings: Settings, trials: Sequence[Trial], tell: Tell) -> Calibration:
    """Run the trials and fit what they took; nothing of them stays.

    Raises UserError where services do the work, CalibrationError when a trial fails, MissingExtraError without a
    broker.
    """
    if not settings.embedded:
        raise UserError(
            f"a calibration times this machine, and the work is done elsewhere ({settings.reason}); "
            "ARITH_MODE=embedded arithctl doctor --calibrate times what runs here without services"
        )
    began = time.monotonic()
    settings.home.mkdir(parents=True, exist_ok=True)
    # On the disk where runs will write.
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=settings.home) as folder:
        timed, device, between_s = _run_all(_apart(Path(folder)), trials, tell)
    stages = dict.fromkeys(one.stage for one in timed)
    return Calibration(
        version=VERSION,
        made=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        took_s=time.monotonic() - began,
        machine=machine(settings),
        probers=sum(slot.queue == "probe" for slot in slots(usable_cores())),
        device=device,
        between_s=between_s,
        rates={
            stage: fit([(one.amounts, one.seconds) for one in timed if one.stage == stage])
            for stage in stages
        },
    )


def _apart(folder: Path) -> Settings:
    """Settings of an embedded deployment below `folder`, with the user's threads and nothing else of his."""
    nothing = dict.fromkeys(("database_url", "database_password_file", "artifacts", "max_bytes"))
    return load_settings().model_copy(update={**nothing, "home": folder})


def _run_all(settings: Settings, trials: Sequence[Trial], tell: Tell) -> tuple[list[Timed], str, float]:
    """Units of all trials, the device that they name, and the seconds of the first in which nothing was at work."""
    timed: list[Timed] = []
    started: set[str] = set()
    between_s = 0.0
    with open_database(settings, create=True) as database, Engine(settings, database) as engine:
        for number, trial in enumerate(trials, start=1):
            tell(number, len(trials), trial.name)
            with database.transaction() as session:
                run_id = runs.submit(session, trial.spec, recipe="calibration").id
            engine.ensure_started()
            _wait(database, run_id, trial.name)
            with database.reading() as session:
                timed += _units(session, run_id, trial.spec, started)
                timed += _steps(session, run_id, trial.spec)
                if number == 1:
                    between_s = _between(session, run_id)
        with database.reading() as session:
            device = str(actual.device(session, run_id))
    return timed, device, between_s


def _wait(database: Database, run_id: str, name: str) -> None:
    while True:
        with database.reading() as session:
            view = views.run_view(session, run_id)
        if view.state == "done":
            return
        if view.state in RUN_OVER:
            raise CalibrationError(
                f"calibration: the trial {name} {view.state}: {view.error or view.last_error}"
            )
        time.sleep(_POLL_S)


def _units(session: Session, run_id: str, spec: Spec, started: set[str]) -> list[Timed]:
    """The units of a run; a worker's first one, unless it is in `started`, bore the start."""
    found = []
    for one in actual.attempts(session, run_id):
        stage = kind_of(one.stage)
        asked = amounts.of_unit(spec, stage, one.payload)
        # Each training has a process of its own, and summaries come to probers that have worked before.
        if stage in ("extract", "probe") and one.worker not in started:
            asked["start"] = 1.0
            started.add(one.worker)
        found.append(Timed(stage, asked, one.ended_at - one.started_at))
    return found


def _steps(session: Session, run_id: str, spec: Spec) -> list[Timed]:
    """The steps of a training apart from its start and end, by the rate that it last reported."""
    query = select(Unit.progress_rate).where(Unit.run_id == run_id, Unit.stage == "train")
    asked = {kind: much for kind, much in amounts.of_unit(spec, "train", {}).items() if kind != "unit"}
    return [
        Timed("train", asked, counts.training_steps(spec) / steps_per_s)
        for steps_per_s in session.scalars(query)
        # 0: it was over before it reported twice.
        if steps_per_s > 0
    ]


def _between(session: Session, run_id: str) -> float:
    run = session.get_one(Run, run_id)
    return max(
        0.0, (run.ended_at or run.created_at) - run.created_at - sum(actual.busy(session, run_id).values())
    )
