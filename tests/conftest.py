"""What every test may rely on: the ``privileged`` marker says what it needs, out loud."""

from __future__ import annotations

import os

import pytest

# Before anything imports grpc: its C core writes to standard error, which tests read.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_NEEDS_ROOT = "needs root: run the suite as root to run this one"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip privileged tests without root. In CI that is a failure: see the hook below."""
    if os.geteuid() == 0 or os.environ.get("CI") == "true":
        return
    privileged = [item for item in items if item.get_closest_marker("privileged")]
    for item in privileged:
        item.add_marker(pytest.mark.skip(reason=_NEEDS_ROOT))
    if privileged:
        config.stash[_SKIPPED] = len(privileged)


_SKIPPED = pytest.StashKey[int]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a privileged test where CI runs without root: there nothing may be skipped."""
    if item.get_closest_marker("privileged") and os.geteuid() != 0:
        pytest.fail("CI=true, and " + _NEEDS_ROOT, pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how much was not run."""
    skipped = terminalreporter.config.stash.get(_SKIPPED, 0)
    if skipped:
        terminalreporter.section("NOT RUN", sep="!")
        terminalreporter.write_line(f"{skipped} privileged tests were skipped: {_NEEDS_ROOT}")
