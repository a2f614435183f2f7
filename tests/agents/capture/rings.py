"""A ring and a clock that a test drives, with the contract of the kernel's."""

from __future__ import annotations

import threading
from collections import deque

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

WALL_OFFSET = 1_795_471_200_000_000_000
MS = 1_000_000


class Clock:
    """Boot and wall clock; `offset` is wall minus boot and may be set at any time."""

    def __init__(self) -> None:
        self.boot = 1_000_000 * MS
        self.offset = WALL_OFFSET

    def __call__(self) -> tuple[int, int]:
        return self.boot, self.boot + self.offset

    @property
    def wall(self) -> int:
        """The wall clock."""
        return self.boot + self.offset

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.boot += ms * MS


class FakeRing:
    """Blocks of packets, oldest first; frames are invalid once their block was read."""

    def __init__(self, patience: float = 0.005) -> None:
        self._patience = patience
        self._blocks = deque()
        self._changed = threading.Condition()
        self.dropped = 0
        self.broken = None

    def push(self, packets) -> None:
        """Hand over a block of (wall nanoseconds, frame), optionally with lengths and interface."""
        with self._changed:
            self._blocks.append([Packet(*packet) for packet in packets])
            self._changed.notify_all()

    def wait_empty(self) -> None:
        """Wait until every block was taken."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._blocks, 10)

    def poll(self, timeout_ms: int) -> bool:
        with self._changed:
            if self.broken:
                raise self.broken
            return self._changed.wait_for(lambda: self._blocks, self._patience)

    def read_block(self):
        with self._changed:
            packets = self._blocks[0] if self._blocks else []
        try:
            for packet in packets:
                yield packet.as_tuple()
        finally:
            for packet in packets:
                packet.view.release()
            with self._changed:
                if self._blocks:
                    self._blocks.popleft()
                self._changed.notify_all()

    def statistics(self) -> tuple[int, int]:
        return 0, self.dropped


class Packet:
    def __init__(self, wall: int, frame: bytes, original: int = 0, interface: int = 2) -> None:
        self.wall, self.original, self.interface = wall, original or len(frame), interface
        self.view = memoryview(bytearray(frame))

    def as_tuple(self):
        seconds, nanoseconds = divmod(self.wall, 1_000_000_000)
        return (
            seconds,
            nanoseconds,
            len(self.view),
            self.original,
            self.interface,
            self.view,
        )


def udp4(address: str, port: int, payload: bytes = b"voice", *, vlan: int = 0, options=()) -> bytes:
    """Return a UDP frame over IPv4."""
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    if vlan:
        link /= Dot1Q(vlan=vlan)
    return bytes(
        link
        / IP(src="192.0.2.9", dst=address, options=list(options))
        / UDP(sport=4000, dport=port)
        / Raw(payload)
    )


def udp6(address: str, port: int, payload: bytes = b"voice", *extensions) -> bytes:
    """Return a UDP frame over IPv6, with extension headers."""
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IPv6(
        src="2001:db8::9", dst=address
    )
    for extension in extensions:
        packet /= extension
    return bytes(packet / UDP(sport=4000, dport=port) / Raw(payload))
