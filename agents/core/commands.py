"""What to do: everything that the agent's rules ask of the driver, in the order given.

The order matters: what stops a packet comes before what is written to disk, and what is written
to disk before what is sent. Subjects, Call-IDs and frames are kept out of every repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agents.core.flow import FlowKey
from agents.core.packet import Datagram
from agents.core.receipts import Draft
from agents.core.verifier import VerifiedGrant
from guard.core.enforcement import SentryMode
from guard.core.level import Level
from guard.core.subjects import SubjectKind

__all__ = [
    "ArmedCapture",
    "ClearFlow",
    "Command",
    "DeleteSegment",
    "EndCapture",
    "ForgetReceipts",
    "Identity",
    "Log",
    "MoveDeadline",
    "OfferSegment",
    "OpenCapture",
    "PersistClock",
    "PersistEnded",
    "PersistProgress",
    "PersistRevoked",
    "PersistTrust",
    "Progress",
    "ProveDoors",
    "RecordCall",
    "ReleaseCall",
    "ResendReceipts",
    "SendHeartbeat",
    "SendReceipt",
    "SetFlow",
    "SetSentryMode",
    "UnwatchIdentity",
    "WatchIdentity",
    "WriteSignalling",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the kernel's signalling filter looks for in a message."""

    kind: SubjectKind
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a capture has come, over every start of the agent.

    ``packets`` and ``bytes``: what the sealed segments hold. ``calls``: calls of the subjects seen.
    """

    calls: int = 0
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCapture:
    """Open a capture. The grant is what `verify_evidence` made; nothing else can be opened.

    ``bytes_left``: how many the authority still allows; None when it sets no limit.
    """

    grant: VerifiedGrant
    deadline: int
    bytes_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDeadline:
    """No packet at or after ``deadline`` (boot clock, nanoseconds) belongs to this capture."""

    grant_id: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchIdentity:
    """Let the kernel hand up messages that hold this identity, until ``deadline``.

    ``grants``: those that want it.
    """

    identity: Identity
    deadline: int
    grants: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwatchIdentity:
    """No grant wants this identity any more."""

    identity: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlow:
    """Let the kernel hand up a flow's packets at ``level`` until ``deadline``.

    ``grants``: the captures that the flow's packets belong to, each until its own deadline.
    """

    level: Level
    key: FlowKey = field(repr=False)
    deadline: int
    grants: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFlow:
    """No grant wants this flow at this level any more."""

    level: Level
    key: FlowKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSignalling:
    """Write one SIP frame, redacted for the grant's level, into a capture.

    ``message`` is the datagram that the frame came in: its time and interface count.
    """

    grant_id: str
    frame: bytes = field(repr=False)
    message: Datagram = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCall:
    """Let the relay send a call of this grant's subject to the agent.

    The grant is what `verify_evidence` made; for nothing else is a call recorded.
    """

    grant: VerifiedGrant
    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCall:
    """This grant wants the call no more."""

    grant_id: str
    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCapture:
    """Write nothing more, seal what is open, then answer with `CaptureClosed`."""

    grant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReceipt:
    """Number, chain, sign and keep a receipt, and send it until the guard has it in the log."""

    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendReceipts:
    """Send every receipt again that the guard has not accepted, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReceipts:
    """The guard has the receipts up to this number in its log."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmedCapture:
    """One armed capture as a heartbeat tells of it; the level is for the node's own status."""

    grant_id: str
    level: Level
    calls: int
    packets: int
    bytes: int
    drops: int
    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SendHeartbeat:
    """Say that the agent lives, and what is armed."""

    wall: datetime
    boot_ns: int
    armed: tuple[ArmedCapture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferSegment:
    """Offer a sealed segment to the guard, after the receipts before it."""

    grant_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSegment:
    """Delete the node's copy of a segment that the guard keeps."""

    grant_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistTrust:
    """Keep the chain of trust policies, durably."""

    version: int
    envelopes: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistEnded:
    """Remember, durably, that a grant has ended and is never armed again."""

    grant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistRevoked:
    """Remember, durably, that an authority is revoked with every grant of it."""

    authority_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistClock:
    """Keep the wall clock, which is not in doubt now: a later start compares its own with it."""

    wall: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistProgress:
    """Keep how far a capture has come; None: it has ended and its progress may go."""

    grant_id: str
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class Log:
    """Tell the operator of the node. The fields hold ids and reasons, never a subject."""

    event: str
    fields: tuple[tuple[str, str | int], ...] = ()
    warning: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class SetSentryMode:
    """Let the sentry act, or only report, as the trust policy says of this node."""

    mode: SentryMode


@dataclass(frozen=True, slots=True)
class ProveDoors:
    """Let the sentry try every door anew, as an answer to a challenge of the guard's."""

    challenge: str


Command = (
    OpenCapture
    | MoveDeadline
    | WatchIdentity
    | UnwatchIdentity
    | SetFlow
    | ClearFlow
    | WriteSignalling
    | RecordCall
    | ReleaseCall
    | EndCapture
    | SendReceipt
    | ResendReceipts
    | ForgetReceipts
    | SendHeartbeat
    | OfferSegment
    | DeleteSegment
    | PersistTrust
    | PersistEnded
    | PersistRevoked
    | PersistClock
    | PersistProgress
    | SetSentryMode
    | ProveDoors
    | Log
)
"""Whatever `Node.handle` returns."""
