"""The reporting clocks: when each ends, what stops it, and that no calendar lengthens one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.reporting import (
    CLOCKS,
    Assessment,
    ClockName,
    Law,
    Verdict,
    names,
    read_clocks,
)

AWARE = datetime(2026, 11, 23, 22, 0, 0, 123456, tzinfo=UTC)
FINAL = ClockName.NIS2_FINAL_REPORT
MOMENTS = st.integers(0, 6 * 10**9).map(lambda s: datetime.fromtimestamp(s, UTC))


def reported(clock: ClockName, at: datetime) -> Assessment:
    return Assessment(
        clock=clock,
        verdict=Verdict.REPORTED,
        by="legal-1",
        at=at,
        record=9,
        words="the authority",
        reported_at=at,
    )


def dismissed(clock: ClockName) -> Assessment:
    return replace(
        reported(clock, AWARE), verdict=Verdict.NOT_REPORTABLE, words="a test", reported_at=None
    )


def due(aware: datetime, *said: Assessment) -> dict[ClockName, datetime | None]:
    return {each.clock.name: each.due for each in read_clocks(aware, said, Law)}


def test_each_clock_ends_when_its_provision_says() -> None:
    """72 hours, 24 and 72 hours, a month after those, and no number where the law has none."""
    assert due(AWARE) == {
        ClockName.GDPR_NOTIFICATION: datetime(2026, 11, 26, 22, 0, 0, 123456, tzinfo=UTC),
        ClockName.NIS2_EARLY_WARNING: datetime(2026, 11, 24, 22, 0, 0, 123456, tzinfo=UTC),
        ClockName.NIS2_NOTIFICATION: datetime(2026, 11, 26, 22, 0, 0, 123456, tzinfo=UTC),
        FINAL: datetime(2026, 12, 26, 22, 0, 0, 123456, tzinfo=UTC),
        ClockName.CALEA_REPORT: None,
    }


def test_every_name_has_its_row_and_every_law_its_clocks() -> None:
    """No clock is left out, and those of one law are no other's."""
    assert list(CLOCKS) == list(ClockName)
    assert names([Law.GDPR]) == (ClockName.GDPR_NOTIFICATION,)
    assert names([Law.CALEA]) == (ClockName.CALEA_REPORT,)
    assert set(names(Law)) == set(ClockName)
    assert [e.clock.name for e in read_clocks(AWARE, (), [Law.NIS2])] == list(names([Law.NIS2]))


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("2026-01-31T09:30:00+00:00", "2026-02-28T09:30:00+00:00"),
        ("2028-01-31T09:30:00+00:00", "2028-02-29T09:30:00+00:00"),
        ("2026-03-31T00:00:00+00:00", "2026-04-30T00:00:00+00:00"),
        ("2026-02-28T12:00:00+00:00", "2026-03-28T12:00:00+00:00"),
        ("2026-12-31T23:59:59+00:00", "2027-01-31T23:59:59+00:00"),
        ("2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        # In Berlin this is already February, and the change to summer time lies in the next one.
        ("2026-03-01T00:30:00+02:00", "2026-03-28T22:30:00+00:00"),
    ],
)
def test_a_month_ends_on_the_same_day_or_the_last(said: str, end: str) -> None:
    """Months of every length, a leap year, the year's end, and a time that came in another zone."""
    notified = reported(ClockName.NIS2_NOTIFICATION, datetime.fromisoformat(said))
    assert due(AWARE, notified)[FINAL] == datetime.fromisoformat(end)


def test_the_final_report_is_due_a_month_after_the_notification_was_made() -> None:
    """Reported early, it ends earlier; dismissed, it stays where it was."""
    at = AWARE + timedelta(hours=1)
    notification = ClockName.NIS2_NOTIFICATION
    assert due(AWARE, reported(notification, at))[FINAL] == at.replace(month=12)
    assert due(AWARE, dismissed(notification))[FINAL] == due(AWARE)[FINAL]


def test_summer_time_lengthens_nothing() -> None:
    """Over both changes of 2026 a clock has exactly its hours, whatever zone it is asked in."""
    for day in (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)):
        berlin = day.astimezone(timezone(timedelta(hours=1)))
        for aware in (day, berlin):
            ends = due(aware)
            assert ends[ClockName.NIS2_EARLY_WARNING] == day + timedelta(hours=24)
            assert ends[ClockName.GDPR_NOTIFICATION] == day + timedelta(hours=72)


@given(MOMENTS)
def test_clocks_end_in_order_and_a_month_is_a_month(aware: datetime) -> None:
    """Never before the notification, never beyond 31 days after it, and at the same time of day."""
    ends = due(aware)
    warning, notified, final = (
        ends[name] for name in (ClockName.NIS2_EARLY_WARNING, ClockName.NIS2_NOTIFICATION, FINAL)
    )
    assert warning is not None
    assert notified is not None
    assert final is not None
    assert aware < warning < notified < final
    assert timedelta(days=28) <= final - notified <= timedelta(days=31)
    assert final.timetz() == notified.timetz()


def test_a_clock_is_overdue_from_its_end_until_it_is_stopped() -> None:
    """Not a moment before; what has no number never is."""
    running = {each.clock.name: each for each in read_clocks(AWARE, (), Law)}
    end = AWARE + timedelta(hours=72)
    gdpr = running[ClockName.GDPR_NOTIFICATION]
    assert not gdpr.overdue(end - timedelta(microseconds=1))
    assert gdpr.overdue(end)
    assert not running[ClockName.CALEA_REPORT].overdue(AWARE + timedelta(days=36_500))

    stopped = read_clocks(AWARE, [dismissed(ClockName.GDPR_NOTIFICATION)], [Law.GDPR])[0]
    assert not stopped.overdue(end)
    assert stopped.stopped is not None


def test_what_was_reported_too_late_stays_late() -> None:
    """At its end it is in time, a moment after it is not; what was dismissed is not late."""
    end = AWARE + timedelta(hours=72)
    after = end + timedelta(microseconds=1)
    name = ClockName.GDPR_NOTIFICATION
    found = [
        read_clocks(AWARE, [said], [Law.GDPR])[0].late
        for said in (reported(name, end), reported(name, after), dismissed(name))
    ]
    assert found == [False, True, False]


def test_the_last_word_on_a_clock_holds_for_that_clock_alone() -> None:
    """A later assessment takes the place of an earlier one; others run on."""
    name = ClockName.NIS2_EARLY_WARNING
    later = replace(reported(name, AWARE), record=12)
    by_name = {e.clock.name: e for e in read_clocks(AWARE, [dismissed(name), later], Law)}
    assert by_name[name].stopped == later
    assert all(e.stopped is None for key, e in by_name.items() if key is not name)
