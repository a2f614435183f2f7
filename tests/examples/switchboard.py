"""What stands around an example: an agent that decides, a relay that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from agents.clock import SystemClock
from agents.core.decision import Deny, Obligation, Permit, Question
from agents.decisions.server import serving
from guard.core.level import Level
from guard.core.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "config/examples"
GRANT = "3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43"
DENY = Deny(reason=Reason.CALL_NOT_COVERED, sentence="no grant on this node covers the call")


def permit(seconds: float = 60) -> Permit:
    """Permit what is asked for a while."""
    until = SystemClock().now().wall + timedelta(seconds=seconds)
    obligation = Obligation(grant_id=GRANT, until=until, recipients=("age1one", "age1two"))
    return Permit(level=Level.CONTENT, obligations=(obligation,))


@asynccontextmanager
async def deciding(socket: Path, answer: Permit | Deny) -> AsyncIterator[list[Question]]:
    """Answer every question alike; yield what was asked."""
    asked: list[Question] = []

    def decide(question: Question) -> Permit | Deny:
        asked.append(question)
        return answer

    async with serving(socket, decide, lambda _: None):
        yield asked


class Party(asyncio.DatagramProtocol):
    """A UDP socket of the loopback; ``heard`` is what came, ``answer`` makes replies."""

    def __init__(self, answer: Callable[[bytes], list[bytes]] = lambda _: []) -> None:
        self.heard: list[bytes] = []
        self.answer = answer
        self.transport: asyncio.DatagramTransport | None = None
        self.port = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.heard.append(data)
        for reply in self.answer(data):
            self.transport.sendto(reply, peer)

    def send(self, data: bytes, port: int) -> None:
        self.transport.sendto(data, ("127.0.0.1", port))

    def starting(self, start: bytes) -> list[bytes]:
        """Return what was heard that starts so."""
        return [each for each in self.heard if each.startswith(start)]


@asynccontextmanager
async def party(answer: Callable[[bytes], list[bytes]] = lambda _: []) -> AsyncIterator[Party]:
    """Open a party's socket."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Party(answer), local_addr=("127.0.0.1", 0)
    )
    try:
        yield made
    finally:
        transport.close()


async def until(reached: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for something to have happened."""
    end = asyncio.get_running_loop().time() + seconds
    while not reached():
        assert asyncio.get_running_loop().time() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.02)


def relay(told: list[str]) -> Callable[[bytes], list[bytes]]:
    """Answer NG messages as a relay that agrees to everything; ``told``: the commands, in order."""

    def answer(datagram: bytes) -> list[bytes]:
        cookie, _, body = datagram.partition(b" ")
        message, _ = bdecode(body)
        command = message[b"command"].decode()
        told.append(command)
        said = b"6:result4:pong" if command == "ping" else b"6:result2:ok"
        if b"sdp" in message:
            said += b"3:sdp%d:%s" % (len(message[b"sdp"]), message[b"sdp"])
        return [cookie + b" d" + said + b"e"]

    return answer


def bdecode(data: bytes) -> tuple[object, bytes]:
    """Decode one bencoded value and return the rest."""
    if data[:1] == b"i":
        number, _, rest = data[1:].partition(b"e")
        return int(number), rest
    if data[:1] in {b"d", b"l"}:
        values, rest = [], data[1:]
        while rest[:1] != b"e":
            value, rest = bdecode(rest)
            values.append(value)
        if data[:1] == b"l":
            return values, rest[1:]
        return dict(zip(values[::2], values[1::2], strict=True)), rest[1:]
    length, _, rest = data.partition(b":")
    return rest[: int(length)], rest[int(length) :]
