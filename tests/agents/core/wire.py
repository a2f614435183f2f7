"""Frames and messages as they are on the wire, built with struct alone."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from agents.core.flow import FlowKey, mapped
from agents.core.instant import Instant
from agents.core.packet import Datagram, Fragment, read_frame

TORTURE = Path(__file__).parents[2] / "data" / "rfc4475"
EPOCH = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def torture(name: str) -> bytes:
    return (TORTURE / f"{name}.dat").read_bytes()


def torture_names() -> list[str]:
    return sorted(path.stem for path in TORTURE.glob("*.dat"))


def at(seconds: float) -> Instant:
    return Instant(boot_ns=round(seconds * 1e9), wall=EPOCH)


def key(address: str, port: int) -> FlowKey:
    return FlowKey(address=mapped(address), port=port)


def udp(payload: bytes, sport: int = 5060, dport: int = 5060) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def ipv4(
    body: bytes,
    src: str,
    dst: str,
    *,
    protocol: int = 17,
    ident: int = 1,
    flags: int = 0,
    options: bytes = b"",
) -> bytes:
    size = 20 + len(options)
    first = 0x40 | size // 4
    fixed = struct.pack("!BBHHHBBH", first, 0, size + len(body), ident, flags, 64, protocol, 0)
    return fixed + ip_address(src).packed + ip_address(dst).packed + options + body


def ipv6(body: bytes, src: str, dst: str, *, following: int = 17) -> bytes:
    fixed = struct.pack("!IHBB", 6 << 28, len(body), following, 64)
    return fixed + ip_address(src).packed + ip_address(dst).packed + body


def ethernet(packet: bytes, *tags: int) -> bytes:
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    outer = b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return b"\2\0\0\0\0\1\2\0\0\0\0\2" + outer + struct.pack("!H", kind) + packet


def frame(
    payload: bytes,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    sport: int = 5060,
    dport: int = 5060,
) -> bytes:
    pack = ipv6 if ":" in src else ipv4
    return ethernet(pack(udp(payload, sport, dport), src, dst))


def datagram(
    payload: bytes,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    sport: int = 5060,
    dport: int = 5060,
    *,
    interface: int = 1,
    outgoing: bool = False,
) -> Datagram:
    read = read_frame(
        frame(payload, src, dst, sport, dport), interface=interface, outgoing=outgoing
    )
    assert isinstance(read, Datagram)
    return read


def ipv4_fragments(
    payload: bytes, size: int, *, ident: int = 9, src: str = "10.0.0.1", dst: str = "10.0.0.2"
) -> list[bytes]:
    """Return the frames of one datagram cut into pieces of `size` (a multiple of 8)."""
    whole = udp(payload)
    return [
        ethernet(
            ipv4(
                whole[start : start + size],
                src,
                dst,
                ident=ident,
                flags=start // 8 | (0x2000 if start + size < len(whole) else 0),
            )
        )
        for start in range(0, len(whole), size)
    ]


def ipv6_fragments(payload: bytes, size: int, *, ident: int = 9) -> list[bytes]:
    whole = udp(payload)
    return [
        ethernet(
            ipv6(
                struct.pack("!BBHI", 17, 0, start | (start + size < len(whole)), ident)
                + whole[start : start + size],
                "2001:db8::1",
                "2001:db8::2",
                following=44,
            )
        )
        for start in range(0, len(whole), size)
    ]


def fragment(octets: bytes, *, interface: int = 1, outgoing: bool = False) -> Fragment:
    read = read_frame(octets, interface=interface, outgoing=outgoing)
    assert isinstance(read, Fragment)
    return read
