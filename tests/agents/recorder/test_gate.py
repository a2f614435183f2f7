"""The gate as a whole, with a socket where the relay's would be and without its fence."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, Self

import aiohttp
import pytest

from agents.config import Endpoint, RelayConfig
from agents.core.events import Event
from agents.core.ngcodec import Encoding, NgDict, decode, encode, split
from agents.core.owntags import unsubscribe
from agents.recorder import gate as gate_module
from agents.recorder.fencerules import Fenced
from agents.recorder.gate import Gate, GateError

OFFER = b"c1 d7:call-id1:c7:command5:offer8:from-tag1:f3:sdp3:v=0e"


class FenceStandIn:
    """Stands where the kernel's fence would; privileged tests try that one."""

    def __init__(self, fenced: Fenced) -> None:
        self.fenced = fenced

    async def install(self) -> None:
        """Nothing is shut."""

    async def watch(self, report: Callable[[str], None]) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


class RelayStandIn:
    """Answers like a relay without calls; remembers what it was asked, and from where.

    A thread of its own: like a relay, it goes on when the agent is held up.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[NgDict, tuple[str, int]]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.socket:
            self.socket.sendto(b"", self.socket.getsockname())
            self._thread.join()

    def _answer(self) -> None:
        while data := self.socket.recvfrom(65536):
            if not data[0]:
                return
            cookie, body = split(data[0])
            message = decode(body, Encoding.BENCODE)
            self.asked.append((message, data[1]))
            words: NgDict = {b"result": b"ok", b"calls": []}
            if message[b"command"] == b"ping":
                words = {b"result": b"pong"}
            self.socket.sendto(cookie + b" " + encode(words, Encoding.BENCODE), data[1])


@pytest.fixture
def relay():
    with RelayStandIn() as made:
        yield made


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def running(relay: RelayStandIn, *transports: str) -> AsyncIterator[Gate]:
    kinds = {"udp": socket.SOCK_DGRAM}
    listen = tuple(
        Endpoint(each, "127.0.0.1", free_port(kinds.get(each, socket.SOCK_STREAM)))
        for each in transports
    )
    happened: list[Event | BaseException] = []
    gate = Gate(
        RelayConfig(
            listen=listen,
            control=Endpoint("udp", "127.0.0.1", relay.port),
            closed_ports=(),
            json=False,
            through=True,
            recording_folders=(),
        ),
        now=lambda: int(asyncio.get_running_loop().time() * 1e9),
        deliver=happened.append,
        packets=lambda _: 0,
        fail=happened.append,
    )
    async with gate.running():
        yield gate
    assert not [each for each in happened if isinstance(each, BaseException)]


@pytest.fixture(autouse=True)
def no_fence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gate_module, "Fence", FenceStandIn)


async def over_udp(port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy:
        proxy.setblocking(False)
        proxy.connect(("127.0.0.1", port))
        loop = asyncio.get_running_loop()
        while True:  # As a proxy does.
            await loop.sock_sendall(proxy, OFFER)
            try:
                async with asyncio.timeout(0.2):
                    return await loop.sock_recv(proxy, 65536)
            except TimeoutError:
                continue


async def over_tcp(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"c1 d7:command4:liste")
    answer = await reader.readuntil(b"port")
    writer.close()
    return answer


async def over_http(port: int) -> bytes:
    headers = {"Content-Type": "application/x-rtpengine-ng"}
    async with (
        aiohttp.ClientSession() as proxy,
        proxy.post(f"http://127.0.0.1:{port}/ng", data=OFFER, headers=headers) as answer,
    ):
        return await answer.read()


async def test_every_transport_leads_to_the_gate(relay: RelayStandIn):
    """A call is set up, at once or as soon as the relay was looked through; a list is refused."""
    async with running(relay, "udp", "tcp", "http") as gate, asyncio.timeout(10):
        udp, tcp, http = (each.port for each in gate._config.listen)
        assert await over_http(http) == b"c1 d5:callsle6:result2:oke"
        assert await over_udp(udp) == b"c1 d5:callsle6:result2:oke"
        assert b"operators ask the agent, not this port" in await over_tcp(tcp)
        assert {source for _, source in relay.asked} == {gate._upstream.source}
        assert gate._fence.fenced.port == gate._upstream.source[1]
    offers = [message for message, _ in relay.asked if message[b"command"] == b"offer"]
    assert len(offers) >= 2


async def test_what_is_open_when_the_gate_ends_is_ended(relay: RelayStandIn):
    """The switch asks from the address that the fence lets through: the gate has left it."""
    async with running(relay) as gate:
        source = gate._upstream.source
        gate._dead_man.holds(b"c", b"t")
    assert (unsubscribe(b"c", b"t"), source) in relay.asked
    assert gate._dead_man._process.returncode == 0


async def test_a_port_that_is_taken_is_said(relay: RelayStandIn):
    """One sentence, and nothing of the gate is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for transport in ("tcp", "http"):
            gate_error = pytest.raises(GateError, match="in use")
            with pytest.MonkeyPatch.context() as patch, gate_error:
                patch.setitem(globals(), "free_port", lambda _: port)
                async with running(relay, transport):
                    pass
