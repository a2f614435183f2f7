"""Whether the wall clock can be believed (design, section 5).

1. The wall clock and the boot clock run side by side. When their difference is no longer what it
   was at the agent's start, somebody has set the wall clock: it is in doubt until it is back, or
   the agent starts again.
2. The guard says its time over the session. When the wall clock differs from it, carried on by
   the boot clock, the clock is in doubt, whichever of the two is wrong.
3. The wall clock is not earlier than any that this node has recorded before.
4. "Differs" means: by more than the trust policy's ``clock_tolerance``.
5. The guard spoke at the latest when its word arrived. A word that took longer than the quickest
   one of the session is that much older: a frozen agent cannot renew leases with old words.
6. While the clock is in doubt nothing is armed and no lease is renewed. What is armed runs out by
   its deadline, which nobody can set.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from agents.core.instant import Instant, nanoseconds

__all__ = ["ClockCheck"]


class ClockCheck:
    """Compares the wall clock with whatever it can be compared with."""

    def __init__(self, start: Instant, *, recorded: datetime | None = None) -> None:
        """Take the offset at ``start`` as the right one; ``recorded``: see rule 3."""
        self._start = start
        self._recorded = recorded
        self._guard: tuple[datetime, int] | None = None
        self._quickest: tuple[datetime, int] | None = None

    def forget(self) -> None:
        """Forget what the guard said: a new session begins, perhaps with another guard."""
        self._guard = self._quickest = None

    def heard(self, guard_time: datetime, now: Instant) -> int:
        """Note what the guard's clock said, and return when it said so (boot clock, rule 5)."""
        self._guard = (guard_time, now.boot_ns)
        if self._quickest is None:
            self._quickest = self._guard
        said, arrived = self._quickest
        spoken = arrived + nanoseconds(guard_time - said)
        if spoken >= now.boot_ns:
            self._quickest = self._guard
        return min(spoken, now.boot_ns)

    def guard_time(self, now: Instant) -> datetime | None:
        """Return the guard's time carried on by the boot clock; None before it was heard."""
        if self._guard is None:
            return None
        said, heard = self._guard
        return said + timedelta(microseconds=(now.boot_ns - heard) // 1000)

    def doubt(self, now: Instant, tolerance: timedelta) -> str | None:
        """Return why the wall clock cannot be believed, or None when it can."""
        if abs(self._start.wall_of(now.boot_ns) - now.wall) > tolerance:  # Rule 1.
            return "the wall clock was set since the agent started"
        guard = self.guard_time(now)
        if guard is not None and abs(guard - now.wall) > tolerance:  # Rule 2.
            return "the wall clock differs from the guard's"
        if self._recorded is not None and now.wall < self._recorded - tolerance:  # Rule 3.
            return "the wall clock is earlier than this node has seen it before"
        return None
