"""Levels: ordered by how much they yield."""

from __future__ import annotations

import itertools

import pytest

from guard.core.level import Level
from guard.core.reasons import Reason
from tests.guard.core.refusals import refuses

ORDER = [Level.SIGNALLING, Level.MEDIA_HEADERS, Level.CONTENT]


@pytest.mark.parametrize(("left", "right"), list(itertools.product(range(3), repeat=2)))
def test_order(left: int, right: int) -> None:
    """Every comparison agrees with signalling < media_headers < content, not with the alphabet."""
    one, other = ORDER[left], ORDER[right]
    assert (one < other) == (left < right)
    assert (one <= other) == (left <= right)
    assert (one > other) == (left > right)
    assert (one >= other) == (left >= right)
    assert (one == other) == (left == right)


def test_extremes() -> None:
    """Sorting, the least and the greatest follow the order."""
    assert sorted([ORDER[2], ORDER[0], ORDER[1]]) == ORDER
    assert max(ORDER) is Level.CONTENT
    assert min(ORDER) is Level.SIGNALLING


def test_compared_with_anything_else() -> None:
    """A level is not compared with a word that is no level."""
    with pytest.raises(ValueError, match="zz"):
        assert Level.CONTENT < "zz"


def test_parse() -> None:
    """Levels read by their names; nothing else reads as one."""
    assert [Level.parse(level.value) for level in ORDER] == ORDER
    for text in ("", "Content", "all", "content "):
        with refuses(Reason.DOCUMENT_MALFORMED):
            Level.parse(text)
