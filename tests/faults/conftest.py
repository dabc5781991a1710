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

from harness.broker import Broker
from harness.deployment import Deployment, Results, spec_of_seed
from harness.oracle import undisturbed_results


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
        return undisturbed_results(tmp_path_factory.mktemp("undisturbed"), spec_of_seed(seed))

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
