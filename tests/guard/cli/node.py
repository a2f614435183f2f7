"""A node without a kernel: it believes every grant, and seals what the test hands it.

It keeps the session's contract (Hello, receipts in a chain, heartbeats, segments on demand) over
real mutual TLS with the folder that ``callguard init`` made.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from agents.config import load_config
from guard.api.v1 import node_service_pb2 as messages
from guard.api.v1.capture_service_pb2 import CaptureCounters, SegmentHeader
from guard.api.v1.node_service_pb2_grpc import NodeServiceStub
from guard.clock import SystemClock
from guard.core.envelope import Kind, digest, encode, parse, sign
from guard.core.fields import format_time
from guard.core.grant import parse_grant
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, encode_receipt
from guard.keys import load_signer
from tests.builders.healths import OBSERVING

_OPTIONS = [("grpc.ssl_target_name_override", "guard"), ("grpc.enable_http_proxy", 0)]


class Node:
    """Runs a session on threads of gRPC; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(folder / "agent.toml")
        self._signer = load_signer(self.config.signing_key)
        self._up: queue.Queue[messages.SessionRequest | None] = queue.Queue()
        self._sequence, self._previous = 0, FIRST_PREVIOUS
        self._sealed: dict[tuple[str, int], bytes] = {}
        self._lock = threading.Lock()
        self.stored = threading.Event()
        self.health, self.challenge = OBSERVING, ""
        self.live: dict[str, CaptureCounters] = {}

    def __enter__(self) -> Self:
        tls = self.config.tls
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
        )
        self._channel = grpc.secure_channel(self.config.guard, credentials, options=_OPTIONS)
        hello = messages.Hello(agent_version="0", trust_version=1)
        self._up.put(messages.SessionRequest(hello=hello))
        self._down = NodeServiceStub(self._channel).Session(self._requests())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._up.put(None)
        self._down.cancel()
        self._thread.join()
        self._channel.close()

    def _requests(self) -> Iterator[messages.SessionRequest]:
        while (message := self._up.get()) is not None:
            yield message

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in self._down:
                match message.WhichOneof("event"):
                    case "state_delta":
                        self._obey(message.state_delta)
                    case "segment_wanted":
                        self._upload(message.segment_wanted)
                    case "challenge":
                        self.challenge = message.challenge.nonce.hex()
                    case "segment_stored":
                        self.stored.set()

    def _obey(self, delta: messages.StateDelta) -> None:
        for evidence in delta.offered:
            grant = parse_grant(parse(evidence.grant, Kind.GRANT).payload)
            self.live[grant.id] = CaptureCounters()
            self.state(ReceiptKind.ARMED, grant.id)
            self.beat()
        for withdrawn in delta.withdrawn:
            if self.live.pop(withdrawn.grant_id, None) is not None:
                self.state(ReceiptKind.DISARMED, withdrawn.grant_id, reason="stopped")

    def _upload(self, wanted: messages.SegmentWanted) -> None:
        data = self._sealed[wanted.capture_id, wanted.number]
        chunk = messages.SegmentChunk(
            capture_id=wanted.capture_id,
            number=wanted.number,
            offset=wanted.offset,
            data=data[wanted.offset :],
        )
        self._up.put(messages.SessionRequest(segment_chunk=chunk))

    def beat(self) -> None:
        """Send a heartbeat with the counters of everything armed."""
        heartbeat = messages.Heartbeat(boot_time_ns=1)
        heartbeat.wall_time.FromDatetime(SystemClock.now())
        for grant_id, counters in self.live.items():
            armed = heartbeat.armed.add(grant_id=grant_id, counters=counters)
            armed.lease_until.FromDatetime(SystemClock.now() + timedelta(seconds=30))
        self._up.put(messages.SessionRequest(heartbeat=heartbeat))

    def state(
        self,
        kind: ReceiptKind,
        grant_id: str | None,
        *,
        armed: tuple[str, ...] | None = None,
        **details: str | int,
    ) -> bytes:
        """Sign the next receipt, send it, and return its envelope; ``armed``: of a heartbeat."""
        if armed is not None:
            details["armed"] = len(armed)
        with self._lock:
            self._sequence += 1
            receipt = Receipt(
                node=self.config.node,
                sequence=self._sequence,
                previous=self._previous,
                kind=kind,
                time=SystemClock.now(),
                grant_id=grant_id,
                details=details,
                armed=armed or (),
                health=self.health if kind is ReceiptKind.HEARTBEAT else None,
            )
            envelope = encode(sign(encode_receipt(receipt), Kind.RECEIPT, self._signer))
            self._previous = digest(envelope)
            self._up.put(messages.SessionRequest(receipt=messages.Receipt(envelope=envelope)))
        return envelope

    def seal(self, grant_id: str, number: int, sealed: bytes) -> None:
        """Hand the guard a sealed segment and wait until it is stored."""
        now = format_time(SystemClock.now())
        receipt = self.state(
            ReceiptKind.SEALED,
            grant_id,
            number=number,
            sha256=hashlib.sha256(sealed).hexdigest(),
            size=len(sealed),
            packets=1,
            bytes=100,
            drops=0,
            first=now,
            last=now,
        )
        self._sealed[grant_id, number] = sealed
        self.stored.clear()
        header = SegmentHeader(
            capture_id=grant_id,
            number=number,
            size=len(sealed),
            sha256=hashlib.sha256(sealed).digest(),
            receipt=receipt,
        )
        offer = messages.SegmentOffer(header=header)
        self._up.put(messages.SessionRequest(segment_offer=offer))
        assert self.stored.wait(10), "the guard did not store the segment"
