"""A guard's side of node sessions, over real sockets and real mutual TLS, for tests of the agent.

It speaks the contract and nothing more: no store, no log. What it says comes from the test, except
for acknowledgements, which it gives by itself while ``acknowledges`` is true.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from guard.api.v1 import node_service_pb2 as pb
from guard.api.v1.node_service_pb2_grpc import (
    NodeServiceServicer,
    add_NodeServiceServicer_to_server,
)
from guard.cli.certificates import CertificateAuthority, KeyPair
from guard.core.evidence import Evidence

__all__ = ["GuardSimulator", "Received", "SimulatedSession", "TlsFolder"]

Event = str


class TlsFolder:
    """A CA, a guard's certificate, and the node's three files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = CertificateAuthority.create(now=datetime.now(UTC))
        self.server = self.authority.server("guard-1", ["127.0.0.1"], now=datetime.now(UTC))
        self.issue()

    @property
    def certificate(self) -> Path:
        return self.folder / "node.crt"

    @property
    def key(self) -> Path:
        return self.folder / "node.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, node: str = "node-1") -> KeyPair:
        """Write a new certificate for the node."""
        pair = self.authority.client("node", node, now=datetime.now(UTC))
        self.certificate.write_bytes(pair.certificate)
        self.key.touch(mode=0o600)
        self.key.write_bytes(pair.key)
        self.ca.write_bytes(self.authority.pair.certificate)
        return pair


@dataclass
class Received:
    """A segment as it comes in."""

    header: Any
    data: bytearray = field(default_factory=bytearray)


@dataclass
class SimulatedSession:
    """One session as the guard sees it."""

    hello: pb.Hello
    context: Any
    peer: str
    messages: list[pb.SessionRequest] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, **event: Any) -> None:
        """Send one message, such as ``state_delta=…`` or ``lease_renewal=…``."""
        async with self.writing:  # grpc takes one write at a time
            await self.context.write(pb.SessionResponse(**event))

    async def say_time(self, *grant_ids: str) -> None:
        """Say the guard's time, and renew the leases of these grants."""
        stamp = Timestamp()
        stamp.FromDatetime(datetime.now(UTC))
        await self.send(lease_renewal=pb.LeaseRenewal(grant_ids=grant_ids, guard_time=stamp))

    async def offer(self, *evidence: Evidence, revision: int = 1) -> None:
        """Offer grants."""
        offered = [
            pb.Evidence(authority=each.authority, grant=each.grant, proof=each.proof)
            for each in evidence
        ]
        await self.send(state_delta=pb.StateDelta(revision=revision, offered=offered))

    def of(self, kind: Event) -> list[Any]:
        """Return what came of one kind: such as ``receipt``."""
        return [getattr(m, kind) for m in self.messages if m.WhichOneof("event") == kind]

    async def until(self, kind: Event, count: int = 1, seconds: float = 15) -> list[Any]:
        """Wait until so many of one kind have come, and return them all."""
        async with asyncio.timeout(seconds):
            while len(self.of(kind)) < count:
                self.news.clear()
                await self.news.wait()
        return self.of(kind)

    def hang_up(self) -> None:
        """End the session from the guard's side."""
        self.over.set()


class GuardSimulator(NodeServiceServicer):
    """Use as an async context manager; ``sessions`` are all that ever began."""

    def __init__(self, tls: TlsFolder) -> None:
        self.tls = tls
        self.port = 0
        self.sessions: list[SimulatedSession] = []
        self.began = asyncio.Event()
        self.acknowledges = True
        self.receipts: list[bytes] = []
        self.segments: dict[tuple[str, int], Received] = {}
        self.stored: dict[tuple[str, int], bytes] = {}
        self.hang_up_after_bytes: int | None = None
        self._server: aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on loopback, on the same port as before."""
        server = aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ]
        )
        add_NodeServiceServicer_to_server(self, server)
        credentials = grpc.ssl_server_credentials(
            [(self.tls.server.key, self.tls.server.certificate)],
            root_certificates=self.tls.authority.pair.certificate,
            require_client_auth=True,
        )
        self.port = server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Cut every session and listen no more."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def session(self, number: int = 1, seconds: float = 15) -> SimulatedSession:
        """Wait for the session of this number, counted from 1."""
        async with asyncio.timeout(seconds):
            while len(self.sessions) < number:
                self.began.clear()
                await self.began.wait()
        return self.sessions[number - 1]

    async def Session(self, request_iterator: AsyncIterator[Any], context: Any) -> None:  # noqa: N802 - the contract's name
        first = await anext(aiter(request_iterator))
        names = context.auth_context()["x509_subject_alternative_name"]
        session = SimulatedSession(first.hello, context, names[0].decode())
        self.sessions.append(session)
        self.began.set()
        reading = asyncio.ensure_future(self._read(session, request_iterator))
        ending = asyncio.ensure_future(session.over.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            ending.cancel()

    async def _read(self, session: SimulatedSession, requests: AsyncIterator[Any]) -> None:
        async for message in requests:
            session.messages.append(message)
            match message.WhichOneof("event"):
                case "receipt":
                    self.receipts.append(message.receipt.envelope)
                    if self.acknowledges:
                        await self._accept(session, message.receipt.envelope)
                case "segment_offer" if self.acknowledges:
                    await self._offered(session, message.segment_offer.header)
                case "segment_chunk":
                    await self._chunk(session, message.segment_chunk)
                case _:
                    pass
            session.news.set()

    async def _accept(self, session: SimulatedSession, envelope: bytes) -> None:
        from guard.core.envelope import Kind, parse
        from guard.core.receipt import parse_receipt

        sequence = parse_receipt(parse(envelope, Kind.RECEIPT).payload).sequence
        await session.send(receipt_accepted=pb.ReceiptAccepted(sequence=sequence))

    async def _offered(self, session: SimulatedSession, header: Any) -> None:
        key = (header.capture_id, header.number)
        received = self.segments.setdefault(key, Received(header))
        await session.send(
            segment_wanted=pb.SegmentWanted(
                capture_id=key[0], number=key[1], offset=len(received.data)
            )
        )

    async def _chunk(self, session: SimulatedSession, chunk: Any) -> None:
        key = (chunk.capture_id, chunk.number)
        received = self.segments[key]
        assert chunk.offset == len(received.data), "bytes came twice or with a gap"
        assert 0 < len(chunk.data) <= 256 * 1024
        received.data += chunk.data
        if self.hang_up_after_bytes is not None and len(received.data) >= self.hang_up_after_bytes:
            self.hang_up_after_bytes = None
            session.hang_up()
            return
        if len(received.data) == received.header.size:
            assert hashlib.sha256(received.data).digest() == received.header.sha256
            self.stored[key] = bytes(received.data)
            await session.send(segment_stored=pb.SegmentStored(capture_id=key[0], number=key[1]))
