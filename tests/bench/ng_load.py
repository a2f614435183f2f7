"""Sets up and ends calls at a rate through an NG port, and says how long each message took.

Arguments: port, calls a second, seconds. Calls begin when their time has come, whether those before
them are done or not. Prints one JSON object: latencies in milliseconds, and what was lost.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

SOCKETS = 8
PATIENCE = 1.0
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


def greet(sockets: list[socket.socket]) -> None:
    """Let the other side know its clients, as a proxy's are known since it started."""
    for one in sockets:
        one.settimeout(0.2)
        for attempt in range(20):
            try:
                one.send(b"hello-%d d7:command4:pinge" % attempt)
                one.recv(65535)
                break
            except TimeoutError:
                continue
        one.setblocking(False)


def main() -> None:
    """Make the load and print the figures."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    selector = selectors.DefaultSelector()
    sockets = []
    for _ in range(SOCKETS):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.connect(("127.0.0.1", port))
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ)
        sockets.append(one)
    waiting: dict[bytes, tuple[float, list[bytes], int]] = {}
    taken: list[float] = []
    failed = begun = 0
    calls = max(1, int(rate * seconds))
    greet(sockets)
    start = time.perf_counter()

    def send(number: int, left: list[bytes]) -> None:
        cookie = b"%d_%d_%d" % (port, number, len(left))
        waiting[cookie] = (time.perf_counter(), left, number)
        sockets[number % SOCKETS].send(cookie + b" " + left[0])

    while begun < calls or waiting:
        now = time.perf_counter() - start
        while begun < calls and begun / rate <= now:
            send(begun, steps(f"{start}-{begun}@bench"))
            begun += 1
        if begun >= calls and now > seconds + PATIENCE:
            break
        due = begun / rate - now if begun < calls else 0.01
        for key, _ in selector.select(max(0.0, min(due, 0.01))):
            try:
                data = key.fileobj.recv(65535)  # type: ignore[union-attr]
            except OSError:
                continue
            cookie, _, body = data.partition(b" ")
            found = waiting.pop(cookie, None)
            if found is None:
                continue
            taken.append((time.perf_counter() - found[0]) * 1000)
            failed += b"6:result2:ok" not in body
            if len(found[1]) > 1:
                send(found[2], found[1][1:])
    told = {"taken": taken, "lost": len(waiting), "failed": failed, "calls": begun}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
