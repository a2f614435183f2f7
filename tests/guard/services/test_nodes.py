"""A node's session over the wire: down grants, stops, leases and trust; up receipts and segments."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any, Self

import grpc
import pytest

from agents.core.verifier import NodeContext, verify_evidence
from guard.api.v1 import authority_service_pb2 as authority_messages
from guard.api.v1 import capture_service_pb2 as capture_messages
from guard.api.v1 import node_service_pb2 as messages
from guard.api.v1 import trust_service_pb2 as trust_messages
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceStub
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceStub
from guard.api.v1.node_service_pb2_grpc import NodeServiceStub
from guard.api.v1.reason_pb2 import Reason
from guard.api.v1.trust_service_pb2_grpc import TrustServiceStub
from guard.core import envelope as dsse
from guard.core.enforcement import Enforcement
from guard.core.evidence import Evidence
from guard.core.receipt import ReceiptKind
from tests.builders.house import NodeHand
from tests.builders.serving import Serving
from tests.guard.services.test_captures import approve, open_ticket, wish


class NodeSession:
    """The agent's side of a session, by hand."""

    def __init__(self, served: Serving, name: str = "node-1", **hello: int) -> None:
        self.served, self.name = served, name
        self.call: Any = NodeServiceStub(served.channel(name)).Session()
        self.hello = {"trust_version": 1} | hello

    async def __aenter__(self) -> Self:
        await self.send(hello=messages.Hello(agent_version="0.1", **self.hello))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.call.cancel()

    async def send(self, **event: Any) -> None:
        await self.call.write(messages.SessionRequest(**event))

    async def until(self, event: str) -> Any:
        """Return the next event of a kind."""
        async with asyncio.timeout(10):
            while True:
                message = await self.call.read()
                assert message is not grpc.aio.EOF, await self.call.code()
                if message.WhichOneof("event") == event:
                    return getattr(message, event)

    async def offered(self) -> messages.Evidence:
        while True:
            delta = await self.until("state_delta")
            if delta.offered:
                return delta.offered[0]

    async def ended(self) -> grpc.StatusCode:
        async with asyncio.timeout(10):
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
            return await self.call.code()


@pytest.fixture
async def node(served: Serving) -> AsyncIterator[NodeSession]:
    async with NodeSession(served) as session:
        yield session


async def granted(served: Serving) -> capture_messages.Capture:
    ticket = await open_ticket(served)
    await approve(served, ticket, "lead-1")
    stub = CaptureServiceStub(served.channel("operator-1"))
    return (await stub.RequestCapture(wish(ticket.id))).capture


async def state(served: Serving) -> capture_messages.Capture:
    stub = CaptureServiceStub(served.channel("auditor-1"))
    answer = await stub.ListCaptures(capture_messages.ListCapturesRequest())
    return answer.captures[0]


async def test_a_grant_reaches_its_node_with_evidence_that_verifies(
    served: Serving, node: NodeSession
) -> None:
    """Cosigned by a real witness, pushed, verified offline; then its lease is renewed."""
    hello = await node.until("lease_renewal")
    assert not hello.grant_ids
    capture = await granted(served)
    offered = await node.offered()
    context = NodeContext(
        name="node-1",
        identities=[served.site.nodes["node-1"].identity],
        ended=(),
        revoked=(),
        guard_time=hello.guard_time.ToDatetime(UTC),
        enforced=Enforcement.DETECT,
    )
    evidence = Evidence(authority=offered.authority, grant=offered.grant, proof=offered.proof)
    verified = verify_evidence(evidence, served.site.trusted, context, now=served.clock.now())
    assert verified.grant.id == capture.id
    renewal = await node.until("lease_renewal")
    assert list(renewal.grant_ids) == [capture.id]


async def test_a_revocation_is_pushed(served: Serving, node: NodeSession) -> None:
    """The node is told the authority, so that it refuses it for good."""
    capture = await granted(served)
    await node.offered()
    stub = AuthorityServiceStub(served.channel("lead-1"))
    await stub.RevokeAuthority(
        authority_messages.RevokeAuthorityRequest(authority_id=capture.authority_id, why="over")
    )
    delta = await node.until("state_delta")
    (withdrawal,) = delta.withdrawn
    assert withdrawal.grant_id == capture.id
    assert withdrawal.authority_id == capture.authority_id
    assert withdrawal.reason == Reason.REASON_REVOKED


