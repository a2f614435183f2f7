"""What is open between guard and nodes, and how patient the guard is: see `reconciliation`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from guard.core.facts import Granted
from guard.core.findings import Finding
from guard.core.instruments import CEILINGS
from guard.core.policy import LARGEST_CLOCK_TOLERANCE
from guard.core.receipt import FIRST_PREVIOUS
from guard.core.untrusted import NodeStanding, Patience, SentryBook

__all__ = [
    "ARMING",
    "CLOCKS",
    "DELIVERING",
    "LONGEST_GRANT",
    "LONG_AGO",
    "SILENCE",
    "NodeBook",
    "OpenGrant",
    "OpenSegment",
]

ARMING: Final = timedelta(minutes=2)
"""How long a node may take to arm a grant that has begun."""
DELIVERING: Final = timedelta(minutes=10)
"""How long a sealed segment may take."""
SILENCE: Final = timedelta(minutes=10)
"""How long a node may be silent at least; three of its own intervals if that is longer."""
CLOCKS: Final = LARGEST_CLOCK_TOLERANCE + timedelta(minutes=1)
"""What the clocks of node and guard may differ, and an end may take."""
_EVERY: Final = timedelta(minutes=3)
_LATE: Final = timedelta(minutes=1)
LONGEST_GRANT: Final = max(rule.longest for rule in CEILINGS.values())
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class OpenGrant:
    """A grant that may still be armed; ``over``: when it ended, if it did."""

    made: Granted
    answered: bool = False
    over: datetime | None = None

    def ended(self, now: datetime) -> bool:
        """Say whether it is over."""
        return self.over is not None or now >= self.made.not_after

    def last_moment(self) -> datetime:
        """Return until when a node may say that it is armed."""
        over = min(self.over or self.made.not_after, self.made.not_after)
        return over + self.made.lease + CLOCKS

    def covers(self, said: datetime) -> bool:
        """Say whether a node may have had it armed at this time."""
        return self.made.not_before - CLOCKS <= said <= self.last_moment()


@dataclass(slots=True, kw_only=True)
class OpenSegment:
    """A sealed segment on its way; ``unsure``: the record that it came may have been erased."""

    index: int
    finding: Finding
    unsure: bool = False


@dataclass(slots=True, kw_only=True)
class NodeBook:
    """What is known of a node.

    ``back``: since when it has been heard without a pause; ``delivered``: when its last segment
    came; ``passed``: the record of the newest of its segments that came.
    """

    named: datetime | None = None
    heard: datetime | None = None
    back: datetime = LONG_AGO
    delivered: datetime = LONG_AGO
    passed: int = -1
    every: timedelta = _EVERY
    index: int = -1
    sequence: int = 0
    digest: str = FIRST_PREVIOUS
    claims: set[str] = field(default_factory=set)
    parts: list[str] | None = None
    sentry: SentryBook = field(default_factory=SentryBook)

    def patience(self) -> timedelta:
        """Return how long the node may be silent."""
        return max(3 * self.every, SILENCE)

    def standing(self, now: datetime, *, silent: datetime | None, since: datetime) -> NodeStanding:
        """Say how the node stands; the guard was there to ask and to hear ``since`` then."""
        patience = Patience(every=self.every, silence=self.patience(), since=since)
        return self.sentry.standing(now, patience, silent=silent)

    def is_here(self, now: datetime) -> bool:
        """Say whether the node has kept its own interval until now."""
        return self.heard is not None and now - self.heard <= self.every + _LATE
