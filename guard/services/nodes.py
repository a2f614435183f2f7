"""The service of the contract that talks with the agents: one session per node.

1. The first message is Hello, exactly once. A node's newer session ends its older one.
2. Down go trust policies, then the guard's time with the leases, then the desired state. Up come
   receipts, heartbeats, segments. A receipt or segment is acknowledged when it is durable, never
   before.
3. The session looks at least once a second whether its caller is still one: certificate, place in
   the trust policy, newest session.
4. A node is asked challenges as long as its session lasts (`guard.app.reconcile`).
5. A segment that cannot be taken now (a full disk) is asked for again later and holds up nothing
   else; one that does not match its receipt is asked for three times in all.
"""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from guard.api.v1 import node_service_pb2 as messages
from guard.api.v1.capture_service_pb2 import SegmentHeader
from guard.api.v1.node_service_pb2_grpc import NodeServiceServicer
from guard.app.denial import MalformedError
from guard.app.distribute import Delta, NodeFeed
from guard.app.evidence import EvidenceDesk
from guard.app.office import Office
from guard.app.presence import Presence
from guard.app.receipts import Receipts
from guard.app.reconcile import Reconciler
from guard.app.segments import Incoming, Segments
from guard.app.shelf import ShelfError
from guard.app.trust import Trust
from guard.services.gate import Admission, Context, admission
from guard.services.translate import from_armed, required_id, to_evidence, to_reason, to_timestamp

__all__ = ["NodeService"]

_LOOK_EVERY: Final = 1.0
_RETRY_AFTER: Final = 10.0
_MOST_TRIES: Final = 3
_MOST_POLICIES: Final = 8
_LONGEST_VERSION: Final = 64
_LARGEST_CHUNK: Final = 256 * 1024


class _SessionOverError(Exception):
    """The agent has closed its side, or a newer session has taken over."""


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What sessions work with."""

    office: Office
    presence: Presence
    desk: EvidenceDesk
    receipts: Receipts
    segments: Segments
    trust: Trust
    reconciler: Reconciler
    log: structlog.typing.FilteringBoundLogger


class NodeService(NodeServiceServicer):
    """Runs the sessions."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    # The stubs know only handlers that yield; this one writes, from two tasks (grpc.aio has both).
    async def Session(  # type: ignore[override]
        self, requests: AsyncIterator[messages.SessionRequest], context: Context
    ) -> None:
        """Run one node's session until either side ends it."""
        admitted = admission()
        hello = await _hello(requests)
        services = self._services
        name = admitted.caller.name
        with services.presence.session(name) as token, services.office.bell.listen(name) as rung:
            session = _Session(
                services=services,
                admitted=admitted,
                context=context,
                token=token,
                rung=rung,
                feed=NodeFeed(services.office, services.desk, name, hello.revision),
                trust_version=hello.trust_version,
            )
            services.log.info("session", node=name, agent=hello.agent_version)
            try:
                await session.run(hello, requests)
            finally:
                if services.presence.is_newest(name, token):
                    services.reconciler.left(name)


async def _hello(requests: AsyncIterator[messages.SessionRequest]) -> messages.Hello:
    async for message in requests:
        if message.WhichOneof("event") != "hello":
            break
        hello = message.hello
        if len(hello.agent_version) > _LONGEST_VERSION or not hello.agent_version.isprintable():
            break
        return hello
    raise MalformedError("a session begins with Hello")


