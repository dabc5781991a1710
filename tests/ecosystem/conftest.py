"""One set of real tiny runs for all tests of files that leave the deployment, and of the documents."""

from __future__ import annotations

import pytest

from harness import tiny as deployment
from harness.tiny import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Three runs: done, done with other probes, and waiting."""
    return deployment.make(tmp_path_factory.mktemp("ecosystem"))
