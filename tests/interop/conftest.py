"""Without the other implementation these tests are not run, and say so loudly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.environment import Missing, theirs
from tests.interop.peer import Peer

_WHY = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def their_python(request: pytest.FixtureRequest) -> Path:
    """Return the Python that has aics-tlog and aics-witness."""
    try:
        return theirs()
    except Missing as missing:
        if os.environ.get("CI") == "true" and not missing.excusable:
            pytest.fail(f"CI=true, and {missing}", pytrace=False)
        request.config.stash[_WHY] = str(missing)
        pytest.skip(f"NOT RUN: {missing}")


@pytest.fixture
def peer(their_python: Path) -> Iterator[Peer]:
    """Run their library for one test."""
    with Peer(their_python) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that nothing was held against the other implementation."""
    why = terminalreporter.config.stash.get(_WHY, None)
    if why is not None:
        terminalreporter.section("NOT RUN", sep="!")
        terminalreporter.write_line(f"the interoperability tests were skipped: {why}")
