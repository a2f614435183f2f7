"""What the privileged tests of the gate's adapters stand on."""

from __future__ import annotations

import pytest

from tests.agents.recorder.premises import Premises


@pytest.fixture(scope="module")
def premises():
    with Premises() as made:
        yield made
