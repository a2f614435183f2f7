"""The kernel of a node, in memory: maps that can be looked at, a socket and rings fed by the test.

It decides like the filters do: a frame passes if its destination is in the map of the level with a
deadline still to come, on the clock that the test gives.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator

from agents.core.flow import FlowKey
from agents.core.packet import Datagram, read_frame
from agents.kernel.errors import KernelError
from agents.kernel.signalling import Frame
from guard.core.level import Level

__all__ = ["FakeRing", "FakeSignalling", "KernelSimulator"]

Packet = tuple[int, int, int, int, int, memoryview]


class FakeRing:
    """A packet ring; `put` is the kernel's side."""

    def __init__(self) -> None:
        self._packets: deque[Packet] = deque()
        self._ready = threading.Event()
        self.dropped = 0

    def put(self, frame: bytes, wall_ns: int, *, kept: int | None = None) -> None:
        data = frame if kept is None else frame[:kept]
        seconds, rest = divmod(wall_ns, 1_000_000_000)
        self._packets.append((seconds, rest, len(data), len(frame), 1, memoryview(data)))
        self._ready.set()

    def poll(self, timeout_ms: int) -> bool:
        return self._ready.wait(timeout_ms / 1000)

    def read_block(self) -> Iterator[Packet]:
        while self._packets:
            yield self._packets.popleft()
        self._ready.clear()

    def statistics(self) -> tuple[int, int]:
        return 0, self.dropped


class FakeSignalling:
    """The signalling socket; `put` is the kernel's side."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._frames: deque[Frame] = deque()

    def put(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._far.send(b"x")

    def fileno(self) -> int:
        return self._near.fileno()

    def read(self) -> list[Frame]:
        self._near.recv(4096)
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def close(self) -> None:
        self._near.close()
        self._far.close()


class KernelSimulator:
    """Maps, socket and rings. ``now`` returns (boot, wall) nanoseconds."""

    def __init__(self, now: Callable[[], tuple[int, int]]) -> None:
        self._now = now
        self.flows: dict[tuple[Level, FlowKey], int] = {}
        self.identities: dict[int, int] = {}
        self.peers: dict[tuple[bytes, int], int] = {}
        self.signalling = FakeSignalling()
        self.headers = FakeRing()
        self.content = FakeRing()
        self.full = False
        self.closed = False

    def set_flow(self, level: Level, key: FlowKey, deadline_boot_ns: int) -> None:
        if self.full:
            raise KernelError("writing to the map: the map is full")
        self.flows[level, key] = deadline_boot_ns

    def clear_flow(self, level: Level, key: FlowKey) -> None:
        self.flows.pop((level, key), None)

    def set_identity(self, identity_hash: int, deadline_boot_ns: int) -> None:
        if self.full:
            raise KernelError("writing to the map: the map is full")
        self.identities[identity_hash] = deadline_boot_ns

    def clear_identity(self, identity_hash: int) -> None:
        self.identities.pop(identity_hash, None)

    def set_peer(self, address: bytes, port: int, deadline_boot_ns: int) -> None:
        self.peers[address, port] = deadline_boot_ns

    def clear_peer(self, address: bytes, port: int) -> None:
        self.peers.pop((address, port), None)

    @staticmethod
    def identity_hashes(subject_kind: str, value: str) -> tuple[int, ...]:
        if "\n" in value:
            raise ValueError("not looked for in messages")
        # Spellings that differ only behind a semicolon share one hash, as in the kernel.
        return tuple(
            {hash((subject_kind, value)), hash((subject_kind, value.split(";", maxsplit=1)[0]))}
        )

    def close(self) -> None:
        self.closed = True
        self.signalling.close()

    # -- the wire ------------------------------------------------------------------------------

    def signal(self, message: Datagram) -> None:
        """Let a SIP message pass, if anything is armed."""
        boot, wall = self._now()
        if any(deadline > boot for deadline in (*self.identities.values(), *self.peers.values())):
            self.signalling.put(
                Frame(
                    data=message.frame,
                    timestamp_ns=wall,
                    interface=1,
                    outgoing=message.outgoing,
                    original_length=len(message.frame),
                )
            )

    def media(self, frame: bytes) -> int:
        """Let a media frame pass where its flow is armed; say at how many levels it was."""
        boot, wall = self._now()
        read = read_frame(frame)
        assert isinstance(read, Datagram)
        key = FlowKey(address=read.dst, port=read.dport)
        passed = 0
        if self.flows.get((Level.MEDIA_HEADERS, key), 0) > boot:
            self.headers.put(frame, wall, kept=read.payload_offset + 12)
            passed += 1
        if self.flows.get((Level.CONTENT, key), 0) > boot:
            self.content.put(frame, wall)
            passed += 1
        return passed
