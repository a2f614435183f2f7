"""Sends garbage to a port from many sockets, so many datagrams a second, for so many seconds."""

from __future__ import annotations

import os
import socket
import sys
import time

SOCKETS = 32
BATCH = 50


def main() -> None:
    """Flood, and say how much was sent."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    garbage = [b"d7:command5:offer" + os.urandom(200), b"x" * 900, b"1 d4:sdp!", os.urandom(64)]
    sent, start = 0, time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        if sent > rate * now:
            time.sleep(0.0005)
            continue
        for _ in range(BATCH):
            sockets[sent % SOCKETS].sendto(garbage[sent % len(garbage)], ("127.0.0.1", port))
            sent += 1
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    main()