async def test_receipts_and_heartbeats_show_in_the_capture(
    served: Serving, node: NodeSession
) -> None:
    """Acknowledged receipts move the capture; heartbeats fill its counters."""
    capture, hand = await granted(served), NodeHand(served.site)
    assert (await node.until("receipt_accepted")).sequence == 0
    await node.send(receipt=messages.Receipt(envelope=hand.receipt(capture.id)))
    assert (await node.until("receipt_accepted")).sequence == 1
    counters = capture_messages.CaptureCounters(calls=1, packets=7, bytes=700)
    armed = messages.ArmedCapture(grant_id=capture.id, counters=counters)
    armed.lease_until.FromDatetime(served.clock.now())
    await node.send(heartbeat=messages.Heartbeat(armed=[armed]))
    await node.send(receipt=messages.Receipt(envelope=hand.sealed(capture.id, 1, b"x")))
    await node.until("receipt_accepted")
    seen = await state(served)
    assert seen.state == capture_messages.CAPTURE_STATE_ARMED
    assert seen.counters == counters
    assert seen.HasField("lease_until")


async def test_a_segment_is_sent_kept_and_fetched(served: Serving, node: NodeSession) -> None:
    """Offered, asked for, sent in chunks over two sessions, kept, and handed out byte for byte."""
    capture, hand = await granted(served), NodeHand(served.site)
    data = os.urandom(700_000)
    header = capture_messages.SegmentHeader(
        capture_id=capture.id,
        number=1,
        size=len(data),
        sha256=bytes.fromhex(dsse.digest(data)),
        receipt=hand.sealed(capture.id, 1, data),
    )

    async def send(session: NodeSession, until: int) -> int:
        await session.send(segment_offer=messages.SegmentOffer(header=header))
        start = (await session.until("segment_wanted")).offset
        for offset in range(start, until, 200_000):
            chunk = messages.SegmentChunk(
                capture_id=capture.id,
                number=1,
                offset=offset,
                data=data[offset : min(offset + 200_000, until)],
            )
            await session.send(segment_chunk=chunk)
        return start

    assert await send(node, 400_000) == 0
    await asyncio.sleep(0.3)
    async with NodeSession(served) as second:
        start = await send(second, len(data))
        assert start % 200_000 == 0
        assert (await second.until("segment_stored")).number == 1
        await second.send(segment_offer=messages.SegmentOffer(header=header))
        await second.until("segment_stored")
    stub = CaptureServiceStub(served.channel("operator-1"))
    request = capture_messages.FetchCaptureRequest(capture_id=capture.id)
    pieces = [piece async for piece in stub.FetchCapture(request)]
    assert pieces[0].header == header
    assert b"".join(piece.chunk for piece in pieces[1:]) == data


async def test_a_newer_session_ends_the_older(served: Serving, node: NodeSession) -> None:
    """A node has one session; the one that came last counts."""
    await node.until("receipt_accepted")
    async with NodeSession(served) as second:
        await second.until("receipt_accepted")
        assert await node.ended() is grpc.StatusCode.OK
        capture = await granted(served)
        assert (await second.offered()).grant
        assert capture.id


async def test_a_new_trust_policy_is_pushed_and_one_without_the_node_ends_it(
    served: Serving, node: NodeSession
) -> None:
    """Policies reach nodes at once; a node that is no longer named is cut off."""
    await node.until("receipt_accepted")
    policy, stub = served.site.policy, TrustServiceStub(served.channel("legal-1"))
    second = served.site.sign_policy(replace(policy, version=2))
    await stub.PublishTrustPolicy(trust_messages.PublishTrustPolicyRequest(envelope=second))
    assert list((await node.until("trust_update")).envelopes) == [second]
    others = tuple(each for each in policy.nodes if each.name != "node-1")
    third = served.site.sign_policy(replace(policy, version=3, nodes=others))
    await stub.PublishTrustPolicy(trust_messages.PublishTrustPolicyRequest(envelope=third))
    assert await node.ended() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_node_with_only_pinned_roots_gets_every_policy(served: Serving) -> None:
    """Version 0 means all of them."""
    async with NodeSession(served, trust_version=0) as node:
        update = await node.until("trust_update")
        assert list(update.envelopes) == [served.site.policy_envelope]


async def test_a_session_ends_with_the_nodes_certificate(
    served: Serving, node: NodeSession
) -> None:
    """Without a word from the node the guard looks at its certificate every second."""
    await node.until("receipt_accepted")
    served.clock.shift = timedelta(hours=13)
    assert await node.ended() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("first", ["heartbeat", "receipt", "nothing", "twice", "garbage"])
async def test_a_session_that_is_not_one_is_malformed(served: Serving, first: str) -> None:
    """Hello comes first and once, and receipts are the node's own."""
    session = NodeSession(served)
    match first:
        case "heartbeat":
            await session.send(heartbeat=messages.Heartbeat())
        case "receipt":
            await session.send(receipt=messages.Receipt(envelope=b"{}"))
        case "nothing":
            await session.call.done_writing()
        case "twice":
            await session.__aenter__()
            await session.__aenter__()
        case "garbage":
            await session.__aenter__()
            other = NodeHand(served.site, "node-2")
            envelope = other.receipt("0" * 8 + "-0000-4000-8000-000000000000", ReceiptKind.ARMED)
            await session.send(receipt=messages.Receipt(envelope=envelope))
    assert await session.ended() is grpc.StatusCode.INVALID_ARGUMENT
