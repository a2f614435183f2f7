"""What a node remembers about each grant that runs, ends, or waits to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agents.core.commands import Progress
from agents.core.dialogs import DialogTracker
from agents.core.events import Counted, SegmentSealed
from agents.core.instant import Instant
from agents.core.verifier import VerifiedGrant
from guard.core.evidence import Evidence

__all__ = ["Armed", "Closing", "Memory", "Why"]


class Why(StrEnum):
    """Why a capture ended, beside the reasons of the guard's vocabulary."""

    EXPIRED = "expired"
    LEASE_ENDED = "lease_ended"
    STOPPED = "stopped"
    LIMIT_REACHED = "limit_reached"
    AGENT_STOPPED = "agent_stopped"


@dataclass(slots=True, kw_only=True)
class Armed:
    """One armed grant. ``before``: its progress up to this start of the agent.

    ``recorded``: Call-IDs whose media comes through the relay.
    """

    grant: VerifiedGrant
    evidence: Evidence = field(repr=False)
    at: Instant
    tracker: DialogTracker = field(repr=False)
    before: Progress
    calls: int = 0
    packets: int = 0
    bytes: int = 0
    drops: int = 0
    not_followed: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set, repr=False)
    sealed_packets: int = 0
    sealed_bytes: int = 0

    def count(self, counted: Counted) -> None:
        """Take what the engine has counted since the capture was opened."""
        self.packets, self.bytes, self.drops = counted.packets, counted.bytes, counted.drops

    def seal(self, sealed: SegmentSealed) -> Progress:
        """Take a sealed segment; return how far the capture has come over every start."""
        self.sealed_packets += sealed.packets
        self.sealed_bytes += sealed.bytes
        return Progress(
            calls=self.before.calls + self.calls,
            packets=self.before.packets + self.sealed_packets,
            bytes=self.before.bytes + self.sealed_bytes,
        )

    def over_limit(self) -> bool:
        """Say whether more calls or bytes were seen than the authority allows."""
        limits = self.grant.authority
        calls, octets = self.before.calls + self.calls, self.before.bytes + self.bytes
        return (limits.max_calls is not None and calls > limits.max_calls) or (
            limits.max_bytes is not None and octets >= limits.max_bytes
        )

    def bytes_left(self) -> int | None:
        """How many bytes the authority still allows; None when it sets no limit."""
        most = self.grant.authority.max_bytes
        return None if most is None else max(0, most - self.before.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """An ended capture whose last segment is being sealed. ``why``: a `Why` or a `Reason`."""

    armed: Armed
    why: str

    @property
    def for_good(self) -> bool:
        """Whether it is the grant that ended, not the agent."""
        return self.why != Why.AGENT_STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a node remembers from before it was started.

    ``ended``: grant ids; ``revoked``: grant and authority ids; ``latest``: the latest wall-clock
    time that it has put on record.
    """

    ended: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    progress: Mapping[str, Progress] = field(default_factory=dict)
    latest: datetime | None = None
