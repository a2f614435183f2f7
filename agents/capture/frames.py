"""Find where a captured frame goes to: the key of its flow.

A key is the address and the port as they stand in the packet: 6 octets for IPv4, 18 for IPv6. The
kernel let the frame pass for the same destination; this reads again what it has read. A frame that
cannot be read has no key and belongs to nobody.
"""

from __future__ import annotations

from typing import Final

from agents.core.flow import FlowKey
from agents.core.packet import UDP, Datagram, read_frame

#: Ethernet type IPv4, version 4, header of 20 octets: then the destination is at fixed places.
PLAIN_IPV4: Final = b"\x08\x00\x45"

_IPV6: Final = b"\x86\xdd"
_MAPPED: Final = bytes(10) + b"\xff\xff"


def flow_octets(key: FlowKey) -> bytes:
    """Return a flow's key as it stands in packets."""
    return _octets(key.address, key.port)


def destination(frame: bytes) -> bytes | None:
    """Return the key of a frame's destination, none if it is not UDP or cannot be read."""
    if frame[12:14] == _IPV6 and frame[20:21] == bytes((UDP,)):
        return _octets(frame[38:54], int.from_bytes(frame[56:58], "big"))
    read = read_frame(frame)
    return _octets(read.dst, read.dport) if isinstance(read, Datagram) else None


def _octets(address: bytes, port: int) -> bytes:
    shown = address.removeprefix(_MAPPED)
    return shown + port.to_bytes(2, "big")
