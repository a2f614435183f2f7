"""Between messages and events: everything arrives as it was said, and garbage is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from agents.core import commands as do
from agents.core import events as on
from agents.session import translate
from agents.session.translate import GarbageError, SegmentWanted
from agents.session.uploads import Upload
from guard.api.v1 import node_service_pb2 as pb
from guard.api.v1.reason_pb2 import Reason as WireReason
from guard.core.evidence import Evidence
from guard.core.level import Level
from guard.core.reasons import Reason
from tests.builders.deployment import NOW, new_id

GRANT, AUTHORITY = new_id(), new_id()
STAMP = Timestamp(seconds=int(NOW.timestamp()))


def response(**event: object) -> pb.SessionResponse:
    return pb.SessionResponse(**event)


def test_everything_the_guard_may_say():
    """One event for each message of the contract."""
    wire = pb.Evidence(authority=b"a", grant=b"g", proof=b"p")
    gone = pb.Withdrawal(grant_id=GRANT, reason=WireReason.REASON_EXPIRED, authority_id=AUTHORITY)
    said = {
        response(trust_update=pb.TrustUpdate(envelopes=[b"1", b"2"])).SerializeToString(): (
            on.TrustArrived(envelopes=(b"1", b"2"))
        ),
        response(
            state_delta=pb.StateDelta(revision=9, offered=[wire], withdrawn=[gone])
        ).SerializeToString(): on.StateDelta(
            revision=9,
            offered=(Evidence(authority=b"a", grant=b"g", proof=b"p"),),
            withdrawn=(
                on.Withdrawal(grant_id=GRANT, reason=Reason.EXPIRED, authority_id=AUTHORITY),
            ),
        ),
        response(
            lease_renewal=pb.LeaseRenewal(grant_ids=[GRANT], guard_time=STAMP)
        ).SerializeToString(): on.LeaseRenewed(grant_ids=(GRANT,), guard_time=NOW),
        response(lease_renewal=pb.LeaseRenewal(guard_time=STAMP)).SerializeToString(): on.GuardTime(
            guard_time=NOW
        ),
        response(
            receipt_accepted=pb.ReceiptAccepted(sequence=3)
        ).SerializeToString(): on.ReceiptAccepted(sequence=3),
        response(challenge=pb.Challenge(nonce=bytes(range(32)))).SerializeToString(): on.Challenged(
            challenge=bytes(range(32)).hex()
        ),
        response(
            segment_wanted=pb.SegmentWanted(capture_id=GRANT, number=1, offset=2)
        ).SerializeToString(): SegmentWanted(grant_id=GRANT, number=1, offset=2),
        response(
            segment_stored=pb.SegmentStored(capture_id=GRANT, number=1)
        ).SerializeToString(): on.SegmentStored(grant_id=GRANT, number=1),
    }

    kinds = {each.name for each in pb.SessionResponse.DESCRIPTOR.oneofs[0].fields}
    assert len(said) == len(kinds) + 1, "LeaseRenewal stands for two events"
    for data, event in said.items():
        assert translate.from_guard(pb.SessionResponse.FromString(data)) == event


@pytest.mark.parametrize(
    "message",
    [
        response(),
        response(trust_update=pb.TrustUpdate()),
        response(lease_renewal=pb.LeaseRenewal(grant_ids=[GRANT])),
        response(lease_renewal=pb.LeaseRenewal(grant_ids=["*"], guard_time=STAMP)),
        response(lease_renewal=pb.LeaseRenewal(guard_time=Timestamp(seconds=1 << 60))),
        response(state_delta=pb.StateDelta(withdrawn=[pb.Withdrawal()])),
        response(
            state_delta=pb.StateDelta(
                withdrawn=[pb.Withdrawal(grant_id=GRANT, authority_id=AUTHORITY.upper())]
            )
        ),
        response(segment_wanted=pb.SegmentWanted(capture_id="../../etc", number=1)),
        response(segment_stored=pb.SegmentStored(capture_id="", number=1)),
        response(challenge=pb.Challenge(nonce=b"")),
        response(challenge=pb.Challenge(nonce=bytes(33))),
    ],
    ids=lambda message: str(message.WhichOneof("event")),
)
def test_garbage_is_named(message: pb.SessionResponse):
    """What is not of the contract's form is no event."""
    with pytest.raises(GarbageError):
        translate.from_guard(message)


@pytest.mark.parametrize("reason", [0, 4711])
def test_a_word_to_stop_is_obeyed_whatever_its_reason(reason: int):
    """An unknown reason is no reason to go on."""
    gone = pb.Withdrawal(grant_id=GRANT, reason=reason)
    event = translate.from_guard(response(state_delta=pb.StateDelta(withdrawn=[gone])))

    assert isinstance(event, on.StateDelta)
    assert event.withdrawn == (on.Withdrawal(grant_id=GRANT, reason=Reason.REVOKED),)


def test_what_the_agent_says():
    """Counters, times and bytes go into the fields made for them."""
    armed = do.ArmedCapture(
        grant_id=GRANT, level=Level.CONTENT, calls=1, packets=2, bytes=3, drops=4, lease_until=NOW
    )
    beat = translate.heartbeat(do.SendHeartbeat(wall=NOW, boot_ns=5, armed=(armed,))).heartbeat
    upload = Upload(
        grant_id=GRANT, number=7, path=Path("/x"), size=8, sha256=b"s" * 32, receipt=b"r"
    )
    header = translate.offer(upload).segment_offer.header
    chunk = translate.chunk(upload, 2, b"data").segment_chunk
    hello = translate.hello(
        agent_version="1", revision=2, trust_version=3, receipt_sequence=4
    ).hello

    assert beat.wall_time.ToDatetime(UTC) == NOW
    assert beat.boot_time_ns == 5
    (one,) = beat.armed
    counted = one.counters
    assert (counted.calls, counted.packets, counted.bytes, counted.drops) == (1, 2, 3, 4)
    assert one.lease_until.ToDatetime(UTC) == datetime(2026, 11, 23, 22, tzinfo=UTC)
    assert (header.capture_id, header.number, header.size) == (GRANT, 7, 8)
    assert (header.sha256, header.receipt) == (b"s" * 32, b"r")
    assert (chunk.capture_id, chunk.number, chunk.offset, chunk.data) == (GRANT, 7, 2, b"data")
    assert (hello.revision, hello.trust_version, hello.receipt_sequence) == (2, 3, 4)
    assert translate.receipt(b"e").receipt.envelope == b"e"
