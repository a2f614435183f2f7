"""Fixtures of the capture side."""

from __future__ import annotations

import sys
from pathlib import Path

import pyrage
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from capture_support import Outcomes

from agents.capture.spool import Spool


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
