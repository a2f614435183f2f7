"""Sends garbage to a port from many sockets, as fast as it can, until it is told to stop.

Half of it is octets at random, half has a cookie and looks like a message at first.
"""

from __future__ import annotations

import random
import secrets
import signal
import socket
import sys
import time

SOCKETS = 200
BATCH = 500


def main() -> None:
    """Flood, and say how much a second was sent."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    for one in sockets:
        one.setblocking(False)
        one.connect(("127.0.0.1", int(sys.argv[1])))
    garbage = [random.randbytes(random.randrange(1, 700)) for _ in range(200)]
    garbage += [secrets.token_hex(6).encode() + b" d" + each for each in garbage]
    random.shuffle(garbage)
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    sent, start = 0, time.perf_counter()
    while not stop:
        for _ in range(BATCH):
            sent += 1
            try:
                sockets[sent % SOCKETS].send(garbage[sent % len(garbage)])
            except OSError:
                continue
    sys.stdout.write(f"{sent / (time.perf_counter() - start):.0f}\n")


if __name__ == "__main__":
    main()
