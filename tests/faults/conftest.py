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
from sqlalchemy import select

from arith_shared.ledger import invariants
from arith_shared.ledger.tables import Artifact
from arith_shared.specs import Spec
from harness.broker import Broker
from harness.deployment import Deployment, Results
from harness.handlers import FAKE, handlers
from harness.oracle import undisturbed_results

#: Seconds; on a machine with other work, starting a few processes alone can take minutes.
TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are fault tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="looks at processes through /proc"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Results]:
    """What a run of a spec leaves when nothing goes wrong: worked off in this process, without a broker."""

    @cache
    def results(spec: Spec, trainer: str = FAKE) -> Results:
        return undisturbed_results(tmp_path_factory.mktemp("undisturbed"), spec, handlers(trainer))

    return results


@pytest.fixture
def unharmed(undisturbed: Callable[..., Results]) -> Callable[..., set[str]]:
    """The oracle of every test: `unharmed(deployment, run_id)` once a run should end as if undisturbed.

    Returns what the garbage collection then found to remove.
    """

    def check(deployment: Deployment, run_id: str, trainer: str = FAKE) -> set[str]:
        view = deployment.over(run_id)
        assert (view.state, view.error) == ("done", None)
        assert deployment.results(run_id) == undisturbed(deployment.spec(run_id), trainer)
        return sound(deployment)

    return check


def sound(deployment: Deployment) -> set[str]:
    """The ledger keeps its promises, every artifact that it names is whole, and `gc` leaves nothing else.

    Returns the files that `gc` removed.
    """
    with deployment.reading() as session:
        assert invariants.violations(session) == []
        named = list(session.execute(select(Artifact.path, Artifact.digest)))
    for path, digest in named:
        deployment.store.verify(path, digest)
    return deployment.collect_garbage()


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


@pytest.fixture(scope="module")
def lasting_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that lasts as long as a module's tests."""
    server = Broker(tmp_path_factory.mktemp("broker"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, lasting_broker: Broker) -> Iterator[Deployment]:
    """With a reconciler and one worker that last as long as a module's tests, for faults that leave both usable."""
    made = Deployment(tmp_path_factory.mktemp("lasting") / "home", lasting_broker.url)
    made.scheduler()
    made.worker()
    yield made
    made.close()


@pytest.fixture
def standing(lasting: Deployment) -> Iterator[Deployment]:
    """The lasting deployment, for a test that plants its own faults."""
    yield lasting
    lasting.break_units({})
    assert not lasting.failpoint.exists(), "the failpoint was never reached"
