"""A moment on two clocks, and the way between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.instant import NANOSECONDS, Instant, nanoseconds

NOW = Instant(boot_ns=1_000 * NANOSECONDS, wall=datetime(2026, 11, 23, 22, tzinfo=UTC))


@given(st.timedeltas(min_value=timedelta(days=-4000), max_value=timedelta(days=4000)))
def test_both_clocks_run_at_one_rate(span: timedelta):
    """A span on one clock is the same span on the other, to the microsecond."""
    assert NOW.boot_of(NOW.wall + span) - NOW.boot_ns == nanoseconds(span)
    assert NOW.wall_of(NOW.boot_of(NOW.wall + span)) == NOW.wall + span


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=1))])
def test_the_wall_clock_is_utc(zone: timezone | None):
    """A naive time or one of another zone is refused."""
    with pytest.raises(ValueError, match="UTC"):
        Instant(boot_ns=0, wall=datetime(2026, 1, 1, tzinfo=zone))
