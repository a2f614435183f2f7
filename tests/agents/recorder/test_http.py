"""NG over HTTP and WebSocket, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.core.ngcodec import MAX_MESSAGE, Encoding
from agents.core.nggate import Asker
from agents.core.relaycommands import Report
from agents.recorder import connections, http

NG = {"Content-Type": "application/x-rtpengine-ng"}
JSON = {"Content-Type": "application/json"}
PONG = b"d6:result4:ponge"


class GateStandIn:
    """Takes messages like the gate; answers with what ``answer`` makes of a body."""

    def __init__(self) -> None:
        self.asked: list[tuple[Asker, bytes]] = []
        self.reports: list[Report] = []
        self.silent = 0
        self.answer: Callable[[bytes], bytes] = lambda _: PONG
        self.url = ""
        self.port = 0

    def ask(self, asker: Asker, data: bytes) -> bool:
        self.asked.append((asker, data))
        if self.silent:
            self.silent -= 1
            return True
        cookie, _, body = data.partition(b" ")
        asker.way.send(cookie + b" " + self.answer(body))
        return True

    @property
    def messages(self) -> list[bytes]:
        return [data for _, data in self.asked]


@asynccontextmanager
async def listening(encoding: Encoding, host: str = "127.0.0.1") -> AsyncIterator[GateStandIn]:
    gate = GateStandIn()
    listener = await http.listen_http(
        Endpoint("http", host, 0), encoding, gate.ask, gate.reports.append
    )
    gate.port = listener._listening.sockets[0].getsockname()[1]
    gate.url = f"http://{host}:{gate.port}"
    try:
        yield gate
    finally:
        await listener.close()


@pytest_asyncio.fixture
async def gate() -> AsyncIterator[GateStandIn]:
    async with listening(Encoding.BENCODE) as made:
        yield made


@pytest_asyncio.fixture
async def json_gate() -> AsyncIterator[GateStandIn]:
    async with listening(Encoding.JSON) as made:
        made.answer = lambda _: b'{"result":"pong"}'
        yield made


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def post(
    client: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    async with client.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_message_is_posted_as_it_would_be_sent(
    gate: GateStandIn, client: aiohttp.ClientSession
):
    """The gate gets the body octet by octet, and its answer comes back with the cookie."""
    body = b"c1 d7:command4:pinge"
    async with client.post(gate.url + "/ng", data=body, headers=NG) as answer:
        assert (answer.status, await answer.read()) == (200, b"c1 " + PONG)
        assert answer.content_type == "application/x-rtpengine-ng"

    ((asker, message),) = gate.asked
    assert message == body
    assert asker.where.startswith("tcp 127.0.0.1:")
    assert asker.encoding is Encoding.BENCODE
    assert gate.reports == []


async def test_one_connection_is_one_asker(gate: GateStandIn, client: aiohttp.ClientSession):
    """The same message again is told for one; another connection is another asker."""
    for _ in range(2):
        await post(client, gate.url + "/ng", b"c1 de", NG)
    async with aiohttp.ClientSession() as other:
        await post(other, gate.url + "/ng", b"c1 de", NG)

    first, again, stranger = [asker for asker, _ in gate.asked]
    assert (first, hash(first)) == (again, hash(again))
    assert first != stranger


async def test_ipv6(client: aiohttp.ClientSession):
    """As over IPv4."""
    async with listening(Encoding.BENCODE, "[::1]") as gate:
        assert await post(client, gate.url + "/ng", b"c1 de", NG) == (200, b"c1 " + PONG)
        assert gate.asked[0][0].where.startswith("tcp [::1]:")


async def test_what_is_lost_is_asked_again(
    gate: GateStandIn, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    """HTTP has no retransmissions: the same message goes to the gate until there is an answer."""
    monkeypatch.setattr(http, "_AGAIN", 0.01)
    gate.silent = 3
    assert await post(client, gate.url + "/ng", b"c1 de", NG) == (200, b"c1 " + PONG)
    assert gate.messages == [b"c1 de"] * 4


async def test_no_answer_is_said_so(
    gate: GateStandIn, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    """Status 504, and nothing is left waiting: the cookie is free again."""
    monkeypatch.setattr(http, "_AGAIN", 0.01)
    monkeypatch.setattr(http, "_PATIENCE", 0.05)
    gate.silent = 1000
    assert (await post(client, gate.url + "/ng", b"c1 de", NG))[0] == 504
    gate.silent = 0
    assert (await post(client, gate.url + "/ng", b"c1 de", NG))[0] == 200
    assert gate.reports == []


async def test_plain_messages_need_json(
    gate: GateStandIn, json_gate: GateStandIn, client: aiohttp.ClientSession
):
    """Without a cookie only in JSON; the gate gets one of our own each time."""
    body = b'{"command":"ping"}'
    for headers in (NG, JSON):
        answer = await post(client, json_gate.url + "/ng-plain", body, headers)
        assert answer == (200, b'{"result":"pong"}')
    assert (await post(client, gate.url + "/ng-plain", body, JSON))[0] == 404

    cookies = {message.partition(b" ")[0] for message in json_gate.messages}
    assert len(cookies) == 2
    assert [message.partition(b" ")[2] for message in json_gate.messages] == [body, body]
    assert gate.asked == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/cli/list+totals", {}, b"", 403),
        ("POST", "/cli", {"Content-Type": "text/plain"}, b"list", 403),
        ("GET", "/metrics", {}, b"", 403),
        ("GET", "/ping", {}, b"", 403),
        ("POST", "/admin", JSON, b"{}", 403),
        ("POST", "/janus/1", JSON, b"{}", 403),
        ("GET", "/", {}, b"", 404),
        ("POST", "/ng/", NG, b"c1 de", 404),
        ("POST", "//ng", NG, b"c1 de", 404),
        ("GET", "/ng", {}, b"", 405),
        ("OPTIONS", "/ng", {}, b"", 405),
        ("POST", "/ng", JSON, b"c1 de", 415),
        ("POST", "/ng", NG, b"nocookie", 400),
        ("POST", "/ng", NG, b"", 400),
        ("POST", "/ng", NG, b"c1 " + b"d" * MAX_MESSAGE, 413),
    ],
)
async def test_whatever_else_is_refused_on_record(
    gate: GateStandIn,
    client: aiohttp.ClientSession,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
):
    """One sentence, a record of who tried, and the gate sees none of it."""
    async with client.request(method, gate.url + path, data=body, headers=headers) as answer:
        said = await answer.text()

    assert answer.status == status
    assert said.startswith("callguard: ")
    assert said.count("\n") == 1
    assert gate.asked == []
    (report,) = gate.reports
    assert report.what == "message_refused"
    assert report.call_id is None
    assert str(report.details["who"]).startswith("tcp 127.0.0.1:")


async def test_websocket_messages(gate: GateStandIn, client: aiohttp.ClientSession):
    """Each frame is a message, text or octets; each answer a frame of octets."""
    talk = await client.ws_connect(gate.url + "/any", protocols=["ng.rtpengine.com"])
    async with talk:
        assert talk.protocol == "ng.rtpengine.com"
        await talk.send_bytes(b"c1 de")
        await talk.send_str("c2 de")
        answers = {(await talk.receive_bytes()) for _ in range(2)}

    assert answers == {b"c1 " + PONG, b"c2 " + PONG}
    assert gate.messages == [b"c1 de", b"c2 de"]


async def test_a_websocket_message_does_not_wait_for_another(
    gate: GateStandIn, client: aiohttp.ClientSession
):
    """One whose answer is held does not hold the next."""
    async with client.ws_connect(gate.url, protocols=["ng.rtpengine.com"]) as talk:
        gate.silent = 1
        await talk.send_bytes(b"held de")
        await talk.send_bytes(b"c2 de")
        assert await talk.receive_bytes() == b"c2 " + PONG
        asker = gate.asked[0][0]
        asker.way.send(b"held late")
        assert await talk.receive_bytes() in {b"held late", b"held " + PONG}


async def test_plain_websocket_messages_keep_their_order(
    json_gate: GateStandIn, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    """Answers have no cookie, so they come in the order of the questions."""
    monkeypatch.setattr(http, "_AGAIN", 0.01)
    json_gate.answer = lambda body: body
    json_gate.silent = 2
    async with client.ws_connect(json_gate.url, protocols=["ng-plain.rtpengine.com"]) as talk:
        for number in range(5):
            await talk.send_bytes(b'{"n":%d}' % number)
        for number in range(5):
            assert await talk.receive_bytes() == b'{"n":%d}' % number


@pytest.mark.parametrize(
    "protocols",
    [
        [],
        ["cli.rtpengine.com"],
        ["echo.rtpengine.com"],
        ["janus-protocol"],
        ["ng-plain.rtpengine.com"],
    ],
)
async def test_other_subprotocols_are_refused_on_record(
    gate: GateStandIn, client: aiohttp.ClientSession, protocols: list[str]
):
    """The handshake fails; plain messages need JSON here, too."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(gate.url, protocols=protocols)

    assert refused.value.status == 400
    assert [report.what for report in gate.reports] == ["message_refused"]


