"""NG over HTTP and WebSocket: the same messages, and nothing else of what the relay would offer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.core.ngcodec import Encoding
from agents.core.nggate import Asker
from agents.recorder import http
from agents.recorder.http import listen_http


@dataclass
class Desk:
    """Answers every message with its own octets, but for those that it is told to leave."""

    asked: list[tuple[Asker, bytes]] = field(default_factory=list)
    silent: bool = False
    url: str = ""

    def __call__(self, asker: Asker, data: bytes) -> bool:
        self.asked.append((asker, data))
        if not self.silent:
            asker.way.send(b"re " + data)
        return True


@pytest_asyncio.fixture
async def desk(unused_tcp_port: int) -> AsyncIterator[Desk]:
    made = Desk(url=f"http://127.0.0.1:{unused_tcp_port}")
    runner = await listen_http(
        Endpoint("http", "127.0.0.1", unused_tcp_port), Encoding.BENCODE, made
    )
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_message_is_posted_and_answered(desk: Desk, client: aiohttp.ClientSession) -> None:
    """The body is the message, the answer's body the answer."""
    async with client.post(f"{desk.url}/ng", data=b"c d7:command4:pinge") as answer:
        assert (answer.status, await answer.read()) == (200, b"re c d7:command4:pinge")
        assert answer.content_type == "application/x-rtpengine-ng"
    assert desk.asked[0][0].where.startswith("tcp 127.0.0.1:")


async def test_a_websocket_takes_many(desk: Desk, client: aiohttp.ClientSession) -> None:
    """Frames are messages, text or binary; answers come in their order to who asked."""
    async with (
        client.ws_connect(f"{desk.url}/", protocols=("ng.rtpengine.com",)) as one,
        client.ws_connect(f"{desk.url}/ng", protocols=("x", "ng.rtpengine.com")) as two,
    ):
        await one.send_bytes(b"1 de")
        await two.send_str("2 de")
        await one.send_bytes(b"3 de")
        assert [(await one.receive()).data for _ in range(2)] == [b"re 1 de", b"re 3 de"]
        assert (await two.receive()).data == b"re 2 de"
        assert one.protocol == "ng.rtpengine.com"


@pytest.mark.parametrize("protocol", ["cli.rtpengine.com", "ng-plain.rtpengine.com", "echo", ""])
async def test_no_other_protocol_is_spoken(
    desk: Desk, client: aiohttp.ClientSession, protocol: str
) -> None:
    """The relay's CLI and the like are not there."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"{desk.url}/", protocols=(protocol,) if protocol else ())
    assert refused.value.status == 403
    assert desk.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/cli/list/sessions", 403),
        ("GET", "/metrics", 403),
        ("GET", "/ng", 403),
        ("POST", "/ng-plain", 405),
        ("POST", "/cli", 405),
        ("PUT", "/ng", 405),
    ],
)
async def test_nothing_else_is_served(
    desk: Desk, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """What is no NG message reaches nothing."""
    async with client.request(method, desk.url + path, data=b"c d7:command4:pinge") as answer:
        assert answer.status == status
    assert desk.asked == []


async def test_a_body_too_large_is_refused(desk: Desk, client: aiohttp.ClientSession) -> None:
    """It is not read to its end."""
    async with client.post(f"{desk.url}/ng", data=b"x" * (1 << 20)) as answer:
        assert answer.status == 413
    assert desk.asked == []


async def test_an_answer_that_does_not_come(
    desk: Desk, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told to ask again."""
    monkeypatch.setattr(http, "_PATIENCE", 0.05)
    desk.silent = True
    async with client.post(f"{desk.url}/ng", data=b"c de") as answer:
        assert answer.status == 504


async def test_a_taken_port_is_an_error(desk: Desk) -> None:
    """It is said, not passed over."""
    port = int(desk.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await listen_http(Endpoint("http", "127.0.0.1", port), Encoding.BENCODE, desk)
    await asyncio.sleep(0)
