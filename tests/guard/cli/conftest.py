"""A deployment on disk, and the command run inside this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guard.cli.deployment import Deployment, Site, create
from guard.cli.main import run
from guard.cli.roster import DEMO
from guard.core.trust import TrustPolicy, advance, parse_roots
from tests.guard.cli.running import NOW, Answer, Running


@pytest.fixture
def callguard(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run ``callguard`` with these words and return what it said."""

    def call(*words: str | Path) -> Answer:
        capfd.readouterr()
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Make one demonstration deployment, for tests that only read it."""
    return create(tmp_path_factory.mktemp("demo") / "d", DEMO, Site(), now=NOW)


@pytest.fixture(scope="session")
def policy(demo: Deployment) -> TrustPolicy:
    """Return the deployment's trust policy as its own people verify it."""
    roots = parse_roots((demo.folder / "people/lead-1/roots.json").read_bytes())
    envelope = (demo.folder / "trust/1.json").read_bytes()
    return advance(roots, [envelope], now=NOW).policy


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one demonstration deployment for all tests that need a guard."""
    running = Running(tmp_path_factory.mktemp("live") / "d")
    try:
        running.start()
        yield running
    finally:
        running.stop_all()