async def test_a_websocket_message_that_is_none_is_on_record(
    gate: GateStandIn, client: aiohttp.ClientSession
):
    """It gets no answer, and the next one does."""
    async with client.ws_connect(gate.url, protocols=["ng.rtpengine.com"]) as talk:
        await talk.send_bytes(b"nocookie")
        await talk.send_bytes(b"c1 de")
        assert await talk.receive_bytes() == b"c1 " + PONG
    assert [report.what for report in gate.reports] == ["message_refused"]


async def test_a_websocket_message_that_is_too_long_ends_the_connection(
    gate: GateStandIn, client: aiohttp.ClientSession
):
    """Close code 1009, message too big."""
    async with client.ws_connect(gate.url, protocols=["ng.rtpengine.com"]) as talk:
        await talk.send_bytes(b"c1 " + b"d" * MAX_MESSAGE)
        message = await talk.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
    assert gate.asked == []


async def test_a_handshake_that_is_none_is_refused(
    gate: GateStandIn, client: aiohttp.ClientSession
):
    """An upgrade without a key."""
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "ng.rtpengine.com"}
    async with client.get(gate.url, headers=headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /ng HT",
        b"POST /ng HTTP/1.1\r\nHost: h\r\nContent-Ty",
        b"POST /ng HTTP/1.1\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 9\r\n\r\nc",
    ],
)
async def test_a_slow_client_is_let_go(begun: bytes, monkeypatch: pytest.MonkeyPatch):
    """Wherever it stops, the connection ends."""
    monkeypatch.setattr(http, "_IDLE", 0.1)
    monkeypatch.setattr(http, "_PATIENCE", 0.1)
    monkeypatch.setattr(http, "_FAREWELL", 0.1)
    async with listening(Encoding.BENCODE) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(begun)
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        assert gate.asked == []


async def test_connections_are_bounded(
    gate: GateStandIn, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    """The one that was silent for longest gives way; who is heard stays."""
    monkeypatch.setattr(connections, "MOST", 3)
    async with client.ws_connect(gate.url, protocols=["ng.rtpengine.com"]) as talk:
        idle = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(2)]
        await talk.send_bytes(b"c1 de")
        await talk.receive_bytes()
        more = await asyncio.open_connection("127.0.0.1", gate.port)
        async with asyncio.timeout(5):
            assert await idle[0][0].read() == b""
        await talk.send_bytes(b"c2 de")
        assert await talk.receive_bytes() == b"c2 " + PONG
    for _, writer in (*idle, more):
        writer.close()


async def test_octets_that_are_no_http_are_logged_nowhere(
    gate: GateStandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    """What follows a body may be content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(b"sip:alice@example\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.")
    writer.close()

    assert "alice" not in caplog.text
    assert "alice" not in "".join(capfd.readouterr())


async def test_a_port_that_is_taken_is_an_error():
    """As for the other listeners."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = Endpoint("http", "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await http.listen_http(endpoint, Encoding.BENCODE, lambda *_: True, lambda _: None)
