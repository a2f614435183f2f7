"""A guard served over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders.serving import Serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with Serving(tmp_path) as serving:
        yield serving
