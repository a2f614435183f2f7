"""Proves each filter before a socket has it.

1. A packet whose entry is live passes, with exactly the length that its level allows.
2. The same packet does not pass when its entry has expired, nor when it has none.
3. A content entry does not make the headers filter pass anything.

If one of these fails, the filter is not what it was compiled from, or the kernel runs it
wrongly: KernelError, and nothing is opened. The canary's address is from RFC 5737, its
domain from RFC 2606: no real call has them.
"""

from __future__ import annotations

import struct
from typing import Final

from agents.core.flow import FlowKey
from agents.kernel.bpf import run
from agents.kernel.errors import KernelError

FLOW: Final = FlowKey.to("192.0.2.1", 9)
IDENTITY: Final = "canary@callguard.invalid"
LIVE: Final = 2**64 - 1  # a deadline that never comes
EXPIRED: Final = 1  # a deadline one nanosecond after boot
_HEADERS = 14 + 20 + 8
_RTP = struct.pack("!BBHII", 0x80, 0, 1, 160, 1)
_VOICE = b"\xd5" * 160


def frame(port: int, payload: bytes) -> bytes:
    """Build a UDP datagram from 192.0.2.2 to the canary's address, in an Ethernet frame."""
    udp = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    addresses = bytes((192, 0, 2, 2)) + FLOW.address[12:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + udp


MEDIA: Final = frame(FLOW.port, _RTP + _VOICE)
HEADERS_KEPT: Final = _HEADERS + len(_RTP)


def message(port: int) -> bytes:
    """Build a SIP message about the canary's identity."""
    return frame(port, f"OPTIONS sip:{IDENTITY} SIP/2.0\r\n\r\n".encode())


def expect(program: int, packet: bytes, interface: int, *, kept: int, claim: str) -> None:
    """Run a filter on a packet. Raises KernelError unless it keeps `kept` octets (at most all)."""
    returned, _ = run(program, packet, interface=interface)
    if min(returned, len(packet)) != kept:
        raise KernelError(f"a filter failed its test before use ({claim}); nothing was opened")
