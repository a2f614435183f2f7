"""What is open, over the wire: to every person, and of a capture no more than each may see."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from guard.api.v1 import audit_service_pb2 as messages
from guard.api.v1 import node_service_pb2 as node_messages
from guard.api.v1.audit_service_pb2_grpc import AuditServiceStub
from guard.core.receipt import ReceiptKind
from tests.builders.deployment import new_id
from tests.builders.house import NodeHand
from tests.builders.serving import Serving
from tests.guard.services.test_nodes import NodeSession


async def findings(served: Serving, by: str) -> list[Any]:
    stub = AuditServiceStub(served.channel(by))
    return list((await stub.ListFindings(messages.ListFindingsRequest())).findings)


async def until(served: Serving, *kinds: str) -> list[Any]:
    """Wait until exactly findings of these kinds are open, and return them."""
    async with asyncio.timeout(20):
        while True:
            found = await findings(served, "auditor-1")
            if [each.kind for each in found] == list(kinds):
                return found
            await asyncio.sleep(0.1)


async def test_findings_are_listed_while_they_are_open(served: Serving) -> None:
    """A node that has armed what nobody granted is shown to everybody, until it has not."""
    hand, ghost = NodeHand(served.site), new_id()
    assert await findings(served, "auditor-1") == []
    async with NodeSession(served) as node:
        armed = node_messages.Receipt(envelope=hand.receipt(ghost))
        await node.send(receipt=armed)
        (found,) = await until(served, "armed_not_granted")
        assert (found.node, found.grant_id, found.authority_id) == ("node-1", ghost, "")
        assert not found.HasField("number")
        assert ghost in found.detail
        for by in ("legal-1", "lead-1"):
            assert await findings(served, by) == [found]
        (shown,) = await findings(served, "operator-1")
        assert (shown.kind, shown.node, shown.since) == (found.kind, found.node, found.since)
        assert ghost.encode() not in shown.SerializeToString()

        over = hand.receipt(ghost, ReceiptKind.DISARMED, reason="stopped")
        await node.send(receipt=node_messages.Receipt(envelope=over))
        assert await until(served) == []


async def nodes(served: Serving, by: str) -> list[Any]:
    stub = AuditServiceStub(served.channel(by))
    return list((await stub.ListNodes(messages.ListNodesRequest())).nodes)


async def answered(served: Serving, by: str) -> Any:
    """Wait until node-1 has answered a challenge, and return how it stands."""
    async with asyncio.timeout(20):
        while True:
            first = (await nodes(served, by))[0]
            if first.HasField("proven"):
                return first
            await asyncio.sleep(0.1)


async def test_how_the_nodes_stand(served: Serving) -> None:
    """Challenged at the session's begin; its answer, and what it states later, is shown to all."""
    first, second = await nodes(served, "auditor-1")
    assert (first.node, first.policy, first.connected) == ("node-1", "observe", False)
    assert (first.mode, first.enforcement, dict(first.doors)) == ("", "", {})
    assert not first.HasField("stated")
    assert not first.HasField("proven")

    hand = NodeHand(served.site)
    async with NodeSession(served) as node:
        asked = await node.until("challenge")
        hand.health = replace(hand.health, challenge=asked.nonce.hex())
        said = hand.heartbeat(time=served.clock.now())
        await node.send(receipt=node_messages.Receipt(envelope=said))
        first = await answered(served, "operator-1")
        assert first.connected
        assert (first.mode, first.enforcement) == ("observe", "detect")
        assert dict(first.doors) == hand.health.doors
        assert (first.programs, first.untrusted) == (hand.health.programs, "")

        hand.health = replace(hand.health, programs="cd" * 32)
        said = hand.heartbeat(time=served.clock.now())
        await node.send(receipt=node_messages.Receipt(envelope=said))
        (found,) = await until(served, "node_untrusted")
        for by in ("legal-1", "operator-1"):
            (first, other) = await nodes(served, by)
            assert found.detail == f"node-1 is not trusted: it {first.untrusted}"
            assert first.untrusted_since == found.since
            assert other == second
