"""When the wall clock is believed, and when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agents.core.clockcheck import ClockCheck
from agents.core.instant import NANOSECONDS, Instant

START = Instant(boot_ns=50 * NANOSECONDS, wall=datetime(2026, 11, 23, 22, tzinfo=UTC))
TOLERANCE = timedelta(seconds=5)
DAY = timedelta(days=1)


def later(seconds: float, *, stepped: timedelta = timedelta()) -> Instant:
    span = timedelta(seconds=seconds)
    return Instant(
        boot_ns=START.boot_ns + int(seconds * NANOSECONDS), wall=START.wall + span + stepped
    )


def test_a_clock_that_runs_on_is_believed():
    """Without a step and without a guard there is nothing to doubt."""
    assert ClockCheck(START).doubt(later(86_400), TOLERANCE) is None


def test_a_step_of_a_day_is_doubted_until_it_is_undone():
    """Back or forward, the wall clock against the boot clock gives it away; tolerance is allowed."""
    check = ClockCheck(START)

    assert check.doubt(later(10, stepped=-DAY), TOLERANCE)
    assert check.doubt(later(20, stepped=DAY), TOLERANCE)
    assert check.doubt(later(30, stepped=timedelta(seconds=6)), TOLERANCE)
    assert check.doubt(later(40, stepped=timedelta(seconds=-5)), TOLERANCE) is None


def test_another_time_at_the_guard_is_doubted():
    """Whichever is wrong; the guard's time is carried on by the boot clock."""
    check = ClockCheck(START)
    check.heard(START.wall + timedelta(seconds=6), START)

    assert check.guard_time(later(100)) == START.wall + timedelta(seconds=106)
    assert check.doubt(later(100), TOLERANCE)

    check.heard(later(200).wall, later(200))
    assert check.doubt(later(300), TOLERANCE) is None


def test_an_earlier_time_than_on_record_is_doubted():
    """A node restarted with its clock set back is not fooled."""
    check = ClockCheck(START, recorded=START.wall + timedelta(seconds=60))

    assert check.doubt(later(1), TOLERANCE)
    assert check.doubt(later(56), TOLERANCE) is None


def test_a_word_that_took_long_is_old():
    """What lay in the buffers of a frozen agent was said before it froze."""
    check = ClockCheck(START)
    skew = timedelta(seconds=2)  # the guard's clock is behind
    assert check.heard(START.wall - skew, START) == START.boot_ns

    assert check.heard(later(10).wall - skew, later(40)) == later(10).boot_ns
    assert check.heard(later(41).wall - skew, later(41)) == later(41).boot_ns


def test_a_quicker_word_corrects_the_measure():
    """The quickest word of the session counts as immediate, and none is ever in the future."""
    check = ClockCheck(START)
    check.heard(START.wall, later(3))

    assert check.heard(later(10).wall, later(10)) == later(10).boot_ns
    assert check.heard(later(20).wall, later(21)) == later(20).boot_ns


def test_a_new_session_starts_afresh():
    """Another guard has another clock."""
    check = ClockCheck(START)
    check.heard(START.wall + DAY, START)
    check.forget()

    assert check.guard_time(later(1)) is None
    assert check.doubt(later(1), TOLERANCE) is None
