"""Groups: runs that were submitted together, one for each combination of swept values; and what a name stands for.

A group is nothing but a name that its runs share, so it has no state of its own and ends with its last run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arith_shared import keys
from arith_shared.errors import RunNotFoundError, UserError
from arith_shared.ledger import runs
from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import Run, Stage
from arith_shared.specs import Spec

#: What the id of a group begins with.
_PREFIX = "group-"


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a group: its spec, and the values of the swept fields by dotted path."""

    spec: Spec
    swept: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """What a name on the command line stands for: a run, or a group with its runs in the order of the sweep."""

    id: str
    runs: tuple[Run, ...]
    is_group: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """A run in one line: its state, the values in which it differs from its group, units done and known of."""

    run: str
    state: str
    swept: Mapping[str, Any]
    done: int
    total: int
    elapsed_s: float


def submit(
    session: Session,
    members: Sequence[Member],
    *,
    recipe: str,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> tuple[str, list[str]]:
    """Insert a run for each member, all or none; returns the id of the group and those of the runs.

    With a `key`, IntegrityError is raised if there is a group of that key: `of_key` finds it.
    """
    runs.check_recipe_name(recipe)
    group = runs.new_id(f"{_PREFIX}{recipe}", key)
    made = []
    for place, member in enumerate(members):
        run = runs.submit(
            session,
            member.spec,
            recipe=recipe,
            name=name,
            provenance=provenance,
            key=_member_key(key, member),
            group_id=group,
            group_place=place,
            swept=member.swept,
        )
        made.append(run.id)
    return group, made


def of_key(
    session: Session, members: Sequence[Member], *, recipe: str, key: str
) -> tuple[str, list[str]] | None:
    """The group that was submitted with a key before; raises UserError if the key was used for another sweep."""
    group = runs.new_id(f"{_PREFIX}{recipe}", key)
    there = {run.id: run for run in _of_group(session, group)}
    if not there:
        return None
    wanted = {runs.new_id(recipe, _member_key(key, member)): keys.spec_key(member.spec) for member in members}
    if wanted != {run.id: run.spec_key for run in there.values()}:
        raise UserError(f"key {key!r} was used for another sweep, in group {group}: choose another key")
    return group, list(wanted)


def find(session: Session, text: str) -> Named:
    """The run or group named by its id, a unique prefix of it, or `last`; RunNotFoundError otherwise.

    `last` is what was submitted last: a group, if the newest run belongs to one.
    """
    if text == "last":
        newest = runs.find(session, text)
        return _group(session, newest.group_id) if newest.group_id else Named(newest.id, (newest,), False)
    begin_so = select(Run.group_id).where(Run.group_id.startswith(text, autoescape=True))
    groups = [str(group) for group in session.scalars(begin_so.distinct().order_by(Run.group_id))]
    if text in groups:
        return _group(session, text)
    if not groups:
        run = runs.find(session, text)
        return Named(run.id, (run,), False)
    alike = session.scalars(select(Run.id).where(Run.id.startswith(text, autoescape=True)).limit(5)).all()
    if alike or len(groups) > 1:
        some = ", ".join([*groups, *alike][:5])
        raise RunNotFoundError(
            f"{text!r} could be any of {len(groups)} groups{' or a run' if alike else ''}: {some}; "
            "write more of the id"
        )
    return _group(session, groups[0])


def find_all(session: Session, texts: Iterable[str]) -> list[Run]:
    """Every run that the names stand for, each once: a group stands for all of its runs."""
    return list({run.id: run for text in texts for run in find(session, text).runs}.values())


def overview(session: Session, run_ids: Sequence[str]) -> list[Overview]:
    """How far each run is, in the order given: one query, however many there are."""
    done, total = func.sum(Stage.done), func.sum(Stage.total)
    took = func.coalesce(Run.ended_at, now()) - Run.created_at
    query = (
        select(Run.id, Run.state, Run.swept, done, total, took)
        .join(Stage, Stage.run_id == Run.id)
        .where(Run.id.in_(run_ids))
        .group_by(Run.id)
    )
    found = {row[0]: Overview(*row) for row in session.execute(query)}
    return [found[run] for run in run_ids if run in found]


def state_of(states: Collection[str]) -> str:
    """A group's state in one word: active until all its runs are over, done if all of them are."""
    for state in ("active", "cancelling", "failed", "cancelled"):
        if state in states:
            return state
    return "done"


def _group(session: Session, group: str) -> Named:
    return Named(group, tuple(_of_group(session, group)), True)


def _of_group(session: Session, group: str) -> Sequence[Run]:
    return session.scalars(select(Run).where(Run.group_id == group).order_by(Run.group_place)).all()


def _member_key(key: str | None, member: Member) -> str | None:
    return None if key is None else f"{key} {keys.canonical_json(dict(member.swept))}"
