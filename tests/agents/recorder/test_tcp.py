"""NG over TCP, over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.core.ngcodec import Encoding
from agents.core.nggate import Asker
from agents.recorder import connections
from agents.recorder import tcp as tcp_module
from agents.recorder.tcp import listen_tcp

MESSAGES = [
    b"c1 d7:command4:pinge",
    b"c2 de",
    b"c3 d7:call-id3:a e3:sdp5:e e e4:tagsld1:nli-1ei0eeeee",
    b"c4 d3:sdp3000:" + b"x e\r" * 750 + b"e",
]


class TransportStandIn(asyncio.Transport):
    """Nobody is at its other end."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass


class GateStandIn:
    """Takes messages like the gate, and answers each with its own cookie."""

    def __init__(self) -> None:
        self.asked: list[tuple[Asker, bytes]] = []
        self.taken = asyncio.Event()
        self.answer = b"d6:result4:ponge"

    def ask(self, asker: Asker, data: bytes) -> bool:
        self.asked.append((asker, data))
        if data.startswith(b"flood"):
            return False
        asker.way.send(data.partition(b" ")[0] + b" " + self.answer)
        self.taken.set()
        return True

    @property
    def messages(self) -> list[bytes]:
        return [data for _, data in self.asked]

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < number:
                self.taken.clear()
                await self.taken.wait()


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[tuple[GateStandIn, int]]:
    gate = GateStandIn()
    listener = await listen_tcp(Endpoint("tcp", host, 0), Encoding.BENCODE, gate.ask)
    try:
        yield gate, listener._server.sockets[0].getsockname()[1]
    finally:
        listener.close()


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest_asyncio.fixture
async def gate() -> AsyncIterator[tuple[GateStandIn, int]]:
    async with listening() as made:
        yield made


async def read(reader: asyncio.StreamReader, answers: int) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readexactly(answers * len(b"c1 d6:result4:ponge"))


async def cut(port: int, gate: GateStandIn, sizes: list[int]) -> tuple[list[bytes], bytes]:
    """Send the messages in pieces of these sizes, each as a read of its own."""
    stream = b"".join(MESSAGES)
    gate.asked.clear()
    async with connected(port) as (reader, writer):
        for size in sizes:
            writer.write(stream[:size])
            await writer.drain()
            await asyncio.sleep(0)
            stream = stream[size:]
        writer.write(stream)
        answers = await read(reader, len(MESSAGES))
        return gate.messages, answers


async def test_split_and_merged_reads_equal_whole_ones(gate: tuple[GateStandIn, int]):
    """However the stream is cut, the gate gets the same messages and gives the same answers."""
    taken, port = gate
    answers = b"".join(each[:2] + b" " + taken.answer for each in MESSAGES)
    length = sum(map(len, MESSAGES))
    chance = random.Random(7)
    cuts = [[], [len(each) for each in MESSAGES], [1] * length]
    cuts += [[chance.randrange(1, 200) for _ in range(30)] for _ in range(20)]
    for sizes in cuts:
        assert await cut(port, taken, sizes) == (MESSAGES, answers)


def test_every_split_in_two_equals_the_whole():
    """The protocol fed by hand: no cut is special, and none is hidden by the kernel's merging."""
    stream = b"".join(MESSAGES[:3])
    for at in range(len(stream) + 1):
        found: list[bytes] = []
        transport = TransportStandIn()
        protocol = tcp_module._Connection(
            Encoding.BENCODE,
            lambda _, data: bool(found.append(data)),  # noqa: B023
            connections.Connections(),
        )
        protocol.connection_made(transport)
        for piece in (stream[:at], stream[at:]):
            protocol.data_received(piece)
        assert found == MESSAGES[:3]


async def test_many_at_once_stay_in_order(gate: tuple[GateStandIn, int]):
    """Turns do not mix them."""
    taken, port = gate
    messages = [b"c%d de" % number for number in range(3000)]
    async with connected(port) as (_, writer):
        writer.write(b"".join(messages))
        await taken.wait_for(len(messages))
    assert taken.messages == messages


