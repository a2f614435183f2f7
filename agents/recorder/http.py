"""NG over HTTP and WebSocket, as the relay itself would serve it.

1. Two ways in: `POST /ng` with a message as its body, and a WebSocket of the subprotocol
   `ng.rtpengine.com` with a message in each frame. A message is a cookie, a space and a dictionary,
   as over UDP, and is judged as every other.
2. Everything else that the relay's own port offers (its CLI, its metrics, messages without a
   cookie) is answered 404 or 403 and is not there.
3. Bodies, frames and connections are bounded, and an answer that does not come is a 504.

Source: rtpengine's docs/http_websocket_support.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import WSMsgType, web

from agents.config import Endpoint
from agents.core.ngcodec import MAX_COOKIE, MAX_MESSAGE, Encoding
from agents.core.nggate import Asker
from agents.recorder.udp import Ask

__all__ = ["listen_http"]

_PATH: Final = "/ng"
_PROTOCOL: Final = "ng.rtpengine.com"
_TYPE: Final = "application/x-rtpengine-ng"
_PATIENCE = 6.0
_CONNECTIONS = 128
_WAITING = 256
_LARGEST = MAX_MESSAGE + MAX_COOKIE + 1


class _Once:
    """The way to answer one POST."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send(self, data: bytes) -> None:
        """Take the answer."""
        if not self.answer.done():
            self.answer.set_result(data)


class _Socket:
    """The way to answer over one WebSocket; who does not read its answers loses them."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)

    def send(self, data: bytes) -> None:
        """Take an answer."""
        if not self.answers.full():
            self.answers.put_nowait(data)


class _Port:
    def __init__(self, encoding: Encoding, ask: Ask) -> None:
        self._encoding = encoding
        self._ask = ask
        self._open = 0

    def _asker(self, request: web.Request, way: _Once | _Socket) -> Asker:
        gone = ("0.0.0.0", 0)  # noqa: S104 - stands for a client that has left already
        host, port, *_ = request.transport.get_extra_info("peername") if request.transport else gone
        shown = f"[{host}]" if ":" in host else host
        return Asker(f"tcp {shown}:{port}", way, self._encoding)

    async def post(self, request: web.Request) -> web.Response:
        """Answer one message."""
        message, way = await request.read(), _Once()
        self._ask(self._asker(request, way), message)
        try:
            async with asyncio.timeout(_PATIENCE):
                return web.Response(body=await way.answer, content_type=_TYPE)
        except TimeoutError:
            raise web.HTTPGatewayTimeout(text="no answer; ask again") from None

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Answer the messages of one WebSocket until it is closed."""
        offered = request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
        if _PROTOCOL not in offered:
            raise web.HTTPForbidden(text=f"only the subprotocol {_PROTOCOL} is served here")
        if self._open >= _CONNECTIONS:
            raise web.HTTPServiceUnavailable(text="too many connections")
        self._open += 1
        try:
            return await self._converse(request)
        finally:
            self._open -= 1

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        connection = web.WebSocketResponse(
            protocols=(_PROTOCOL,), max_msg_size=_LARGEST, heartbeat=30
        )
        await connection.prepare(request)
        way = _Socket()
        asker = self._asker(request, way)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(_answer(connection, way))
            async for frame in connection:
                if frame.type is WSMsgType.BINARY:
                    self._ask(asker, frame.data)
                elif frame.type is WSMsgType.TEXT:
                    self._ask(asker, frame.data.encode())
            answering.cancel()
        return connection


async def _answer(connection: web.WebSocketResponse, way: _Socket) -> None:
    while True:
        await connection.send_bytes(await way.answers.get())


async def listen_http(endpoint: Endpoint, encoding: Encoding, ask: Ask) -> web.AppRunner:
    """Listen; the caller calls its `cleanup`. Raises OSError."""
    port = _Port(encoding, ask)
    application = web.Application(client_max_size=_LARGEST)
    application.router.add_post(_PATH, port.post)
    application.router.add_get("/{any:.*}", port.socket)
    runner = web.AppRunner(application, access_log=None, handle_signals=False, keepalive_timeout=30)
    await runner.setup()
    try:
        await web.TCPSite(runner, endpoint.host.strip("[]"), endpoint.port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
