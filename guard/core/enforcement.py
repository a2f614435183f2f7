"""What a node does about capture that no grant covers: how much it can do, and whether it shall.

1. An enforcement is what was proven, never what was hoped for. A node's is that of the weakest of
   the doors through which content is heard.
2. The mode is the trust policy's word for a node. In `observe` nobody is stopped, so that a node's
   enforcement is `detect`, whatever it could do (``effective``).
3. A single door may be absent from a kernel; a node never is.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ABSENT", "Enforcement", "SentryMode", "effective"]

ABSENT = "absent"
"""What is said of a door that a kernel does not have (3)."""


class SentryMode(StrEnum):
    """Whether a node's sentry acts, or only tells what it would have done."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Enforcement(StrEnum):
    """What becomes of who tries to capture, ordered by strength and never by spelling."""

    DETECT = "detect"
    """It is found and reported."""
    KILL = "kill"
    """Who tries it is killed at once."""
    PREVENT = "prevent"
    """It is refused by the kernel before it happens."""

    @property
    def rank(self) -> int:
        """0, 1 or 2, rising with the strength."""
        return tuple(Enforcement).index(self)

    # As with levels: a StrEnum would compare as text, and put `kill` above `detect` by chance.
    def __lt__(self, other: str) -> bool:
        return self.rank < Enforcement(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Enforcement(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Enforcement(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Enforcement(other).rank


def effective(mode: SentryMode, proven: Enforcement) -> Enforcement:
    """Return what a node enforces in a mode with what it has proven (rule 2)."""
    return proven if mode is SentryMode.ENFORCE else Enforcement.DETECT
