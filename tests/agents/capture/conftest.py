"""Fixtures of the capture side."""

from __future__ import annotations

import pyrage
import pytest

from agents.capture.spool import Spool
from tests.agents.capture.capture_support import Outcomes


@pytest.fixture
def identity():
    """Return a recipient's key pair."""
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def outcomes():
    return Outcomes()


@pytest.fixture
def spool(tmp_path):
    """Yield a spool with plenty of room."""
    opened = Spool(tmp_path / "spool", quota=1 << 30)
    yield opened
    opened.close()
