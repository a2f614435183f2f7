"""The lab's fixtures: a telephone network with a whole deployment on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployment import Deployment
from tests.lab.network import Network


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Yield a telephone network of the module's own."""
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def lab(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a running deployment: witness, guard and the agent of ``node-1``."""
    with Deployment(tmp_path_factory.mktemp("deployment") / "d", network) as deployment:
        yield deployment.start()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Deployment]:
    """Yield a running deployment that the test may break."""
    with Network() as network, Deployment(tmp_path / "d", network) as deployment:
        yield deployment.start()
