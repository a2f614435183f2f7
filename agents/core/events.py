"""What happened: everything that the agent's rules are told, one frozen class per kind.

Call-IDs, subjects, frames and documents are kept out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agents.core.flow import FlowKey
from agents.core.health import Health
from agents.core.packet import Datagram
from guard.core.evidence import Evidence
from guard.core.reasons import Reason

__all__ = [
    "CaptureClosed",
    "CaptureFailed",
    "Challenged",
    "Counted",
    "Event",
    "GuardTime",
    "HealthSeen",
    "LeaseRenewed",
    "LimitReached",
    "ReceiptAccepted",
    "RelayFlows",
    "RelayReport",
    "SegmentSealed",
    "SegmentStored",
    "SessionClosed",
    "SessionOpened",
    "Shutdown",
    "SignallingSeen",
    "Started",
    "StateDelta",
    "TrustArrived",
    "WakeUp",
    "Withdrawal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """The guard answers: heartbeats, receipts and segments have somewhere to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """The guard does not answer. What is armed runs on until its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTime:
    """The guard said what its clock shows."""

    guard_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustArrived:
    """Trust policies, oldest first, as unverified DSSE envelopes."""

    envelopes: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """The guard ends a grant, or with ``authority_id`` every grant of an authority."""

    grant_id: str
    reason: Reason
    authority_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDelta:
    """What the guard wants to run and to end; ``revision`` is what the agent holds after it."""

    revision: int
    offered: tuple[Evidence, ...] = field(default=(), repr=False)
    withdrawn: tuple[Withdrawal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRenewed:
    """The guard wants these grants to run on; it said so at ``guard_time`` of its own clock."""

    grant_ids: tuple[str, ...]
    guard_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignallingSeen:
    """A whole SIP message on the wire, reassembled where it came in fragments."""

    message: Datagram = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the engine has counted for one capture since it was opened."""

    grant_id: str
    packets: int
    bytes: int
    drops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSealed:
    """A segment is whole, sealed and on disk.

    ``size`` is the sealed file's, ``bytes`` what the packets had before; ``first`` and ``last`` are
    its packets' times (RFC 3339).
    """

    grant_id: str
    number: int
    sha256: str
    size: int
    packets: int
    bytes: int
    drops: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored:
    """The guard keeps a segment; the node may delete its own."""

    grant_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAccepted:
    """The receipts up to this number are in the log."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFailed:
    """Kernel, disk or engine cannot go on with one capture; ``detail`` is for the log."""

    grant_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached:
    """The engine has written as many bytes as the authority allows."""

    grant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureClosed:
    """The engine has sealed the last segment of a capture that was told to end."""

    grant_id: str
    packets: int
    bytes: int
    drops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFlows:
    """The relay's copies of a call arrive at these addresses; not ``open``: they do no more."""

    call_id: str = field(repr=False)
    keys: tuple[FlowKey, ...] = field(repr=False)
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """Something tried to get at a call's content, or could, or a recording does not do well."""

    what: str
    call_id: str | None = field(repr=False)
    details: Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenged:
    """The guard wants the sentry's doors proven anew; ``challenge`` is what names the answer."""

    challenge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSeen:
    """How the sentry does has changed, or it has answered a challenge."""

    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """`Node.next_deadline` has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent runs: what it commands is carried out from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """The agent is told to stop."""


Event = (
    SessionOpened
    | SessionClosed
    | GuardTime
    | TrustArrived
    | StateDelta
    | LeaseRenewed
    | SignallingSeen
    | Counted
    | SegmentSealed
    | SegmentStored
    | ReceiptAccepted
    | CaptureFailed
    | LimitReached
    | CaptureClosed
    | RelayFlows
    | RelayReport
    | Challenged
    | HealthSeen
    | WakeUp
    | Started
    | Shutdown
)
"""Whatever `Node.handle` takes."""