@dataclass(slots=True, kw_only=True)
class _Session:
    services: NodeServices
    admitted: Admission
    context: Context
    token: object
    rung: asyncio.Event
    feed: NodeFeed
    trust_version: int
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _incoming: Incoming | None = None
    _retry_at: float | None = None
    _tries: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def run(
        self, hello: messages.Hello, requests: AsyncIterator[messages.SessionRequest]
    ) -> None:
        """Read and write at once; the first to fail ends both."""
        node = self.admitted.caller.node
        last = await self.services.receipts.resume(node, hello.receipt_sequence)
        accepted = messages.ReceiptAccepted(sequence=last)
        await self._send(messages.SessionResponse(receipt_accepted=accepted))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(requests))
                tasks.create_task(self._push())
        except* _SessionOverError:
            self.services.log.info("session_over", node=node.name)

    async def _send(self, message: messages.SessionResponse) -> None:
        async with self._writing:
            await self.context.write(message)

    # --- down ---------------------------------------------------------------------------------

    async def _push(self) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time()
        await self._challenge(begin=True)
        while True:
            self.admitted.renew()
            if not self.services.presence.is_newest(self.admitted.caller.name, self.token):
                raise _SessionOverError
            await self._push_trust()
            if loop.time() >= renew_at or await self._push_state():
                # The first word says the guard's time, without which a node arms nothing.
                pause = await self._push_leases()
                renew_at = loop.time() + pause
                await self._push_state()
            await self._challenge()
            await self._retry(loop.time())
            await self._wait(min(renew_at - loop.time(), _LOOK_EVERY))

    async def _wait(self, seconds: float) -> None:
        # Not wait_for: in Python 3.11 it can swallow the cancellation that ends the session.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self.rung.wait()

    async def _push_trust(self) -> None:
        if self.trust_version >= self.services.office.policy.version:
            return
        newer = self.services.trust.policies(self.trust_version)
        for first in range(0, len(newer), _MOST_POLICIES):
            update = messages.TrustUpdate(envelopes=newer[first : first + _MOST_POLICIES])
            await self._send(messages.SessionResponse(trust_update=update))
        self.trust_version = self.services.office.policy.version

    async def _push_state(self) -> bool:
        """Send what is new, and say whether grants were among it."""
        if not (self.rung.is_set() or self.feed.waiting or not self.feed.started):
            return False
        self.rung.clear()
        offered = False
        while delta := self.feed.delta():
            offered = offered or bool(delta.offered)
            await self._send(messages.SessionResponse(state_delta=_delta(delta)))
        return offered

    async def _challenge(self, *, begin: bool = False) -> None:
        nonce = self.services.reconciler.challenge(self.admitted.caller.name, begin=begin)
        if nonce is not None:
            challenge = messages.Challenge(nonce=nonce)
            await self._send(messages.SessionResponse(challenge=challenge))

    async def _push_leases(self) -> float:
        renewed, pause = self.feed.renewals()
        now = to_timestamp(self.services.office.clock.now())
        renewal = messages.LeaseRenewal(grant_ids=renewed, guard_time=now)
        await self._send(messages.SessionResponse(lease_renewal=renewal))
        return pause

    # --- up -----------------------------------------------------------------------------------

    async def _read(self, requests: AsyncIterator[messages.SessionRequest]) -> None:
        async for message in requests:
            match message.WhichOneof("event"):
                case "heartbeat":
                    self._heard(message.heartbeat)
                case "receipt":
                    await self._take(message.receipt.envelope)
                case "segment_offer":
                    await self._consider(message.segment_offer.header)
                case "segment_chunk":
                    await self._add(message.segment_chunk)
                case _:
                    raise MalformedError("not a message of a running session")
        raise _SessionOverError

    def _heard(self, heartbeat: messages.Heartbeat) -> None:
        running = {armed.grant_id: from_armed(armed) for armed in heartbeat.armed}
        self.services.presence.heard(self.admitted.caller.name, self.token, running)

    async def _take(self, envelope: bytes) -> None:
        sequence = await self.services.receipts.take(envelope, self.admitted.caller.node)
        accepted = messages.ReceiptAccepted(sequence=sequence)
        await self._send(messages.SessionResponse(receipt_accepted=accepted))

    async def _consider(self, header: SegmentHeader) -> None:
        capture_id = required_id(header.capture_id, "capture_id")
        self._incoming = self._retry_at = None
        incoming = await self.services.segments.offer(
            capture_id, header.number, header.receipt, self.admitted.caller.node
        )
        if incoming is None:
            await self._stored(capture_id, header.number)
            return
        self._incoming = incoming
        if incoming.offset == incoming.size:
            await self._keep(incoming)
        else:
            await self._want(incoming)

    async def _add(self, chunk: messages.SegmentChunk) -> None:
        incoming = self._incoming
        if incoming is None or self._retry_at is not None:
            return  # Bytes of a segment that was put off were still on their way.
        if (chunk.capture_id, chunk.number) != (incoming.capture_id, incoming.number):
            raise MalformedError("the bytes are of a segment that was not asked for")
        if not 0 < len(chunk.data) <= _LARGEST_CHUNK:
            raise MalformedError("a chunk is empty or too large")
        try:
            whole = self.services.segments.add(incoming, chunk.offset, chunk.data)
        except ShelfError as error:
            self._put_off(str(error))
            return
        if whole:
            await self._keep(incoming)

    async def _keep(self, incoming: Incoming) -> None:
        """Finish a whole segment (rule 5)."""
        try:
            kept = await self.services.segments.keep(incoming)
        except ShelfError as error:
            self._put_off(str(error))
            return
        if kept:
            self._incoming = None
            await self._stored(incoming.capture_id, incoming.number)
            return
        key = (incoming.capture_id, incoming.number)
        self._tries[key] += 1
        self.services.log.error(
            "segment_unmatched", capture=key[0], number=key[1], tries=self._tries[key]
        )
        if self._tries[key] >= _MOST_TRIES:
            self._incoming = None
            return
        incoming.offset = 0
        await self._want(incoming)

    async def _stored(self, capture_id: str, number: int) -> None:
        stored = messages.SegmentStored(capture_id=capture_id, number=number)
        await self._send(messages.SessionResponse(segment_stored=stored))

    async def _want(self, incoming: Incoming) -> None:
        wanted = messages.SegmentWanted(
            capture_id=incoming.capture_id, number=incoming.number, offset=incoming.offset
        )
        await self._send(messages.SessionResponse(segment_wanted=wanted))

    def _put_off(self, why: str) -> None:
        self.services.log.error("segment_put_off", why=why)
        self._retry_at = asyncio.get_running_loop().time() + _RETRY_AFTER

    async def _retry(self, now: float) -> None:
        """Ask again for a segment that was put off."""
        incoming = self._incoming
        if incoming is None or self._retry_at is None or now < self._retry_at:
            return
        self._retry_at = None
        try:
            self.services.segments.resume(incoming)
        except ShelfError as error:
            self._put_off(str(error))
            return
        if incoming.offset == incoming.size:
            await self._keep(incoming)
        else:
            await self._want(incoming)


def _delta(delta: Delta) -> messages.StateDelta:
    return messages.StateDelta(
        revision=delta.revision,
        offered=[to_evidence(evidence) for evidence in delta.offered],
        withdrawn=[
            messages.Withdrawal(
                grant_id=each.grant_id,
                reason=to_reason(each.reason),
                authority_id=each.authority_id,
            )
            for each in delta.withdrawn
        ],
    )
