"""When a node is not to be trusted any more: what it states of its sentry, held against itself.

A node that is not trusted gets no new grant and no longer lease until it is well again. It is one

1. that has been silent for too long (`reconciliation` knows who is);
2. that has not answered a challenge, one heartbeat and `PROVING` after it was asked, or none for
   twice as long as it may be silent, however often its sessions break;
3. with a door that holds less than when its agent started, or that it tells of no more; of a door
   that was absent then nothing is expected (pins are there in one mode only);
4. with other programs in the kernel, or a weaker enforcement, than at first in the same mode since
   its agent started;
5. that has stated for longer than `GRACE` another mode than the trust policy's;
6. that was one of these on record, and has not answered a challenge since without such a flaw.

An agent's start is a new beginning: its doors and programs are what they are then. How much a node
enforces is not judged here but demanded by authorities. A guard that was away has not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from guard.core.enforcement import ABSENT, Enforcement, SentryMode
from guard.core.findings import Finding, FindingKind
from guard.core.nodehealth import NodeHealth

__all__ = ["GRACE", "PROVING", "UNHEARD", "Flaw", "NodeStanding", "Patience", "SentryBook"]

PROVING: Final = timedelta(minutes=2)
"""How long a proof of the doors may take, and the way to the node and back."""
GRACE: Final = timedelta(minutes=2)
"""How long a node may take to follow the trust policy."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a node is not trusted, in words that follow its name; ``since`` aware UTC."""

    since: datetime
    words: str

    def finding(self, node: str) -> Finding:
        """Say it of a node, for the record."""
        return Finding(
            kind=FindingKind.NODE_UNTRUSTED,
            since=self.since,
            node=node,
            detail=f"{node} is not trusted: it {self.words}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStanding:
    """How a node stands now; ``health`` None: it has stated none, or none that is known yet.

    ``heard``: when it last stated its health. ``answered``: when it last answered this guard.
    """

    health: NodeHealth | None = None
    heard: datetime | None = None
    answered: datetime | None = None
    flaw: Flaw | None = None

    @property
    def enforcement(self) -> Enforcement:
        """What the node enforces by its own last word; of none, nothing but `detect`."""
        return Enforcement.DETECT if self.health is None else self.health.enforcement


UNHEARD: Final = NodeStanding()
"""How a node stands of which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patient the guard is with a node.

    ``every``: between two heartbeats; ``silence``: how long it may be silent; ``since``: from when
    on the guard was there to ask and to hear.
    """

    every: timedelta
    silence: timedelta
    since: datetime


@dataclass(slots=True)
class SentryBook:
    """One node's sentry, as its heartbeats tell of it. Times are the guard's."""

    wanted: SentryMode | None = None
    doubted: datetime | None = None
    _last: NodeHealth | None = None
    _heard: datetime | None = None
    _answered: datetime | None = None
    _well: datetime | None = None
    _asked: tuple[str, datetime] | None = None
    _owed: datetime | None = None
    _doors: NodeHealth | None = None
    _modes: dict[SentryMode, NodeHealth] = field(default_factory=dict)
    _odd: datetime | None = None
    _fallen: Flaw | None = None

    @property
    def waiting(self) -> bool:
        """Whether a challenge waits for its answer."""
        return self._asked is not None

    def ask(self, challenge: str, at: datetime) -> None:
        """Take note of a challenge on its way; it takes the place of an older one."""
        self._asked, self._owed = (challenge, at), self._owed or at

    def leave(self) -> None:
        """Wait no longer for this answer: the session is over in which it was asked for."""
        self._asked = None

    def hear(self, health: NodeHealth, *, start: bool, at: datetime) -> None:
        """Take in a statement; ``start``: the first of an agent."""
        if start:
            self._doors, self._modes = None, {}
        if health.proven:
            self._doors = self._doors or health
            self._modes.setdefault(health.mode, health)
        self._last, self._heard = health, at
        follows = health.mode is (self.wanted or health.mode)
        self._odd = None if follows else self._odd or at
        words = next(self._falls(health), None)
        since = at if self._fallen is None else self._fallen.since
        self._fallen = None if words is None else Flaw(since, words)
        asked = self._asked
        if asked is not None and asked[0] == health.challenge:
            self._asked, self._owed, self._answered = None, None, at
            self._well = at if follows and words is None else self._well

    def standing(
        self, now: datetime, patience: Patience, *, silent: datetime | None
    ) -> NodeStanding:
        """Say how the node stands; ``silent``: since when it is (rule 1), None if it is not."""
        if silent is None:
            flaw = next(self._flaws(now, patience), None)
        else:
            flaw = Flaw(silent, "has not been heard of")
        return NodeStanding(
            health=self._last, heard=self._heard, answered=self._answered, flaw=flaw
        )

    def _flaws(self, now: datetime, patience: Patience) -> Iterator[Flaw]:
        """Yield what holds of rules 2 to 6, the worst first."""
        if self._fallen is not None:
            yield self._fallen
        if self._odd is not None and now - max(self._odd, patience.since) >= GRACE:
            words = f"has another mode than {self.wanted}, which the trust policy says"
            yield Flaw(self._odd, words)
        for asked, length in (
            (self._asked and self._asked[1], patience.every + PROVING),
            (self._owed, 2 * patience.silence),
        ):
            if asked is not None and now - max(asked, patience.since) >= length:
                yield Flaw(asked, "has not answered a challenge")
        if self.doubted is not None and (self._well or self.doubted) <= self.doubted:
            yield Flaw(self.doubted, "was not trusted, and has not answered a challenge since")

    def _falls(self, health: NodeHealth) -> Iterator[str]:
        """Yield what is less than it was (rules 3 and 4)."""
        doors = {} if self._doors is None else self._doors.doors
        for name, before in sorted(doors.items()):
            now = health.doors.get(name, "")
            if before != ABSENT and _strength(now) < _strength(before):
                yield f"has a weaker door: {name} was {before} and is {now or 'told of no more'}"
        first = self._modes.get(health.mode)
        if first is None:
            return
        if health.enforcement < first.enforcement:
            yield f"enforces less: {health.enforcement}, and {first.enforcement} at its start"
        if health.programs != first.programs:
            yield "has other programs in its kernel than at its start"


def _strength(word: str) -> int:
    """Rank what is said of a door: nothing, an enforcement, or that it is not there at all."""
    if not word:
        return -1
    return len(Enforcement) if word == ABSENT else Enforcement(word).rank