async def test_a_flood_stands_in_nobodys_way(gate: tuple[GateStandIn, int]):
    """Another client is answered long before what was sent at once has had its turn."""
    taken, port = gate
    async with connected(port) as (_, flood), connected(port) as (reader, writer):
        flood.write(b"flood d7:command1:xe" * 10_000)
        await asyncio.sleep(0)
        writer.write(MESSAGES[0])
        await read(reader, 1)
        assert len(taken.asked) < 5000


async def test_one_connection_is_one_asker(gate: tuple[GateStandIn, int]):
    """The same message again is told for one; another connection is another asker."""
    taken, port = gate
    for _ in range(2):
        async with connected(port) as (reader, writer):
            writer.write(MESSAGES[0] * 2)
            await read(reader, 2)

    first, again, stranger, _ = [asker for asker, _ in taken.asked]
    assert first == again != stranger
    assert first.where.startswith("tcp 127.0.0.1:")
    assert first.encoding is Encoding.BENCODE


async def test_ipv6():
    """As over IPv4."""
    async with listening("[::1]") as (taken, port), connected(port, "::1") as (reader, writer):
        writer.write(MESSAGES[0])
        await read(reader, 1)
        assert taken.asked[0][0].where.startswith("tcp [::1]:")


async def test_what_cannot_be_a_message_ends_the_connection(gate: tuple[GateStandIn, int]):
    """What went before it is answered; what comes after it is not looked at."""
    taken, port = gate
    async with connected(port) as (reader, writer):
        writer.write(MESSAGES[0] + b"GET / HTTP/1.1\r\n\r\n" + MESSAGES[1])
        async with asyncio.timeout(5):
            assert await reader.read() == b"c1 " + taken.answer
    assert taken.messages == [MESSAGES[0]]


async def test_who_does_not_read_is_let_go(
    gate: tuple[GateStandIn, int], monkeypatch: pytest.MonkeyPatch
):
    """Answers that nobody takes are not kept without end."""
    monkeypatch.setattr(tcp_module, "_UNSENT", 1000)
    taken, port = gate
    taken.answer = b"x" * (16 << 20)
    async with connected(port) as (reader, writer):
        writer.write(MESSAGES[0])
        await taken.wait_for(1)
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(16 << 20)
    taken.asked[0][0].way.send(b"c1 late")  # Nobody is there; nothing happens.


async def test_connections_are_bounded(
    gate: tuple[GateStandIn, int], monkeypatch: pytest.MonkeyPatch
):
    """The one that was silent for longest gives way."""
    monkeypatch.setattr(connections, "MOST", 2)
    _, port = gate
    async with connected(port) as (proxy, ask), connected(port) as (idle, _):
        ask.write(MESSAGES[0])
        await read(proxy, 1)
        async with connected(port):
            async with asyncio.timeout(5):
                assert await idle.read() == b""
            ask.write(MESSAGES[0])
            await read(proxy, 1)


async def test_a_closed_listener_has_no_connection_left():
    """Its clients see the end, and nothing of theirs is taken any more."""
    async with listening() as (taken, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(MESSAGES[0])
        await taken.wait_for(1)
    async with asyncio.timeout(5):
        assert await reader.read() == b"c1 " + taken.answer
    writer.close()


async def test_who_sends_very_much_at_once_lets_others_have_their_turn(
    gate: tuple[GateStandIn, int],
) -> None:
    """A thousand messages in one piece are all taken; another client's does not wait for them."""
    taken, port = gate
    async with connected(port) as (_, greedy), connected(port) as (_, modest):
        modest.write(b"m1 de")
        await taken.wait_for(1)
        greedy.write(b"".join(b"g%d de" % number for number in range(1000)))
        modest.write(b"m2 de")
        await taken.wait_for(1002)

    assert [each for each in taken.messages if each.startswith(b"g")] == [
        b"g%d de" % number for number in range(1000)
    ]
    assert taken.messages.index(b"m2 de") < 1001
