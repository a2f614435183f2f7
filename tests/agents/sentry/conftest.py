"""What the privileged tests of the sentry's kernel side stand on."""

from __future__ import annotations

import pytest

from tests.agents.sentry.arena import Arena, compiled


@pytest.fixture(scope="session")
def escapes(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("escapes"))


@pytest.fixture(scope="module")
def arena(escapes):
    with Arena(escapes) as made:
        yield made
