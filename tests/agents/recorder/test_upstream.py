"""The agent's socket to the relay's NG port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.recorder.upstream import Upstream


class Relay:
    """A socket where the relay's would be."""

    def __init__(self, host: str) -> None:
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(5)
        shown = f"[{host}]" if ":" in host else host
        self.control = Endpoint("udp", shown, self.socket.getsockname()[1])


class Heard:
    """What the gate is told."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.refusals = 0

    def refused(self) -> None:
        self.refusals += 1
        self.answers.put_nowait(b"refused")

    async def next(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.answers.get()


@pytest.fixture(params=["127.0.0.1", "::1"])
def relay(request: pytest.FixtureRequest):
    made = Relay(request.param)
    yield made
    made.socket.close()


@pytest_asyncio.fixture
async def heard() -> Heard:
    return Heard()


@pytest_asyncio.fixture
async def upstream(relay: Relay, heard: Heard) -> AsyncIterator[Upstream]:
    made = Upstream(relay.control, heard.answers.put_nowait, heard.refused)
    yield made
    made.close()


async def test_questions_come_from_one_address(upstream: Upstream, relay: Relay):
    """The one that the fence lets through."""
    upstream.send(b"c1 de")
    upstream.send(b"c2 de")
    for expected in (b"c1 de", b"c2 de"):
        data, source = relay.socket.recvfrom(100)
        assert (data, source[:2]) == (expected, upstream.source)
    assert upstream.source[0] == relay.host


async def test_answers_come_in_order(upstream: Upstream, relay: Relay, heard: Heard):
    """More than one reading takes, and the largest that there is."""
    answers = [b"%d" % number for number in range(200)] + [b"x" * 65507]
    for answer in answers:
        relay.socket.sendto(answer, upstream.source)
    assert [await heard.next() for _ in answers] == answers


async def test_nobody_else_is_heard(upstream: Upstream, relay: Relay, heard: Heard):
    """The socket is connected: what does not come from the relay's port is not taken."""
    with socket.socket(relay.socket.family, socket.SOCK_DGRAM) as stranger:
        stranger.bind((relay.host, 0))
        stranger.sendto(b"forged", upstream.source)
        relay.socket.sendto(b"true", upstream.source)
        assert await heard.next() == b"true"
    assert heard.answers.empty()


async def test_a_relay_that_has_gone_is_noticed_with_the_next_message(
    upstream: Upstream, relay: Relay, heard: Heard
):
    """Its port is closed; asking goes on for when it is back, from the same address."""
    port = relay.control.port
    relay.socket.close()
    upstream.send(b"c1 de")
    assert await heard.next() == b"refused"

    relay.socket = socket.socket(relay.socket.family, socket.SOCK_DGRAM)
    relay.socket.bind((relay.host, port))
    relay.socket.settimeout(5)
    upstream.send(b"c2 de")
    data, source = relay.socket.recvfrom(100)
    assert (data, source[:2]) == (b"c2 de", upstream.source)
    assert heard.refusals == 1


async def test_a_closed_one_asks_nothing(upstream: Upstream, relay: Relay, heard: Heard):
    """Neither is it an error."""
    source = upstream.source
    upstream.close()
    upstream.send(b"c1 de")
    with socket.socket(relay.socket.family, socket.SOCK_DGRAM) as next_one:
        next_one.bind(source)
    relay.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        relay.socket.recv(100)
    upstream.close()
