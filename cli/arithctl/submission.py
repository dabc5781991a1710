"""From a spec to a run in the database: first everything that could be wrong is checked, then one transaction."""

from __future__ import annotations

import contextlib

import click
from sqlalchemy.exc import IntegrityError

from arith_shared import queue
from arith_shared.errors import BrokerFullError, DiskBudgetError
from arith_shared.failpoints import reach
from arith_shared.ledger import reconcile, runs
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.store.artifacts import ArtifactStore
from arithctl import provenance
from arithctl.connection import open_database
from arithctl.forecast import forecast
from arithctl.housekeeping import make_room
from arithctl.output import human_bytes

#: Part of the free space that a run may fill: logs, other runs and the system need some too.
_DISK_SHARE = 0.9


def new_run(settings: Settings, spec: Spec, *, recipe: str, name: str | None, key: str | None = None) -> str:
    """Insert a run and, where services listen, send its first units. Returns its id.

    If a run was submitted with `key` before, that is the one: who does not know whether a submission succeeded
    may repeat it.

    Raises DiskBudgetError, UnreachableError or UserError before anything is written.
    """
    runs.check_recipe_name(recipe)
    sender = None if settings.embedded else queue.Sender(settings.broker)
    if sender is not None:
        with contextlib.suppress(BrokerFullError):
            sender.ping()
    if settings.sees_artifacts:
        _check_store(settings, spec)
    with open_database(settings, create=True) as database:
        try:
            run_id = _insert(database, spec, recipe, name, key)
        except IntegrityError:
            # Another submission took the same id at the same time; now it can be seen.
            run_id = _insert(database, spec, recipe, name, key)
        if sender is not None:
            refusal = reconcile.deliver(database, sender, resend_s=settings.resend_s)
            if refusal is not None:
                message = f"{refusal}; the run is kept, and sent when the broker takes it"
                click.echo(f"warning: {message}", err=True)
            sender.close()
        return run_id


def _insert(database: Database, spec: Spec, recipe: str, name: str | None, key: str | None) -> str:
    with database.transaction() as session:
        if key is not None and (known := runs.of_key(session, spec, recipe=recipe, key=key)) is not None:
            click.echo(f"{known.id} was submitted with this key before", err=True)
            return known.id
        facts = provenance.collect()
        run = runs.submit(session, spec, recipe=recipe, name=name, provenance=facts, key=key)
        reach("submit.before_commit")
        return run.id


def _check_store(settings: Settings, spec: Spec) -> None:
    store = ArtifactStore(settings.artifact_root, cache=settings.home / "cache")
    if settings.max_bytes is not None:
        _make_room(settings, store)
    _check_disk(store, spec)
    store.check_writable()


def _make_room(settings: Settings, store: ArtifactStore) -> None:
    with open_database(settings, create=True) as database:
        removed = make_room(settings, database, store)
    if removed:
        size = human_bytes(sum(piece.size_bytes for piece in removed))
        click.echo(f"{size} removed to stay within ARITH_MAX_BYTES", err=True)


def _check_disk(store: ArtifactStore, spec: Spec) -> None:
    free = store.free_bytes()
    needed = sum(stage.size_bytes for stage in forecast(spec, flops_per_s=1.0))
    if free is not None and needed > _DISK_SHARE * free:
        raise DiskBudgetError(
            f"the run would write about {human_bytes(needed)} to {store.url}, where {human_bytes(free)} are free: "
            "lower extract.n_train, name fewer extract.layers or extract.positions, set extract.keep_states=false "
            "and extract.layers_at_once, or point ARITH_ARTIFACTS at a larger disk"
        )
