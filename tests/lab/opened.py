"""An opened capture, taken apart with scapy: what is in it, and above all what is not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import RawPcapNgReader

__all__ = ["Opened", "Seen"]


@dataclass(frozen=True)
class Seen:
    """One captured frame."""

    frame: bytes
    original_length: int
    nanoseconds: int
    source: str
    destination: str
    ports: tuple[int, int]
    payload: bytes
    vlan: int

    @property
    def is_media(self) -> bool:
        """Tell media by the lab's media ports."""
        return self.ports[1] >= 20000

    @property
    def is_signalling(self) -> bool:
        """Tell signalling by SIP's port."""
        return 5060 in self.ports


@dataclass(frozen=True)
class Opened:
    """A ``.pcapng`` as a recipient has it."""

    path: Path

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def frames(self) -> list[Seen]:
        """Every frame, in order."""
        return [self._seen(frame, meta) for frame, meta in RawPcapNgReader(str(self.path))]

    @property
    def media(self) -> list[Seen]:
        """The media packets."""
        return [f for f in self.frames if f.is_media]

    @property
    def signalling(self) -> list[Seen]:
        """The SIP messages."""
        return [f for f in self.frames if f.is_signalling]

    def count(self, pattern: bytes) -> int:
        """Count the frames that hold ``pattern``."""
        return sum(pattern in f.frame for f in self.frames)

    def call_ids(self) -> set[str]:
        """Every Call-ID in the signalling."""
        found = set()
        for seen in self.signalling:
            for line in seen.payload.split(b"\r\n"):
                if line.lower().startswith(b"call-id:"):
                    found.add(line.split(b":", 1)[1].strip().decode())
        return found

    @staticmethod
    def _seen(frame: bytes, meta: object) -> Seen:
        packet = Ether(frame)
        network = packet.getlayer(IP) or packet.getlayer(IPv6)
        udp = packet.getlayer(UDP)
        time = (meta.tshigh << 32 | meta.tslow) * (10**9 // meta.tsresol)  # type: ignore[attr-defined]
        return Seen(
            frame=frame,
            original_length=meta.wirelen,  # type: ignore[attr-defined]
            nanoseconds=time,
            source=network.src if network else "",
            destination=network.dst if network else "",
            ports=(udp.sport, udp.dport) if udp else (0, 0),
            payload=bytes(udp.payload) if udp else b"",
            vlan=packet[Dot1Q].vlan if Dot1Q in packet else 0,
        )
