"""Runs as a person handles them: submit, find, cancel, resume, delete."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from arith_shared import keys
from arith_shared.errors import RunNotFoundError, UserError
from arith_shared.ledger import again, plan, units
from arith_shared.ledger.clock import now
from arith_shared.ledger.events import record
from arith_shared.ledger.rounds import kind_of, round_of, stage_of
from arith_shared.ledger.tables import RUN_OVER, Run, Stage, Unit
from arith_shared.specs import Spec

#: Crockford's base 32 in lower case: no letter that a person could take for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 5
#: Where a run's provenance says which key it was submitted with.
_KEY = "submission key"
#: What a recipe may be called; it becomes part of run ids, and those become file names.
RECIPE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")


def submit(
    session: Session,
    spec: Spec,
    *,
    recipe: str,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    priority: int = 0,
    key: str | None = None,
    group_id: str | None = None,
    group_place: int = 0,
    swept: Mapping[str, Any] | None = None,
) -> Run:
    """Insert a run with its stages and first units; nothing exists if the transaction does not commit.

    With a `key`, IntegrityError is raised if there is a run of that key: `of_key` finds it.
    """
    check_recipe_name(recipe)
    run = Run(
        id=new_id(recipe, key),
        recipe=recipe,
        name=name,
        spec=spec.model_dump(mode="json"),
        spec_key=keys.spec_key(spec),
        provenance={**(provenance or {}), **({_KEY: key} if key is not None else {})},
        state="active",
        priority=priority,
        group_id=group_id,
        group_place=group_place,
        swept=dict(swept or {}),
        created_at=now(),
    )
    session.add(run)
    session.flush()
    record(session, run.id, "submitted", f"recipe {recipe}, seed {spec.seed}")
    plan.open_first_stage(session, run, spec)
    return run


def of_key(session: Session, spec: Spec, *, recipe: str, key: str) -> Run | None:
    """The run that was submitted with a key before; raises UserError if the key was used for another spec."""
    run = session.get(Run, new_id(recipe, key))
    if run is None:
        return None
    if run.provenance.get(_KEY) != key or run.spec_key != keys.spec_key(spec):
        raise UserError(f"key {key!r} was used for another spec, in run {run.id}: choose another key")
    return run


def new_id(recipe: str, key: str | None) -> str:
    """An id for a run of a recipe: random, or the same whenever the key is the same."""
    if key is None:
        return f"{recipe}-{''.join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))}"
    digest = hashlib.sha256(key.encode()).digest()
    return f"{recipe}-{''.join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_ID_LENGTH])}"


def check_recipe_name(name: str) -> None:
    """Raise UserError unless `name` can be part of a run's id."""
    if not RECIPE_NAME.fullmatch(name):
        raise UserError(
            f"recipe name {name!r}: expected up to 50 lower-case letters, digits and hyphens; rename the file"
        )


def find(session: Session, text: str) -> Run:
    """The run named by its id, a unique prefix of it, or `last`; RunNotFoundError otherwise."""
    if text == "last":
        newest = session.scalar(select(Run).order_by(Run.created_at.desc(), Run.id.desc()).limit(1))
        if newest is None:
            raise RunNotFoundError("there are no runs yet; start one with `arithctl submit RECIPE`")
        return newest
    exact = session.get(Run, text)
    if exact is not None:
        return exact
    matches = session.scalars(
        select(Run).where(Run.id.startswith(text, autoescape=True)).order_by(Run.id)
    ).all()
    if not matches:
        raise RunNotFoundError(f"no run is called {text!r} or begins so; `arithctl status` lists them")
    if len(matches) > 1:
        some = ", ".join(run.id for run in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise RunNotFoundError(f"{text!r} could be any of {len(matches)} runs: {some}; write more of the id")
    return matches[0]


def cancel(session: Session, run_id: str) -> bool:
    """Cancel what waits at once; what runs learns at its next heartbeat. False if the run is over already."""
    # Everybody who changes several rows of a run locks its open stage first: no two can wait for each other.
    session.scalars(
        select(Stage).where(Stage.run_id == run_id, Stage.state == "open").with_for_update()
    ).all()
    stopped = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state == "active")
        .values(state="cancelling")
        .returning(Run.id)
    ).first()
    if stopped is None:
        return False
    plan.cancel_waiting(session, run_id)
    record(session, run_id, "cancel requested", "")
    # A worker that died holds nothing: embedded, nobody else may be there to notice.
    units.expire(session, 0.0, run_id=run_id)
    plan.settle_cancelled(session, run_id)
    return True


def resume(session: Session, run_id: str, damaged: Collection[str] = ()) -> int:
    """Queue again what failed or was cancelled, keep all that succeeded; return how many units that are.

    What was done is done again where its files are gone: those under the content keys `damaged` and, if work is
    left that reads them, those deleted for space. Raises UserError while a worker still holds a unit that such
    work would feed.

    This is the one exception to the rule that a terminal state never changes, and only a person asks for it.
    """
    units.expire(session, 0.0, run_id=run_id)
    stages = {stage.name: stage for stage in _locked_stages(session, run_id)}
    run = _locked_run(session, run_id)
    if run.state not in RUN_OVER:
        return 0
    probed = [name for name, stage in stages.items() if kind_of(name) == "probe" and stage.state == "done"]
    used_up = {stage_of("extract", round_of(name)) for name in probed}
    lost = again.lost(session, run_id, damaged, deleted=run.state != "done", used_up=used_up)
    if run.state == "done" and not lost:
        return 0
    if lost and _is_held(session, run_id):
        raise UserError(f"{run_id}: a worker still holds a unit of it; try again in a minute")
    for unit in lost:
        again.undo(session, stages[unit.stage], unit)
    waiting = (Unit.run_id == run_id, Unit.state.in_(("failed", "cancelled")))
    session.flush()
    count = session.scalar(select(func.count()).select_from(Unit).where(*waiting)) or 0
    run.state, run.error, run.ended_at = "active", None, None
    session.flush()
    record(session, run_id, "resumed", f"{count} units queued again")
    plan.reopen(session, run_id)
    return count


def delete(session: Session, run_id: str) -> None:
    """Remove a run with all its rows; artifacts stay until the garbage collection finds that nobody names them.

    Raises UserError while the run is active, or a worker still holds a unit of it.
    """
    units.expire(session, 0.0, run_id=run_id)
    _locked_stages(session, run_id)
    plan.settle_cancelled(session, run_id)
    run = _locked_run(session, run_id)
    if run.state == "active":
        raise UserError(f"{run_id} is active: `arithctl cancel {run_id}` first, then delete it")
    if run.state == "cancelling" or _is_held(session, run_id):
        raise UserError(
            f"{run_id} is {run.state}, but a worker still holds a unit of it; try again in a minute"
        )
    session.execute(sql_delete(Run).where(Run.id == run_id), execution_options={"synchronize_session": False})


def _locked_stages(session: Session, run_id: str) -> list[Stage]:
    """All stages of a run; who holds them is alone in changing its units, but for claims and heartbeats."""
    query = select(Stage).where(Stage.run_id == run_id).order_by(Stage.ordinal).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _locked_run(session: Session, run_id: str) -> Run:
    query = select(Run).where(Run.id == run_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _is_held(session: Session, run_id: str) -> bool:
    """Whether a worker holds a unit of the run; one whose lease ran out no longer does."""
    held = (Unit.run_id == run_id, Unit.state == "running", Unit.lease_until >= now())
    return session.scalar(select(Unit.id).where(*held).limit(1)) is not None
