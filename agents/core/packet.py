"""A frame from the wire as a UDP datagram, a fragment of one, or nothing.

1. Nothing here raises on any input: a frame that cannot be read is `None`.
2. Addresses are 16 bytes, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
3. Lengths come from the IP and UDP headers, so Ethernet padding is not payload; a frame that the
   capture cut short gives the part that is there.
4. Checksums are not looked at: offloading leaves them unset on packets that the node sends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

UDP = 17
_VLAN = frozenset((0x8100, 0x88A8, 0x9100))
_IPV4, _IPV6 = 0x0800, 0x86DD
_MAPPED = b"\0" * 10 + b"\xff\xff"
_ETHERNET, _IPV4_LEAST, _IPV6_LENGTH, _UDP_LENGTH, _FRAGMENT_LENGTH = 14, 20, 40, 8, 8
_FRAGMENT, _AUTHENTICATION = 44, 51
# Hop-by-hop, routing, authentication, destination options, mobility, HIP, shim6 (IANA registry).
_EXTENSIONS = frozenset((0, 43, _AUTHENTICATION, 60, 135, 139, 140))
# What can stand before UDP in the fragmentable part of an IPv6 packet.
_BEFORE_UDP = _EXTENSIONS | {UDP}
_U16 = struct.Struct("!H").unpack_from
_U32 = struct.Struct("!I").unpack_from
_UDP = struct.Struct("!HHH").unpack_from
_IPV4_FIELDS = struct.Struct("!BxHHHxB").unpack_from


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram, with the frame that carried it (or one rebuilt from its fragments).

    `payload_offset` is the place of the payload in `frame`; `original_length` is what the wire
    carried, in bytes; `timestamp_ns` is wall clock time of arrival.
    """

    frame: bytes = field(repr=False)
    src: bytes = field(repr=False)
    sport: int = field(repr=False)
    dst: bytes = field(repr=False)
    dport: int = field(repr=False)
    payload: bytes = field(repr=False)
    outgoing: bool
    timestamp_ns: int
    interface: int
    original_length: int
    payload_offset: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of an IP packet that may carry UDP.

    `header` is the frame up to the fragmentable part, without IPv6's fragment header; `offset` is
    in bytes; `chain` is the place in `header` of the byte that names what follows it.
    """

    frame: bytes = field(repr=False)
    header: bytes = field(repr=False)
    network: int
    chain: int
    protocol: int
    src: bytes = field(repr=False)
    dst: bytes = field(repr=False)
    ident: int
    offset: int
    more: bool
    payload: bytes = field(repr=False)
    outgoing: bool
    timestamp_ns: int
    interface: int
    original_length: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """How the frame came: what a frame does not say of itself."""

    outgoing: bool
    timestamp_ns: int
    interface: int
    original_length: int


def read_frame(
    frame: bytes,
    *,
    timestamp_ns: int = 0,
    interface: int = 0,
    outgoing: bool = False,
    original_length: int | None = None,
) -> Datagram | Fragment | None:
    """Read an Ethernet frame (VLAN and QinQ tags, IPv4 with options, IPv6 with extensions)."""
    length = len(frame) if original_length is None else original_length
    seen = _Seen(outgoing, timestamp_ns, interface, length)
    try:
        kind, offset = _U16(frame, 12)[0], _ETHERNET
        while kind in _VLAN:
            kind, offset = _U16(frame, offset + 2)[0], offset + 4
        if kind == _IPV4:
            return _read_ipv4(frame, offset, seen)
        if kind == _IPV6:
            return _read_ipv6(frame, offset, seen)
    except (struct.error, IndexError):
        return None
    return None


def _read_ipv4(frame: bytes, offset: int, seen: _Seen) -> Datagram | Fragment | None:
    first, total, ident, flags, protocol = _IPV4_FIELDS(frame, offset)
    size = (first & 0x0F) * 4
    # A total length of zero is how segmentation offload says "see the frame".
    end = offset + total if total else len(frame)
    if first >> 4 != 4 or size < _IPV4_LEAST or protocol != UDP or end < offset + size:  # noqa: PLR2004 - the version is 4
        return None
    src, dst = (
        _MAPPED + frame[offset + 12 : offset + 16],
        _MAPPED + frame[offset + 16 : offset + 20],
    )
    if not flags & 0x3FFF:
        return _read_udp(frame, offset + size, end, src, dst, seen)
    if end > len(frame):
        return None
    return Fragment(
        frame, frame[: offset + size], offset, offset + 9, protocol, src, dst, ident,
        (flags & 0x1FFF) * 8, bool(flags & 0x2000), frame[offset + size : end],
        seen.outgoing, seen.timestamp_ns, seen.interface, seen.original_length,
    )  # fmt: skip


def _read_ipv6(frame: bytes, offset: int, seen: _Seen) -> Datagram | Fragment | None:
    if frame[offset] >> 4 != 6:  # noqa: PLR2004 - the version is 6
        return None
    end = offset + _IPV6_LENGTH + _U16(frame, offset + 4)[0]
    src, dst = frame[offset + 8 : offset + 24], frame[offset + 24 : offset + 40]
    chain, place = offset + 6, offset + _IPV6_LENGTH
    protocol = frame[chain]
    while place < end:
        if protocol == UDP:
            return _read_udp(frame, place, end, src, dst, seen)
        if protocol == _FRAGMENT:
            parts = _U16(frame, place + 2)[0]
            # RFC 6946: a fragment that is the whole packet is read by itself.
            if parts & 0xFFF9:
                return _ipv6_fragment(frame, offset, chain, place, end, seen)
            size = _FRAGMENT_LENGTH
        elif protocol in _EXTENSIONS:
            words = frame[place + 1]
            size = (words + 2) * 4 if protocol == _AUTHENTICATION else (words + 1) * 8
        else:
            return None
        protocol, chain, place = frame[place], place, place + size
    return None


def _ipv6_fragment(
    frame: bytes, network: int, chain: int, place: int, end: int, seen: _Seen
) -> Fragment | None:
    protocol, start = frame[place], place + _FRAGMENT_LENGTH
    parts = _U16(frame, place + 2)[0]
    if end > len(frame) or start > end or protocol not in _BEFORE_UDP:
        return None
    return Fragment(
        frame, frame[:place], network, chain, protocol,
        frame[network + 8 : network + 24], frame[network + 24 : network + 40],
        _U32(frame, place + 4)[0], parts & 0xFFF8, bool(parts & 1), frame[start:end],
        seen.outgoing, seen.timestamp_ns, seen.interface, seen.original_length,
    )  # fmt: skip


def _read_udp(
    frame: bytes, offset: int, end: int, src: bytes, dst: bytes, seen: _Seen
) -> Datagram | None:
    sport, dport, length = _UDP(frame, offset)
    start = offset + _UDP_LENGTH
    if length < _UDP_LENGTH or end < start or len(frame) < start:
        return None
    return Datagram(
        frame, src, sport, dst, dport, frame[start : min(end, offset + length)],
        seen.outgoing, seen.timestamp_ns, seen.interface, seen.original_length, start,
    )  # fmt: skip
