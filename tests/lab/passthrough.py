"""Stands between the proxy and the relay and passes everything on: what a gate must not differ from.

``python -m tests.lab.passthrough PORT RELAY_PORT [FROM TO]``. With FROM and TO it spoils the relay's
answers: the one is replaced by the other, which must leave the encoding whole. That shows that a
comparison of calls would notice.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.network import Network, end
from tests.lab.relay import NG

__all__ = ["passing_through"]

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


@contextmanager
def passing_through(
    network: Network, port: int, *, spoiled: tuple[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Pass on what comes to ``port`` on the node, for the time of the block."""
    process = network.start(
        "node",
        *(sys.executable, "-m", "tests.lab.passthrough", str(port), str(NG), *(spoiled or ())),
        cwd=ROOT,
    )
    try:
        for _ in range(200):
            if f"{HOST}:{port} " in network.run("node", "ss", "-lnu"):
                break
            time.sleep(0.02)
        else:
            raise RuntimeError("nothing passes anything through")
        yield process
    finally:
        end(process)


def serve(port: int, relay: int, spoil: tuple[bytes, bytes] | None) -> None:
    """Give every client a socket of its own towards the relay, as NAT would."""
    selector = selectors.DefaultSelector()
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind((HOST, port))
    selector.register(front, selectors.EVENT_READ)
    backs: dict[tuple[str, int], socket.socket] = {}
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is front:
                datagram, client = front.recvfrom(65535)
                if client not in backs:
                    backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    backs[client].connect((HOST, relay))
                    selector.register(backs[client], selectors.EVENT_READ, client)
                backs[client].send(datagram)
            else:
                answer = ready.fileobj.recv(65535)
                front.sendto(answer.replace(*spoil) if spoil else answer, ready.data)


def main() -> None:
    """Pass on until ended."""
    port, relay, *spoil = sys.argv[1:]
    pair = (spoil[0].encode(), spoil[1].encode()) if spoil else None
    serve(int(port), int(relay), pair)


if __name__ == "__main__":
    main()
