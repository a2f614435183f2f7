"""Heartbeat receipts: what is armed on the node and how its sentry does, said again and again.

1. One is made at the start, one every so many seconds after it, and one when the agent stops. They
   go by the boot clock and whether or not the guard answers: a node that was cut off shows
   afterwards that it captured nothing meanwhile, or what.
2. Each names every armed grant. What a kernel has let go is not armed, though its last segment may
   still be on its way.
3. More grants than one receipt may name are named in several at one time, as part so many of so
   many; none is left out.
4. The one at the start and the one at the stop say so: what lies between a stop and the next start
   was captured by nobody, since no agent ran.
5. Seconds that were slept through are not made up for: a node that wakes makes one, not many.
6. Each tells the health of the sentry as it was last seen. A change of health makes one at once; a
   challenge that was answered waits for the next.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.core import commands as do
from agents.core.commands import Command
from agents.core.health import Health, unproven
from agents.core.instant import NANOSECONDS, Instant
from agents.core.receipts import Draft
from guard.core.enforcement import SentryMode
from guard.core.receipt import AT_START, AT_STOP, MOST_ARMED, ReceiptKind

__all__ = ["DEFAULT_SECONDS", "Heartbeats"]

DEFAULT_SECONDS = 180


class Heartbeats:
    """When the next one is due, and what it says; nothing is due before `start`."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._due: int | None = None
        self.health = unproven(SentryMode.OBSERVE)

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has one to make, in boot-clock nanoseconds."""
        return self._due

    def start(self, armed: Iterable[str], now: Instant) -> list[Command]:
        """Make the first one."""
        return self._next(armed, now, at=AT_START)

    def wake_up(self, armed: Iterable[str], now: Instant) -> list[Command]:
        """Make the one that is due, if it is."""
        if self._due is None or self._due > now.boot_ns:
            return []
        return self._next(armed, now)  # Rule 5.

    def look(self, health: Health, armed: Iterable[str], now: Instant) -> list[Command]:
        """Take in how the sentry does, and make one where that has changed (rule 6)."""
        before, self.health = self.health, health
        if self._due is None or health.same_as(before):
            return []
        return self._next(armed, now)

    def stop(self, armed: Iterable[str], now: Instant) -> list[Command]:
        """Make the last one, if there was a first."""
        if self._due is None:
            return []
        self._due = None
        return self._receipts(armed, now, at=AT_STOP)

    def _next(self, armed: Iterable[str], now: Instant, **about: str) -> list[Command]:
        self._due = now.boot_ns + self._seconds * NANOSECONDS
        return self._receipts(armed, now, **about)

    def _receipts(self, armed: Iterable[str], now: Instant, **about: str) -> list[Command]:
        grants, health = sorted(armed), self.health.stated()
        parts = [grants[at : at + MOST_ARMED] for at in range(0, len(grants), MOST_ARMED)] or [[]]
        return [
            do.SendReceipt(
                draft=Draft(
                    kind=ReceiptKind.HEARTBEAT,
                    time=now.wall,
                    grant_id=None,
                    details={
                        "every": self._seconds,
                        "armed": len(grants),
                        "part": number,
                        "parts": len(parts),
                        **about,
                    },
                    armed=tuple(part),
                    health=health,
                )
            )
            for number, part in enumerate(parts, 1)
        ]
