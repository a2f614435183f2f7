"""Between the contract's messages and the rules' events and commands.

1. Nothing of a message is believed here: documents pass as opaque bytes, for the verifier.
2. What is not of the contract's form raises `GarbageError`: an empty or unknown message, an id that
   is no lower-case UUID, a missing time, an unknown reason. The session ends and starts again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from agents.core.commands import SendHeartbeat
from agents.core.events import (
    Challenged,
    Event,
    GuardTime,
    LeaseRenewed,
    ReceiptAccepted,
    SegmentStored,
    StateDelta,
    TrustArrived,
    Withdrawal,
)
from agents.session.uploads import Upload
from guard.api.v1 import capture_service_pb2 as capture_pb
from guard.api.v1 import node_service_pb2 as pb
from guard.api.v1.reason_pb2 import Reason as WireReason
from guard.core.evidence import Evidence
from guard.core.reasons import Reason

__all__ = [
    "GarbageError",
    "SegmentWanted",
    "chunk",
    "from_guard",
    "heartbeat",
    "hello",
    "offer",
    "receipt",
]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_ENVELOPES = 1024
_NONCE = 32


class GarbageError(Exception):
    """The guard said something that is not of the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentWanted:
    """Where the guard wants to go on with a segment; for the session itself, not for the rules."""

    grant_id: str
    number: int
    offset: int


def from_guard(message: pb.SessionResponse) -> Event | SegmentWanted:  # noqa: PLR0911 - one case per event
    """Translate what the guard says; raises GarbageError."""
    match message.WhichOneof("event"):
        case "trust_update":
            return _trust(message.trust_update)
        case "state_delta":
            return _delta(message.state_delta)
        case "lease_renewal":
            return _renewal(message.lease_renewal)
        case "receipt_accepted":
            return ReceiptAccepted(sequence=message.receipt_accepted.sequence)
        case "challenge":
            return _challenge(message.challenge)
        case "segment_wanted":
            wanted = message.segment_wanted
            return SegmentWanted(
                grant_id=_id(wanted.capture_id), number=wanted.number, offset=wanted.offset
            )
        case "segment_stored":
            stored = message.segment_stored
            return SegmentStored(grant_id=_id(stored.capture_id), number=stored.number)
        case _:
            raise GarbageError("a message without a known event")


def _trust(update: pb.TrustUpdate) -> TrustArrived:
    if not 0 < len(update.envelopes) <= _MOST_ENVELOPES:
        raise GarbageError("a trust update without envelopes, or with too many")
    return TrustArrived(envelopes=tuple(update.envelopes))


def _delta(delta: pb.StateDelta) -> StateDelta:
    return StateDelta(
        revision=delta.revision,
        offered=tuple(
            Evidence(authority=each.authority, grant=each.grant, proof=each.proof)
            for each in delta.offered
        ),
        withdrawn=tuple(map(_withdrawal, delta.withdrawn)),
    )


def _withdrawal(withdrawal: pb.Withdrawal) -> Withdrawal:
    try:
        name = WireReason.Name(withdrawal.reason)
        reason = Reason[name.removeprefix("REASON_")]
    except (ValueError, KeyError):
        # A word to stop is obeyed whatever the reason (design, section 2).
        reason = Reason.REVOKED
    return Withdrawal(
        grant_id=_id(withdrawal.grant_id),
        reason=reason,
        authority_id=_id(withdrawal.authority_id) if withdrawal.authority_id else None,
    )


def _renewal(renewal: pb.LeaseRenewal) -> LeaseRenewed | GuardTime:
    if not renewal.HasField("guard_time"):
        raise GarbageError("a lease renewal without a time")
    guard_time = _time(renewal.guard_time)
    if not renewal.grant_ids:
        return GuardTime(guard_time=guard_time)
    return LeaseRenewed(grant_ids=tuple(map(_id, renewal.grant_ids)), guard_time=guard_time)


def _challenge(challenge: pb.Challenge) -> Challenged:
    if len(challenge.nonce) != _NONCE:
        raise GarbageError("a challenge of another length")
    return Challenged(challenge=challenge.nonce.hex())


def _id(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise GarbageError("an id that is no lower-case UUID")
    return text


def _time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise GarbageError("a time out of range") from error


def hello(
    *, agent_version: str, revision: int, trust_version: int, receipt_sequence: int
) -> pb.SessionRequest:
    """Open a session."""
    return pb.SessionRequest(
        hello=pb.Hello(
            agent_version=agent_version,
            revision=revision,
            trust_version=trust_version,
            receipt_sequence=receipt_sequence,
        )
    )


def heartbeat(beat: SendHeartbeat) -> pb.SessionRequest:
    """Say that the agent lives, and what is armed."""
    armed: Iterable[pb.ArmedCapture] = (
        pb.ArmedCapture(
            grant_id=each.grant_id,
            counters=capture_pb.CaptureCounters(
                calls=each.calls, packets=each.packets, bytes=each.bytes, drops=each.drops
            ),
            lease_until=_timestamp(each.lease_until),
        )
        for each in beat.armed
    )
    return pb.SessionRequest(
        heartbeat=pb.Heartbeat(
            wall_time=_timestamp(beat.wall), boot_time_ns=beat.boot_ns, armed=armed
        )
    )


def receipt(envelope: bytes) -> pb.SessionRequest:
    """Hand in a signed receipt."""
    return pb.SessionRequest(receipt=pb.Receipt(envelope=envelope))


def offer(upload: Upload) -> pb.SessionRequest:
    """Offer a sealed segment."""
    header = capture_pb.SegmentHeader(
        capture_id=upload.grant_id,
        number=upload.number,
        size=upload.size,
        sha256=upload.sha256,
        receipt=upload.receipt,
    )
    return pb.SessionRequest(segment_offer=pb.SegmentOffer(header=header))


def chunk(upload: Upload, offset: int, data: bytes) -> pb.SessionRequest:
    """Hand in bytes of a segment."""
    return pb.SessionRequest(
        segment_chunk=pb.SegmentChunk(
            capture_id=upload.grant_id, number=upload.number, offset=offset, data=data
        )
    )


def _timestamp(wall: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(wall)
    return stamp
