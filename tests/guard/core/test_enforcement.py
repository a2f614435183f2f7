"""Enforcement: ordered by what becomes of who captures."""

from __future__ import annotations

import itertools

import pytest

from guard.core.enforcement import Enforcement, SentryMode, effective

ORDER = [Enforcement.DETECT, Enforcement.KILL, Enforcement.PREVENT]


@pytest.mark.parametrize(("left", "right"), list(itertools.product(range(3), repeat=2)))
def test_order(left: int, right: int) -> None:
    """Every comparison agrees with detect < kill < prevent."""
    one, other = ORDER[left], ORDER[right]
    assert (one < other) == (left < right)
    assert (one <= other) == (left <= right)
    assert (one > other) == (left > right)
    assert (one >= other) == (left >= right)
    assert (one == other) == (left == right)


def test_compared_with_anything_else() -> None:
    """`absent` is said of a door, not of a node: it compares with nothing."""
    with pytest.raises(ValueError, match="absent"):
        assert Enforcement.DETECT < "absent"


@pytest.mark.parametrize("proven", ORDER)
def test_a_node_that_observes_enforces_nothing(proven: Enforcement) -> None:
    """Whatever was proven counts only under `enforce`."""
    assert effective(SentryMode.OBSERVE, proven) is Enforcement.DETECT
    assert effective(SentryMode.ENFORCE, proven) is proven
