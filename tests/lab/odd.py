"""Packets written by scapy, for what no phone of the lab would send."""

from __future__ import annotations

import struct

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

__all__ = ["ipv4", "ipv6_with_extensions", "plain", "rtp", "sip", "tagged"]


def sip(start: str, number: str, call: str, host: str, port: int, *, odd: bool = False) -> bytes:
    """Write an INVITE or its answer with a session description."""
    family = "IP6" if ":" in host else "IP4"
    body = f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
    start_of_from = 'f  :\r\n  "Odd, \\"name\\"" ' if odd else "From: "
    header = (
        f"{start}\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{call}\r\n"
        f"{start_of_from}<sip:{number}@{host}>;tag=a\r\n"
        f"To: <sip:+15551111@example.com>{';tag=b' if start.startswith('SIP') else ''}\r\n"
        f"Call-ID{' ' if odd else ''}: {call}\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return (header + body).encode()


def rtp(pattern: bytes, n: int, *, odd: bool) -> bytes:
    """Write one RTP packet, with two CSRCs and a header extension if ``odd``."""
    first, middle = 0x80, b""
    if odd:
        first = 0x80 | 0x10 | 2
        middle = struct.pack("!II", 1, 2) + struct.pack("!HH", 0xBEDE, 1) + b"\x10\x7f\x00\x00"
    return struct.pack("!BBHII", first, 8, n, 160 * n, 7) + middle + pattern * 8


def ipv4(source: tuple[str, int], target: tuple[str, int], payload: bytes) -> Packet:
    """Write a datagram over IPv4."""
    return IP(src=source[0], dst=target[0]) / UDP(sport=source[1], dport=target[1]) / Raw(payload)


def ipv6_with_extensions(
    source: tuple[str, int], target: tuple[str, int], payload: bytes
) -> Packet:
    """Write a datagram over IPv6 with two extension headers."""
    return (
        IPv6(src=source[0], dst=target[0])
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrDestOpt()
        / UDP(sport=source[1], dport=target[1])
        / Raw(payload)
    )


def tagged(packet: Packet) -> bytes:
    """Put a packet under two 802.1Q tags."""
    return bytes(
        Ether(src="02:00:00:00:00:66", dst="02:00:00:00:00:01")
        / Dot1Q(vlan=42)
        / Dot1Q(vlan=7)
        / packet
    )


def plain(packet: Packet) -> bytes:
    """Put a packet on Ethernet."""
    return bytes(Ether(src="02:00:00:00:00:66", dst="02:00:00:00:00:01") / packet)
