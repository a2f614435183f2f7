"""Spans of time as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.cli.durations import parse_duration, spoken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d12h", 129_600), ("1d1h1m1s", 90_061)],
)
def test_spellings(text: str, seconds: int) -> None:
    """Days, hours, minutes and seconds add up, in that order."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "0s", "2", "h", "-2h", "2h30", "30m2h", "1.5h", "2 h x", "2H"]
)
def test_anything_else_is_refused(text: str) -> None:
    """Nothing at all, no unit, a wrong order, a fraction and a sign are not spans."""
    with pytest.raises(ValueError, match="span"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=9_999 * 86_400))
def test_what_is_spoken_is_read_back(seconds: int) -> None:
    """Every span to the second is read as it was written."""
    span = timedelta(seconds=seconds)
    assert parse_duration(spoken(span)) == span


def test_the_past_is_nothing_left() -> None:
    """Less than no time left is none."""
    assert spoken(timedelta(seconds=-5)) == "0s"
