"""A moment as the agent knows it: on two clocks, read together by the driver.

1. Deadlines are boot-clock nanoseconds (CLOCK_BOOTTIME, clock_gettime(2)): nobody can set that
   clock, and it counts while the machine sleeps.
2. The wall clock is for documents and receipts, and for the conversion of a document's end to a
   deadline at the one moment when a grant is armed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["NANOSECONDS", "Instant", "nanoseconds"]

NANOSECONDS = 1_000_000_000
"""In one second."""

_MICROSECOND = timedelta(microseconds=1)


def nanoseconds(span: timedelta) -> int:
    """Return the span in whole nanoseconds, without the rounding of a float."""
    return span // _MICROSECOND * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """``boot_ns``: CLOCK_BOOTTIME in nanoseconds; ``wall``: the wall clock, UTC."""

    boot_ns: int
    wall: datetime

    def __post_init__(self) -> None:
        if self.wall.tzinfo is not UTC:
            raise ValueError("the wall clock of an instant is in UTC")

    def boot_of(self, wall: datetime) -> int:
        """Convert a wall time to the boot clock by this instant's own offset."""
        return self.boot_ns + nanoseconds(wall - self.wall)

    def wall_of(self, boot_ns: int) -> datetime:
        """Convert a boot-clock time to the wall clock by this instant's own offset."""
        return self.wall + timedelta(microseconds=(boot_ns - self.boot_ns) // 1000)
