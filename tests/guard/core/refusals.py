"""Seeing a refusal by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from guard.core.reasons import Reason, Refused


@contextmanager
def refuses(reason: Reason) -> Iterator[None]:
    """Expect the block to be refused for this reason and no other."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.reason is reason, caught.value
