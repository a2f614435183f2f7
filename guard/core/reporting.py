"""The reporting clocks: from when something is known, who has to be told, and by when.

This is the one table. Nothing here decides whether an incident has to be reported: people of legal
do, by assessing it, and until they have, every clock runs.

1. A clock runs from `aware`: the time at which the guard put the incident's first record on record.
   That is the earliest moment at which anybody here could have known.

   ======================  =========================  ======================================
   clock                   to whom                    by when
   ======================  =========================  ======================================
   gdpr_notification       supervisory authority      72 hours after having become aware:
                                                      Regulation (EU) 2016/679 Art. 33(1)
   nis2_early_warning      CSIRT or competent         24 hours: Directive (EU) 2022/2555
                           authority                  Art. 23(4)(a)
   nis2_notification       the same                   72 hours: Art. 23(4)(b)
   nis2_final_report       the same                   one month after the notification was
                                                      submitted: Art. 23(4)(d)
   calea_report            the law-enforcement        "within a reasonable time upon discovery"
                           agencies affected          of a compromise of a lawful interception,
                                                      or of unlawful surveillance on the
                                                      premises: 47 CFR 1.20003 (64 FR 51462)
   ======================  =========================  ======================================

2. What the law gives no number for has none here: `calea_report` runs and is never overdue.
3. The month of a final report counts from the notification that was reported, else from the last
   moment at which it may be. A month ends on the same day of the next one, at the same time, and
   where that month has no such day, on its last (Regulation (EEC, Euratom) No 1182/71 Art. 3(2)(c),
   which goes on to the end of that day). Hours are elapsed hours; the same regulation counts them
   from the next full one. Weekends and holidays count. All of these are never later than the law.
4. Times are UTC: no clock is an hour longer or shorter for a change of local time.
5. A clock stops by its last assessment: `reported`, to whom and when, or `not_reportable`, and why.
   A `reported` later than its end stays marked as late. What was said before stays in the log.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = [
    "CLOCKS",
    "Assessment",
    "Clock",
    "ClockName",
    "Law",
    "Reading",
    "Verdict",
    "names",
    "read_clocks",
]


class Law(StrEnum):
    """Which law a clock is of."""

    GDPR = "gdpr"
    NIS2 = "nis2"
    CALEA = "calea"


class ClockName(StrEnum):
    """The clocks, by name."""

    GDPR_NOTIFICATION = "gdpr_notification"
    NIS2_EARLY_WARNING = "nis2_early_warning"
    NIS2_NOTIFICATION = "nis2_notification"
    NIS2_FINAL_REPORT = "nis2_final_report"
    CALEA_REPORT = "calea_report"


class Verdict(StrEnum):
    """What legal says of an incident, for one clock."""

    NOT_REPORTABLE = "not_reportable"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A row of the table; `hours` None where the law names no number of them (rule 2).

    ``month_after``: a month more, from when that clock's report was made (rule 3).
    """

    name: ClockName
    law: Law
    provision: str
    to: str
    hours: int | None = None
    month_after: ClockName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What was said last of one clock, by whom and when; `record` is its index in the log.

    ``words``: why it is not reportable, or to whom it was reported; ``reported_at``: when.
    """

    clock: ClockName
    verdict: Verdict
    by: str
    at: datetime
    record: int
    words: str
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A clock as it stands; `due` None: without a number; `stopped` by an assessment, or None."""

    clock: Clock
    due: datetime | None
    stopped: Assessment | None

    def overdue(self, now: datetime) -> bool:
        """Say whether it runs and its time is over."""
        return self.stopped is None and self.due is not None and now >= self.due

    @property
    def late(self) -> bool:
        """Whether it was reported after its end (rule 5)."""
        reported = self.stopped.reported_at if self.stopped else None
        return reported is not None and self.due is not None and reported > self.due


_AUTHORITY: Final = "CSIRT or competent authority"
CLOCKS: Final[Mapping[ClockName, Clock]] = MappingProxyType(
    {
        clock.name: clock
        for clock in (
            Clock(
                name=ClockName.GDPR_NOTIFICATION,
                law=Law.GDPR,
                provision="GDPR Art. 33(1)",
                to="supervisory authority",
                hours=72,
            ),
            Clock(
                name=ClockName.NIS2_EARLY_WARNING,
                law=Law.NIS2,
                provision="NIS2 Art. 23(4)(a)",
                to=_AUTHORITY,
                hours=24,
            ),
            Clock(
                name=ClockName.NIS2_NOTIFICATION,
                law=Law.NIS2,
                provision="NIS2 Art. 23(4)(b)",
                to=_AUTHORITY,
                hours=72,
            ),
            Clock(
                name=ClockName.NIS2_FINAL_REPORT,
                law=Law.NIS2,
                provision="NIS2 Art. 23(4)(d)",
                to=_AUTHORITY,
                month_after=ClockName.NIS2_NOTIFICATION,
            ),
            Clock(
                name=ClockName.CALEA_REPORT,
                law=Law.CALEA,
                provision="47 CFR 1.20003",
                to="law-enforcement agencies affected",
            ),
        )
    }
)


def names(laws: Iterable[Law]) -> tuple[ClockName, ...]:
    """Return the clocks of these laws, in the order of the table."""
    wanted = frozenset(laws)
    return tuple(name for name, clock in CLOCKS.items() if clock.law in wanted)


def read_clocks(
    aware: datetime, assessments: Iterable[Assessment], laws: Iterable[Law]
) -> tuple[Reading, ...]:
    """Return the clocks of these laws for what became known at `aware`."""
    last = {each.clock: each for each in assessments}
    return tuple(
        Reading(clock=CLOCKS[name], due=_due(CLOCKS[name], aware, last), stopped=last.get(name))
        for name in names(laws)
    )


def _due(clock: Clock, aware: datetime, last: Mapping[ClockName, Assessment]) -> datetime | None:
    if clock.month_after is None:
        hours = clock.hours
        return None if hours is None else aware.astimezone(UTC) + timedelta(hours=hours)
    before = last.get(clock.month_after)
    reported = before.reported_at if before else None
    begun = reported or _due(CLOCKS[clock.month_after], aware, last)
    return None if begun is None else _month_later(begun.astimezone(UTC))


def _month_later(moment: datetime) -> datetime:
    """Return the same day and time of the next month, or its last day (rule 3)."""
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)  # noqa: PLR2004 - December
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)
