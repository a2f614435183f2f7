"""Place packets, which carry wall time, on the boot clock, on which authorities end.

1. The offset between the clocks is sampled at every drain of a ring. The lowest and the highest of
   the last seconds are kept: if somebody sets the wall clock, a packet that waited in the ring may
   have been stamped before or after, and its boot time is a span, not a moment.
2. An end is strict: a packet that may have come after it did. A beginning is lenient, because the
   authority was in force before its flow was routed.
"""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], tuple[int, int]]
"""Reads (boot-clock, wall-clock) nanoseconds, both within microseconds of each other."""

NEVER = 1 << 63
_MEMORY_NS = 5_000_000_000


class OffsetWatch:
    """Keeps the span of wall minus boot clock over the last five to ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        boot, wall = clock()
        self._since = boot
        self._now = self._before = (wall - boot, wall - boot)
        self.low = self.high = wall - boot

    def sample(self) -> int:
        """Read the clocks; returns boot nanoseconds."""
        boot, wall = self._clock()
        offset = wall - boot
        if boot - self._since > _MEMORY_NS:
            self._before, self._since = self._now, boot
            self._now = (offset, offset)
        self._now = (min(self._now[0], offset), max(self._now[1], offset))
        self.low = min(self._before[0], self._now[0])
        self.high = max(self._before[1], self._now[1])
        return boot

    def earliest(self, wall_ns: int) -> int:
        """Return the earliest boot time that the packet may have come at."""
        return wall_ns - self.high

    def latest(self, wall_ns: int) -> int:
        """Return the latest boot time that the packet may have come at."""
        return wall_ns - self.low
