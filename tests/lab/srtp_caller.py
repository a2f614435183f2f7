"""Speaks to a relay's port in SRTP (RFC 3711), from the caller's address: port, packets."""

from __future__ import annotations

import base64
import socket
import struct
import sys
import time

from pylibsrtp import Policy, Session

from tests.lab import media

__all__ = ["KEY"]

KEY = base64.b64encode(bytes(range(30))).decode()
CALLER, NODE = ("10.77.1.2", 40000), "10.77.1.1"


def main() -> None:
    """Send the voice."""
    port, packets = int(sys.argv[1]), int(sys.argv[2])
    policy = Policy(key=base64.b64decode(KEY), ssrc_type=Policy.SSRC_ANY_OUTBOUND)
    session = Session(policy)
    voice = media.CALLER_VOICE * 8
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(CALLER)
        for number in range(packets):
            header = struct.pack("!BBHII", 0x80, media.PCMA, number + 1, 160 * number, 0x77)
            packet = session.protect(header + voice)
            assert voice not in packet
            phone.sendto(packet, (NODE, port))
            time.sleep(0.01)


if __name__ == "__main__":
    main()
