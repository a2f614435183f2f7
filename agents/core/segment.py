"""A frame from the wire as a TCP segment, or nothing.

1. Nothing here raises on any input: a frame that cannot be read, or is a fragment, is `None`.
2. Lengths come from the IP header, so Ethernet padding is no data; a frame that the capture cut
   short is not read.
3. Checksums are not looked at, as in `packet`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = ["FIN", "RST", "SYN", "Segment", "read_segment", "rebuilt"]

FIN, SYN, RST = 0x01, 0x02, 0x04

_TCP = 6
_VLAN = frozenset((0x8100, 0x88A8, 0x9100))
_IPV4, _IPV6 = 0x0800, 0x86DD
_ETHERNET, _IPV4_LEAST, _IPV6_LENGTH, _TCP_LEAST = 14, 20, 40, 20
_MAPPED = b"\0" * 10 + b"\xff\xff"
# Hop-by-hop, routing, destination options: what stands before TCP on networks that carry voice.
_EXTENSIONS = frozenset((0, 43, 60))
_LARGEST = 0xFFFF
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One TCP segment. ``network``, ``transport``: offsets of the headers in ``frame``.

    Addresses are 16 bytes, IPv4 as `::ffff:a.b.c.d`; ``timestamp_ns`` is wall clock.
    """

    frame: bytes = field(repr=False)
    network: int
    transport: int
    src: bytes = field(repr=False)
    sport: int = field(repr=False)
    dst: bytes = field(repr=False)
    dport: int = field(repr=False)
    sequence: int
    flags: int
    payload: bytes = field(repr=False)
    timestamp_ns: int
    interface: int
    outgoing: bool


def read_segment(
    frame: bytes, *, timestamp_ns: int = 0, interface: int = 0, outgoing: bool = False
) -> Segment | None:
    """Read an Ethernet frame (VLAN and QinQ tags, IPv4 with options, IPv6 with extensions)."""
    try:
        kind, network = _U16.unpack_from(frame, 12)[0], _ETHERNET
        while kind in _VLAN:
            kind, network = _U16.unpack_from(frame, network + 2)[0], network + 4
        if kind == _IPV4:
            found = _ipv4(frame, network)
        elif kind == _IPV6:
            found = _ipv6(frame, network)
        else:
            return None
        if found is None:
            return None
        src, dst, transport, end = found
        start = transport + (frame[transport + 12] >> 4) * 4
        if start < transport + _TCP_LEAST or start > end or end > len(frame):
            return None
        return Segment(
            frame=frame,
            network=network,
            transport=transport,
            src=src,
            sport=_U16.unpack_from(frame, transport)[0],
            dst=dst,
            dport=_U16.unpack_from(frame, transport + 2)[0],
            sequence=_U32.unpack_from(frame, transport + 4)[0],
            flags=frame[transport + 13],
            payload=frame[start:end],
            timestamp_ns=timestamp_ns,
            interface=interface,
            outgoing=outgoing,
        )
    except (struct.error, IndexError):
        return None


def _ipv4(frame: bytes, at: int) -> tuple[bytes, bytes, int, int] | None:
    size = (frame[at] & 0x0F) * 4
    total = _U16.unpack_from(frame, at + 2)[0]
    fragment = _U16.unpack_from(frame, at + 6)[0] & 0x3FFF
    if frame[at] >> 4 != 4 or size < _IPV4_LEAST or fragment or frame[at + 9] != _TCP:  # noqa: PLR2004 - the version is 4
        return None
    # A total length of zero is how segmentation offload says "see the frame".
    end = at + total if total else len(frame)
    src, dst = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
    return _MAPPED + src, _MAPPED + dst, at + size, end


def _ipv6(frame: bytes, at: int) -> tuple[bytes, bytes, int, int] | None:
    if frame[at] >> 4 != 6:  # noqa: PLR2004 - the version is 6
        return None
    length = _U16.unpack_from(frame, at + 4)[0]
    end = at + _IPV6_LENGTH + length if length else len(frame)
    following, place = frame[at + 6], at + _IPV6_LENGTH
    while following in _EXTENSIONS:
        following, place = frame[place], place + (frame[place + 1] + 1) * 8
    if following != _TCP:
        return None
    return frame[at + 8 : at + 24], frame[at + 24 : at + 40], place, end


def rebuilt(segment: Segment, sequence: int, payload: bytes) -> tuple[bytes, int] | None:
    """Return a frame with the segment's headers around another payload, and the payload's offset.

    Options of TCP are left out, checksums are those of IPv4 only; None when it does not fit.
    """
    network, transport = segment.network, segment.transport
    header = bytearray(segment.frame[: transport + _TCP_LEAST])
    _U32.pack_into(header, transport + 4, sequence)
    header[transport + 12] = (_TCP_LEAST // 4) << 4
    header[transport + 16 : transport + 18] = b"\0\0"
    length = len(header) - network + len(payload)
    if header[network] >> 4 == 4:  # noqa: PLR2004 - the version is 4
        if length > _LARGEST:
            return None
        _U16.pack_into(header, network + 2, length)
        header[network + 10 : network + 12] = b"\0\0"
        _U16.pack_into(header, network + 10, _checksum(bytes(header[network:transport])))
    else:
        if length - _IPV6_LENGTH > _LARGEST:
            return None
        _U16.pack_into(header, network + 4, length - _IPV6_LENGTH)
    return bytes(header) + payload, len(header)


def _checksum(header: bytes) -> int:
    """Return the checksum of an IPv4 header (RFC 1071)."""
    total: int = sum(word for (word,) in _U16.iter_unpack(header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
