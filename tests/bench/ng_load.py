"""Sets up and ends calls at a rate through an NG port, and says how long each message took.

Arguments: port, calls a second, seconds. Prints one JSON object.

1. Messages go out when the schedule says so, evenly, whatever becomes of the answers: a call's
   answer and delete follow its offer after a fixed time, so that calls stand beside each other.
2. They come from sockets that are kept, as those of Kamailio's children are, which have pinged
   before: how often until there was an answer is told.
3. What is not answered is sent again as Kamailio does unless told otherwise (`AGAIN`, `TIMES`). The
   time that an answer took counts from the first time; what is never answered is lost.
"""

from __future__ import annotations

import gc
import json
import secrets
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

SOCKETS = 8
HOLD = 0.5  # seconds from offer to delete
AGAIN, TIMES = 1.0, 5
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 8 0 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)


def bencoded(**message: object) -> bytes:
    """Write a message as Kamailio does."""

    def write(value: object) -> str:
        if isinstance(value, list):
            return "l" + "".join(map(write, value)) + "e"
        return f"{len(str(value))}:{value}"

    pairs = ((name.replace("_", "-"), value) for name, value in message.items())
    return ("d" + "".join(write(n) + write(v) for n, v in pairs) + "e").encode()


def steps(call: str) -> list[bytes]:
    """Return a call's three messages."""
    flags = {"ICE": "remove", "flags": ["trust-address"], "replace": ["origin"]}
    of = {"call_id": call, "received_from": ["IP4", "10.77.1.2"], "from_tag": "a"}
    return [
        bencoded(sdp=SDP.format("10.77.1.2", 40000), **flags, **of, command="offer"),
        bencoded(sdp=SDP.format("10.77.2.2", 50000), **flags, **of, to_tag="b", command="answer"),
        bencoded(**of, to_tag="b", command="delete"),
    ]


def schedule(rate: float, seconds: float) -> Iterator[tuple[float, bytes, bytes]]:
    """Yield when, under which cookie, and what (rule 1)."""
    token = secrets.token_hex(4)
    for number in range(max(1, int(rate * seconds))):
        for step, message in enumerate(steps(f"{token}-{number}@bench")):
            due = number / rate + step * (HOLD / 2 + 1 / (3 * rate))
            cookie = f"{token}_{number}_{step}".encode()
            yield due, cookie, cookie + b" " + message


def greet(one: socket.socket) -> int:
    """Ping until there is an answer; how often (rule 2)."""
    one.settimeout(0.1)
    for times in range(1, 500):
        one.send(b"hello-%d d7:command4:pinge" % times)
        try:
            one.recv(65535)
        except TimeoutError:
            continue
        one.setblocking(False)
        return times
    raise RuntimeError("nobody answers a ping")


class Load:
    """What was sent and is not answered yet, and how long the answers took."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._began: dict[bytes, float] = {}
        self._sent: deque[tuple[float, int, int, bytes, bytes]] = deque()  # in order of time
        self.taken: list[float] = []
        self.failed = self.lost = self.again = 0

    def run(self, messages: list[tuple[float, bytes, bytes]]) -> None:
        """Send what is due, and wait for the answers."""
        done, start = 0, time.perf_counter()
        while self._sent or done < len(messages):
            due = start + messages[done][0] if done < len(messages) else float("inf")
            first = min(due, self._sent[0][0]) if self._sent else due
            wait = max(0.0, first - time.perf_counter())
            for one in select.select(self._sockets, (), (), wait)[0]:
                self._answered(one.recv(65535))
            now = time.perf_counter()
            if due <= now:
                _, cookie, data = messages[done]
                self._began[cookie] = time.perf_counter()
                self._send(1, done % SOCKETS, cookie, data)
                done += 1
            while self._sent and (self._sent[0][0] <= now or self._sent[0][3] not in self._began):
                self._look(*self._sent.popleft()[1:])

    def _send(self, times: int, number: int, cookie: bytes, data: bytes) -> None:
        self._sent.append((time.perf_counter() + AGAIN, times, number, cookie, data))
        self._sockets[number].send(data)

    def _answered(self, answer: bytes) -> None:
        cookie, _, body = answer.partition(b" ")
        began = self._began.pop(cookie, None)
        if began is not None:
            self.taken.append((time.perf_counter() - began) * 1000)
            self.failed += b"6:result2:ok" not in body

    def _look(self, times: int, number: int, cookie: bytes, data: bytes) -> None:
        """Rule 3."""
        if cookie not in self._began:
            return
        if times > TIMES:
            del self._began[cookie]
            self.lost += 1
            return
        self.again += 1
        self._send(times + 1, number, cookie, data)


def main() -> None:
    """Make the load and print the figures."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    for one in sockets:
        one.connect(("127.0.0.1", port))
    pings = max(map(greet, sockets))
    messages = sorted(schedule(rate, seconds))
    gc.disable()
    load = Load(sockets)
    load.run(messages)
    told = {"taken": load.taken, "failed": load.failed, "lost": load.lost, "again": load.again}
    sys.stdout.write(json.dumps(told | {"pings": pings}))


if __name__ == "__main__":
    main()
