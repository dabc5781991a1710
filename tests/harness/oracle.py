"""What a run leaves when nothing goes wrong: the oracle of every test that breaks something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from arith_shared.job import Worker
from arith_shared.ledger import reconcile, runs
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.testing import RecordingSender, fresh_database
from harness.deployment import Results, results_of


def undisturbed_results(folder: Path, spec: Spec, handlers: Mapping[str, str]) -> Results:
    """Work off a run of `spec` in this process, without a broker, with all that it makes below `folder`."""
    settings = Settings(home=folder, database_url=f"sqlite:///{folder}/arith.db")
    sender = RecordingSender()
    worker = Worker(settings, "probe", handlers, "w")
    worker.__dict__.update(database=fresh_database(settings.database), sender=sender)
    with worker.database.transaction() as session:
        run_id = runs.submit(session, spec, recipe="fake").id
    reconcile.tick(worker.database, sender, resend_s=60.0, retry_s=0.0)
    while messages := sender.take():
        for message in messages:
            worker.run(message.unit_id, message.attempt)
    with worker.database.reading() as session:
        found = results_of(session, run_id)
    worker.database.close()
    return found
