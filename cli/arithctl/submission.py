"""From a spec to a run in the database: first everything that could be wrong is checked, then one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click
from sqlalchemy.exc import IntegrityError

from arith_shared import queue
from arith_shared.errors import BrokerFullError, DiskBudgetError
from arith_shared.failpoints import reach
from arith_shared.ledger import groups, reconcile, runs
from arith_shared.ledger.database import Database
from arith_shared.ledger.groups import Member
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.store.artifacts import ArtifactStore
from arithctl import provenance
from arithctl.connection import open_database, open_store
from arithctl.forecast import calibration, total_bytes
from arithctl.forecast.actual import PROVENANCE
from arithctl.housekeeping import make_room
from arithctl.output import human_bytes

#: Part of the free space that a run may fill: logs, other runs and the system need some too.
_DISK_SHARE = 0.9

#: Ids of what was submitted.
Made = TypeVar("Made")


def new_run(settings: Settings, spec: Spec, *, recipe: str, name: str | None, key: str | None = None) -> str:
    """Insert a run and, where services listen, send its first units. Returns its id.

    If a run was submitted with `key` before, that is the one: who does not know whether a submission succeeded
    may repeat it.

    Raises DiskBudgetError, UnreachableError or UserError before anything is written.
    """
    return _submit(
        settings, [spec], recipe, lambda database: _insert(settings, database, spec, recipe, name, key)
    )


def new_group(
    settings: Settings, members: Sequence[Member], *, recipe: str, name: str | None, key: str | None = None
) -> tuple[str, list[str]]:
    """Insert the runs of a sweep, all or none, as `new_run` does one. Returns the group's id and the runs'."""
    specs = [member.spec for member in members]
    return _submit(
        settings,
        specs,
        recipe,
        lambda database: _insert_group(settings, database, members, recipe, name, key),
    )


def _submit(
    settings: Settings, specs: Sequence[Spec], recipe: str, insert: Callable[[Database], Made]
) -> Made:
    """Check what could go wrong, `insert`, and send the first units where services listen."""
    runs.check_recipe_name(recipe)
    sender = None if settings.embedded else queue.Sender(settings.broker)
    if sender is not None:
        with contextlib.suppress(BrokerFullError):
            sender.ping()
    if settings.sees_artifacts:
        _check_store(settings, specs)
    with open_database(settings, create=True) as database:
        try:
            made = insert(database)
        except IntegrityError:
            # Another submission took the same id at the same time; now it can be seen.
            made = insert(database)
        if sender is not None:
            refusal = reconcile.deliver(database, sender, resend_s=settings.resend_s)
            if refusal is not None:
                message = f"{refusal}; the run is kept, and sent when the broker takes it"
                click.echo(f"warning: {message}", err=True)
            sender.close()
        return made


def _facts(settings: Settings) -> dict[str, Any]:
    """The run's provenance: with the calibration, so that its forecast can be told ever after."""
    found, _ = calibration.load(settings)
    return provenance.collect() | ({PROVENANCE: asdict(found)} if found else {})


def _insert(
    settings: Settings, database: Database, spec: Spec, recipe: str, name: str | None, key: str | None
) -> str:
    with database.transaction() as session:
        if key is not None and (known := runs.of_key(session, spec, recipe=recipe, key=key)) is not None:
            click.echo(f"{known.id} was submitted with this key before", err=True)
            return known.id
        facts = _facts(settings)
        run = runs.submit(session, spec, recipe=recipe, name=name, provenance=facts, key=key)
        reach("submit.before_commit")
        return run.id


def _insert_group(
    settings: Settings,
    database: Database,
    members: Sequence[Member],
    recipe: str,
    name: str | None,
    key: str | None,
) -> tuple[str, list[str]]:
    with database.transaction() as session:
        if key is not None:
            known = groups.of_key(session, members, recipe=recipe, key=key)
            if known is not None:
                click.echo(f"{known[0]} was submitted with this key before", err=True)
                return known
        facts = _facts(settings)
        made = groups.submit(session, members, recipe=recipe, name=name, provenance=facts, key=key)
        reach("submit.before_commit")
        return made


def _check_store(settings: Settings, specs: Sequence[Spec]) -> None:
    store = open_store(settings)
    if settings.max_bytes is not None:
        _make_room(settings, store)
    _check_disk(store, specs)
    store.check_writable()


def _make_room(settings: Settings, store: ArtifactStore) -> None:
    with open_database(settings, create=True) as database:
        removed = make_room(settings, database, store)
    if removed:
        size = human_bytes(sum(piece.size_bytes for piece in removed))
        click.echo(f"{size} removed to stay within ARITH_MAX_BYTES", err=True)


def _check_disk(store: ArtifactStore, specs: Sequence[Spec]) -> None:
    free = store.free_bytes()
    needed = total_bytes(specs)
    if free is not None and needed > _DISK_SHARE * free:
        who = "the run" if len(specs) == 1 else f"the sweep's {len(specs)} runs"
        raise DiskBudgetError(
            f"{who} would write about {human_bytes(needed)} to {store.url}, where {human_bytes(free)} are free: "
            "lower extract.n_train, name fewer extract.layers or extract.positions, set extract.keep_states=false "
            "and extract.layers_at_once, or point ARITH_ARTIFACTS at a larger disk"
        )
