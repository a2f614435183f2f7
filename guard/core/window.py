"""Half-open windows of time, [not_before, not_after), in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from guard.core.fields import Fields, format_time
from guard.core.reasons import Reason, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From ``not_before`` up to, but not including, ``not_after``; never empty."""

    not_before: datetime
    not_after: datetime

    def __post_init__(self) -> None:
        for moment in (self.not_before, self.not_after):
            if moment.utcoffset() != timedelta(0):
                raise ValueError("a window is in UTC")
        if self.not_before >= self.not_after:
            raise Refused(Reason.WINDOW_TOO_LONG, "the window is empty")

    @property
    def length(self) -> timedelta:
        """How long the window is."""
        return self.not_after - self.not_before

    def contains(self, now: datetime) -> bool:
        """Say whether the moment is inside."""
        return self.not_before <= now < self.not_after

    def covers(self, other: Window) -> bool:
        """Say whether the other window is wholly inside."""
        return self.not_before <= other.not_before and other.not_after <= self.not_after

    def intersect(self, other: Window) -> Window | None:
        """Return what both have in common, or None where that is nothing."""
        begin = max(self.not_before, other.not_before)
        end = min(self.not_after, other.not_after)
        return Window(not_before=begin, not_after=end) if begin < end else None

    def cut(self, longest: timedelta) -> Window:
        """Return the same window, ended ``longest`` after its beginning if it was longer."""
        end = min(self.not_after, self.not_before + longest)
        return Window(not_before=self.not_before, not_after=end)

    def require_active(self, now: datetime) -> None:
        """Refuse as NOT_YET_VALID or EXPIRED when the moment is outside."""
        if now < self.not_before:
            raise Refused(
                Reason.NOT_YET_VALID, f"the window begins at {format_time(self.not_before)}"
            )
        if now >= self.not_after:
            raise Refused(Reason.EXPIRED, f"the window ended at {format_time(self.not_after)}")


def take_window(fields: Fields) -> Window:
    """Take the fields ``not_before`` and ``not_after``."""
    return Window(not_before=fields.time("not_before"), not_after=fields.time("not_after"))


def window_fields(window: Window) -> dict[str, str]:
    """Write a window as its two fields."""
    return {
        "not_before": format_time(window.not_before),
        "not_after": format_time(window.not_after),
    }
