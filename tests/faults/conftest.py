"""The oracle and the deployments of the fault tests.

Whatever was broken: the ledger keeps its invariants, the run's rows and files equal those of a run in which
nothing went wrong, and no process is left behind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from arith_shared.job import Worker
from arith_shared.ledger import plan, reconcile, runs
from arith_shared.settings import Settings
from arith_shared.testing import RecordingSender, fresh_database
from harness.broker import Broker
from harness.deployment import Deployment, Results, results_of, spec_of_seed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are fault tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="looks at processes through /proc"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Results]:
    """What a run with a seed leaves when nothing goes wrong: worked off in this process, without a broker."""

    @cache
    def results(seed: int) -> Results:
        folder = tmp_path_factory.mktemp("undisturbed")
        settings = Settings(home=folder, database_url=f"sqlite:///{folder}/arith.db")
        sender = RecordingSender()
        worker = Worker(
            settings, "probe", dict.fromkeys(plan.STAGES, "arith_shared.testing:fake_handler"), "w"
        )
        worker.__dict__.update(database=fresh_database(settings.database), sender=sender)
        with worker.database.transaction() as session:
            run_id = runs.submit(session, spec_of_seed(seed), recipe="fake").id
        reconcile.tick(worker.database, sender, resend_s=60.0, retry_s=0.0)
        while messages := sender.take():
            for message in messages:
                worker.run(message.unit_id, message.attempt)
        with worker.database.reading() as session:
            found = results_of(session, run_id)
        worker.database.close()
        return found

    return results


@pytest.fixture
def unharmed(undisturbed: Callable[[int], Results]) -> Callable[[Deployment, str, int], None]:
    """The oracle of every test: `unharmed(deployment, run_id, seed)` once a run should end as if undisturbed."""

    def check(deployment: Deployment, run_id: str, seed: int) -> None:
        view = deployment.over(run_id)
        assert (view.state, view.error) == ("done", None)
        assert deployment.results(run_id) == undisturbed(seed)
        sound(deployment)

    return check


def sound(deployment: Deployment) -> None:
    """The ledger keeps its promises, and every artifact that it names is whole."""
    from arith_shared.ledger import invariants

    with deployment.reading() as session:
        assert invariants.violations(session) == []


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that forgets everything when it ends."""
    server = Broker(tmp_path / "broker")
    yield server
    server.kill()


@pytest.fixture
def deployment(tmp_path: Path, broker: Broker) -> Iterator[Deployment]:
    """On SQLite and that broker, with nothing started."""
    made = Deployment(tmp_path / "home", broker.url)
    yield made
    made.close()
