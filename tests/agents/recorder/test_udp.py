"""NG over UDP, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.core.ngcodec import Encoding
from agents.core.nggate import Asker
from agents.recorder import udp
from agents.recorder.udp import UdpListener


class GateStandIn:
    """Takes messages like the gate: garbage comes to no relay and gets no answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[Asker, bytes]] = []
        self.taken = asyncio.Event()

    def ask(self, asker: Asker, data: bytes) -> bool:
        self.asked.append((asker, data))
        self.taken.set()
        if not data.startswith(b"c"):
            return False
        asker.way.send(b"answer to " + data)
        return True

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < number:
                self.taken.clear()
                await self.taken.wait()


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Client:
    """One process of a proxy."""

    def __init__(self, listener: UdpListener, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((host, listener._port))

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.receive()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest_asyncio.fixture
async def gate() -> GateStandIn:
    return GateStandIn()


@pytest_asyncio.fixture
async def listener(gate: GateStandIn, host: str) -> AsyncIterator[UdpListener]:
    shown = f"[{host}]" if ":" in host else host
    made = UdpListener(Endpoint("udp", shown, free_port(host)), Encoding.JSON, gate.ask)
    yield made
    made.close()


@pytest.fixture
def client(listener: UdpListener, host: str):
    made = Client(listener, host)
    yield made
    made.close()


async def test_a_message_and_its_answer(gate: GateStandIn, client: Client, host: str):
    """The first one and those that follow come from one asker, whichever socket takes them."""
    for number in range(3):
        assert await client.ask(b"c%d" % number) == b"answer to c%d" % number

    askers = {asker for asker, _ in gate.asked}
    assert len(askers) == 1
    (asker,) = askers
    shown = f"[{host}]" if ":" in host else host
    assert asker.where == f"udp {shown}:{client._socket.getsockname()[1]}"
    assert asker.encoding is Encoding.JSON


async def test_who_came_to_the_relay_gets_a_socket_of_its_own(
    gate: GateStandIn, listener: UdpListener, client: Client, host: str
):
    """Garbage earns none."""
    stranger = Client(listener, host)
    stranger.send(b"garbage")
    await gate.wait_for(1)
    assert len(listener._clients) == 0
    await client.ask(b"c1")
    assert len(listener._clients) == 1
    stranger.close()


async def test_answers_go_to_who_asked(
    gate: GateStandIn, listener: UdpListener, client: Client, host: str
):
    """Two clients under the same cookie."""
    other = Client(listener, host)
    assert await asyncio.gather(client.ask(b"c1"), other.ask(b"c1")) == [b"answer to c1"] * 2
    first, second = (asker for asker, _ in gate.asked)
    assert first != second
    first.way.send(b"late")
    assert await client.receive() == b"late"
    other.close()


async def test_a_flood_does_not_stand_before_a_client(
    gate: GateStandIn, listener: UdpListener, client: Client, host: str
):
    """Of a thousand strangers' messages, only a few are read before the client's."""
    await client.ask(b"c1")
    gate.asked.clear()
    flood = Client(listener, host)
    for _ in range(1000):
        flood.send(b"garbage")
    assert await client.ask(b"c2") == b"answer to c2"
    before = [data for _, data in gate.asked].index(b"c2")
    assert before <= 2 * udp._STRANGERS
    flood.close()


async def test_the_client_that_was_silent_for_longest_gives_way(
    gate: GateStandIn,
    listener: UdpListener,
    client: Client,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """And is served all the same when it asks again."""
    monkeypatch.setattr(udp, "_CLIENTS", 2)
    second, third = Client(listener, host), Client(listener, host)
    await client.ask(b"c1")
    await second.ask(b"c2")
    await client.ask(b"c3")
    await third.ask(b"c4")
    ports = {address[1] for address in listener._clients}
    assert ports == {each._socket.getsockname()[1] for each in (client, third)}
    assert await second.ask(b"c5") == b"answer to c5"
    second.close()
    third.close()


async def test_a_client_that_floods_is_a_stranger_again(
    gate: GateStandIn, listener: UdpListener, client: Client, host: str
):
    """Its own socket is not a way past the others; it may become a client anew."""
    flood = Client(listener, host)
    await client.ask(b"c1")
    await flood.ask(b"c1")
    for _ in range(200):
        flood.send(b"garbage")
    async with asyncio.timeout(5):
        while flood._socket.getsockname() in listener._clients:  # noqa: ASYNC110 - the loop has its turns
            await asyncio.sleep(0)
    assert client._socket.getsockname() in listener._clients
    await flood.ask(b"c2")
    assert flood._socket.getsockname() in listener._clients
    flood.close()


async def test_a_client_that_has_gone_is_forgotten(
    gate: GateStandIn, listener: UdpListener, client: Client
):
    """The kernel says that nobody is there; the next answer is nobody's."""
    await client.ask(b"c1")
    client.close()
    way = gate.asked[0][0].way
    for _ in range(3):
        way.send(b"late")
        await asyncio.sleep(0)
    assert len(listener._clients) == 0


async def test_a_closed_listener_leaves_the_port(gate: GateStandIn):
    """With the sockets of its clients."""
    endpoint = Endpoint("udp", "127.0.0.1", free_port("127.0.0.1"))
    listener = UdpListener(endpoint, Encoding.BENCODE, gate.ask)
    client = Client(listener)
    await client.ask(b"c1")
    listener.close()
    client.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_one:
        next_one.bind(("127.0.0.1", endpoint.port))
    gate.asked[0][0].way.send(b"late")  # Nobody is there; nothing happens.


@pytest.mark.parametrize("host", ["127.0.0.1"])
@pytest.mark.parametrize("shared", [0, 1])
async def test_a_port_that_is_taken_is_an_error(gate: GateStandIn, host: str, shared: int):
    """The error names it. Also where who has it would share it, as another agent's gate would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taken.bind((host, 0))
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="cannot listen") as refused:
            UdpListener(Endpoint("udp", host, port), Encoding.BENCODE, gate.ask)
    assert refused.value.filename == f"udp:{host}:{port}"
