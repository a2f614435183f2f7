"""A whole gate over real sockets, before a simulated relay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agents.config import Endpoint, RelayConfig
from agents.core.events import Event, RelayFlows, RelayReport
from agents.core.ngcodec import Encoding, NgDict, NgValue, decode, encode
from agents.recorder.fencerules import Fenced
from agents.recorder.gate import Gate
from tests.sim.relay_server import SDP

PATIENCE = 20.0


class FenceStandIn:
    """Keeps nobody away, and otherwise does as the fence does."""

    made: list[FenceStandIn]

    def __init__(self, fenced: Fenced) -> None:
        self.fenced = fenced
        self.stands = False
        self.breaches: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.made.append(self)

    async def install(self) -> None:
        self.stands = True

    async def watch(self, report: Callable[[str], None]) -> None:
        while True:
            found = await self.breaches.get()
            if isinstance(found, Exception):
                raise found
            report(found)


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """A gate's node: what it was told, and how many packets it says have arrived."""

    control: int
    listen: tuple[Endpoint, ...] = ()
    json: bool = False
    closed: tuple[int, ...] = ()
    happened: list[Event] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    arrived: int = 0
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        if not self.listen:
            self.listen = (Endpoint("udp", "127.0.0.1", free_port()),)

    def make(self, deliver: Callable[[Event], None] | None = None) -> Gate:
        self.gate = Gate(
            RelayConfig(
                listen=self.listen,
                control=Endpoint("udp", "127.0.0.1", self.control),
                closed_ports=self.closed,
                json=self.json,
                through=True,
                recording_folders=(),
            ),
            now=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            deliver=deliver or self.happened.append,
            packets=lambda _: self.arrived,
            fail=self.failures.append,
        )
        return self.gate

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gate]:
        """Run a gate that has met its relay."""
        async with self.make().running():
            await self.until(lambda: self.gate.status()["ready"])
            yield self.gate

    async def until(self, reached: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():  # noqa: ASYNC110 - sockets and processes tell in their time
                await asyncio.sleep(0.005)

    def reports(self, *what: str) -> list[RelayReport]:
        """Return what was put on record."""
        found = [each for each in self.happened if isinstance(each, RelayReport)]
        return [each for each in found if not what or each.what in what]

    def flows(self) -> list[RelayFlows]:
        return [each for each in self.happened if isinstance(each, RelayFlows)]

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """Connect a SIP proxy to the first address."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
            made.connect((self.listen[0].host, self.listen[0].port))
            yield Proxy(made, Encoding.JSON if self.json else Encoding.BENCODE)


class Proxy:
    """A SIP proxy that speaks NG over UDP."""

    def __init__(self, its: socket.socket, encoding: Encoding) -> None:
        self.socket = its
        self._encoding = encoding
        self._asked = 0

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    async def hear(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    async def ask(self, **message: NgValue) -> NgDict:
        """Ask once; underscores in keys stand for hyphens."""
        self._asked += 1
        cookie = b"%d" % self._asked
        self.send(written(cookie, message, self._encoding))
        found, _, body = (await self.hear()).partition(b" ")
        assert found == cookie
        return decode(body, self._encoding)

    async def offer(self, call: bytes) -> NgDict:
        return await self.ask(command=b"offer", call_id=call, from_tag=b"a", sdp=SDP)

    async def accept(self, call: bytes) -> NgDict:
        return await self.ask(command=b"answer", call_id=call, from_tag=b"a", to_tag=b"b", sdp=SDP)

    async def call(self, call: bytes) -> None:
        """Set a call up."""
        assert (await self.offer(call))[b"result"] == b"ok"
        assert (await self.accept(call))[b"result"] == b"ok"


def written(
    cookie: bytes, message: dict[str, NgValue], encoding: Encoding = Encoding.BENCODE
) -> bytes:
    question: NgDict = {key.replace("_", "-").encode(): v for key, v in message.items()}
    return cookie + b" " + encode(question, encoding)
