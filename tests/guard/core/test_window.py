"""Windows: half-open, and their algebra."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.fields import Fields
from guard.core.reasons import Reason
from guard.core.window import Window, take_window, window_fields
from tests.guard.core.refusals import refuses

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 50).map(lambda days: EPOCH + timedelta(days=days))


def windows() -> st.SearchStrategy[Window]:
    return st.tuples(MOMENTS, st.integers(1, 50)).map(
        lambda made: Window(not_before=made[0], not_after=made[0] + timedelta(days=made[1]))
    )


@given(windows(), MOMENTS)
def test_half_open(window: Window, now: datetime) -> None:
    """A window contains its beginning and not its end, and says why for everything else."""
    assert window.contains(window.not_before)
    assert not window.contains(window.not_after)
    if window.contains(now):
        window.require_active(now)
        return
    early = now < window.not_before
    with refuses(Reason.NOT_YET_VALID if early else Reason.EXPIRED):
        window.require_active(now)


@given(windows(), windows(), MOMENTS)
def test_intersection(one: Window, other: Window, now: datetime) -> None:
    """A moment is in the intersection exactly when it is in both; order does not matter."""
    both = one.intersect(other)
    assert both == other.intersect(one)
    assert (both is not None and both.contains(now)) == (one.contains(now) and other.contains(now))
    if both is not None:
        assert one.covers(both)
        assert other.covers(both)


@given(windows(), windows())
def test_covering(one: Window, other: Window) -> None:
    """A window covers another exactly when intersecting leaves the other whole."""
    assert one.covers(other) == (one.intersect(other) == other)
    assert one.covers(one)
    if one.covers(other) and other.covers(one):
        assert one == other


@given(windows(), st.integers(1, 60))
def test_cutting(window: Window, days: int) -> None:
    """A cut window begins where it did, is no longer than asked, and never grows."""
    cut = window.cut(timedelta(days=days))
    assert window.covers(cut)
    assert cut.not_before == window.not_before
    assert cut.length == min(window.length, timedelta(days=days))


@given(MOMENTS, MOMENTS)
def test_empty(begin: datetime, end: datetime) -> None:
    """A window without a moment in it cannot be made."""
    if begin < end:
        assert Window(not_before=begin, not_after=end).length > timedelta(0)
        return
    with refuses(Reason.WINDOW_TOO_LONG):
        Window(not_before=begin, not_after=end)


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=1))])
def test_only_utc(zone: timezone | None) -> None:
    """A window in another zone, or in none, is a bug of the caller."""
    with pytest.raises(ValueError, match="UTC"):
        Window(not_before=EPOCH.replace(tzinfo=zone), not_after=EPOCH + timedelta(days=9))


@given(windows())
def test_round_trip(window: Window) -> None:
    """A window reads as it was written."""
    fields = Fields(window_fields(window), "thing")
    assert take_window(fields) == window
    fields.finish()
