"""The simulated media relay behind a real UDP port: in the test's own loop, or as a process.

As a process (``python -m tests.sim.relay_server PORT CALL-ID…``) it has the calls that it is told
of, all of them being recorded, and says ``ready`` once it listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Self

from agents.core.ngcodec import Encoding, NgDict, decode
from tests.sim.relay_simulator import RelaySimulator

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


class RelayServer:
    """Serves the loop that runs. ``asked``: every message, and where it came from."""

    def __init__(self, port: int = 0, relay: RelaySimulator | None = None) -> None:
        self.relay = relay or RelaySimulator()
        self.asked: list[tuple[NgDict, tuple[str, int]]] = []
        self._socket = _bound(port)
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._loop.add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def commands(self) -> list[object]:
        """Return what was asked for, without the questions that the agent asks all the time."""
        often = {b"ping", b"list", b"query"}
        return [each[b"command"] for each, _ in self.asked if each[b"command"] not in often]

    def _read(self) -> None:
        data, client = self._socket.recvfrom(65536)
        self.asked.append((decode(data.partition(b" ")[2], Encoding.BENCODE), client))
        answer = self.relay.take(data)
        if answer is not None:
            self._socket.sendto(answer, client)


def with_calls(*calls: bytes) -> RelaySimulator:
    """Return a relay that has calls already, each of them being recorded."""
    relay = RelaySimulator()
    for call in calls:
        relay.ask(command=b"offer", call_id=call, from_tag=b"a", sdp=SDP, **{"record-call": b"yes"})
        relay.ask(command=b"answer", call_id=call, from_tag=b"a", to_tag=b"b", sdp=SDP)
    return relay


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", port))
    return made


def main() -> None:
    """Serve until killed."""
    relay = with_calls(*map(str.encode, sys.argv[2:]))
    with _bound(int(sys.argv[1])) as port:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            data, client = port.recvfrom(65536)
            answer = relay.take(data)
            if answer is not None:
                port.sendto(answer, client)


if __name__ == "__main__":
    main()
