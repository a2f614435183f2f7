"""NG over HTTP and WebSocket, as the relay would serve it itself.

1. POST /ng takes a cookie, a space and a dictionary, like a datagram; so is the answer. POST
   /ng-plain takes a dictionary alone, in JSON, where JSON is the configured encoding. WebSocket's
   subprotocols ng.rtpengine.com and ng-plain.rtpengine.com carry the same, a message a frame, at
   any path.
2. Whatever else the relay serves there (its command line, metrics, the conferences of Janus) is
   refused in one sentence, and that somebody tried is on record.
3. Who asks over a stream does not ask again as over UDP, so that is done here: until there is an
   answer, or `_PATIENCE` is over.
4. Head, body, message, connections and what is under way on one are bounded; whoever is slow to
   ask or to read is let go.
5. Nothing that is received is logged.

Sources: rtpengine's docs/http_websocket_support.md, daemon/websocket.c.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from agents.config import Endpoint
from agents.core.ngcodec import MAX_MESSAGE, Encoding, NgMalformed, split
from agents.core.nggate import Asker
from agents.core.relaycommands import Report
from agents.recorder.connections import Connections
from agents.recorder.udp import Ask

__all__ = ["HttpListener", "listen_http"]

_TYPE = "application/x-rtpengine-ng"
_PLAIN_TYPES = (_TYPE, "application/json")
_COOKIES, _PLAIN = "ng.rtpengine.com", "ng-plain.rtpengine.com"
_OTHERS = ("/cli", "/metrics", "/admin", "/janus", "/ping")
_PATIENCE = 5.0
_AGAIN = 0.25
_IDLE = 15.0
_FAREWELL = 1.0
_HEAD = 4096
_FIELDS = 64
_AT_ONCE = 64
_SILENT = logging.Logger("nobody", logging.CRITICAL + 1)  # noqa: LOG001 - rule 5: it is no one's


@dataclass(frozen=True, slots=True)
class _Way:
    """How to answer what came over one connection."""

    listener: HttpListener = field(repr=False)
    peer: str

    def send(self, data: bytes) -> None:
        """Give the answer to who waits for it; nobody may."""
        self.listener.answered(self.peer, data)


Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _RefusedError(Exception):
    """What came is no NG message (``bad``), or has no answer; the sentence says which."""

    def __init__(self, status: int, sentence: str, *, bad: bool = True) -> None:
        super().__init__(sentence)
        self.status = status
        self.bad = bad


class HttpListener:
    """One listening address. ``report`` puts on record what is refused here."""

    def __init__(self, encoding: Encoding, ask: Ask, report: Callable[[Report], None]) -> None:
        self._encoding = encoding
        self._ask = ask
        self._report = report
        self._waiting: dict[tuple[str, bytes], asyncio.Future[bytes]] = {}
        self._protocols = (_COOKIES, _PLAIN) if encoding is Encoding.JSON else (_COOKIES,)
        self._connections = Connections()
        self._server = _Server(self._serve, self._connections)
        self._listening: asyncio.Server

    async def listen(self, endpoint: Endpoint) -> None:
        """Listen; raises OSError."""
        self._listening = await asyncio.get_running_loop().create_server(
            self._server, endpoint.host.strip("[]"), endpoint.port
        )

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        self._listening.close()
        self._connections.close()
        await self._server.shutdown(_FAREWELL)

    def answered(self, peer: str, data: bytes) -> None:
        """Take an answer of the gate."""
        waiting = self._waiting.get((peer, data.partition(b" ")[0]))
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    # -- one request -------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self._connections.heard(request.protocol)
        peer = _peer(request)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._talk(request, peer)
            plain = self._is_plain(request)
            answer = await self._answer(peer, await _body(request), plain=plain)
        except _RefusedError as error:
            self._refused(peer, error)
            response = web.Response(status=error.status, text=f"callguard: {error}\n")
            response.force_close()
            return await _sent(request, response)
        return await _sent(request, web.Response(body=answer, content_type=_TYPE))

    def _is_plain(self, request: web.BaseRequest) -> bool:
        """Tell the two places apart; raises _RefusedError for all others (rule 2)."""
        path = request.path
        if path.startswith(_OTHERS):
            raise _RefusedError(403, "only /ng is served here; operators use callguard-agent relay")
        plain = path == "/ng-plain" and _PLAIN in self._protocols
        if path != "/ng" and not plain:
            raise _RefusedError(404, "only /ng is served here, and /ng-plain where NG is in JSON")
        if request.method != "POST":
            raise _RefusedError(405, "NG messages are posted")
        if request.content_type not in (_PLAIN_TYPES if plain else (_TYPE,)):
            raise _RefusedError(415, f"the content type of an NG message is {_TYPE}")
        return plain

    async def _answer(self, peer: str, body: bytes, *, plain: bool) -> bytes:
        """Ask the gate until it answers (rule 3)."""
        asker = Asker(peer, _Way(self, peer), self._encoding)
        # A message without a cookie gets one, so that its answer finds back.
        message = secrets.token_hex(12).encode() + b" " + body if plain else body
        try:
            cookie, _ = split(message)
        except NgMalformed as error:
            raise _RefusedError(400, str(error)) from error
        key = peer, cookie
        if key in self._waiting:
            raise _RefusedError(409, "a message with this cookie is under way", bad=False)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        try:
            async with asyncio.timeout(_PATIENCE):
                while not answer.done():
                    self._ask(asker, message)
                    await asyncio.wait((answer,), timeout=_AGAIN)
        except TimeoutError as error:
            raise _RefusedError(504, "the media relay does not answer", bad=False) from error
        finally:
            del self._waiting[key]
        return answer.result()[len(cookie) + 1 :] if plain else answer.result()

    # -- WebSocket --------------------------------------------------------------------------------

    async def _talk(self, request: web.BaseRequest, peer: str) -> web.StreamResponse:
        """Take messages until the client has gone."""
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if not {each.strip() for each in offered} & set(self._protocols):
            raise _RefusedError(400, f"the subprotocols here are {', '.join(self._protocols)}")
        talk = web.WebSocketResponse(
            protocols=self._protocols,
            heartbeat=_IDLE,
            timeout=_PATIENCE,
            max_msg_size=MAX_MESSAGE,
            compress=False,
        )
        try:
            await talk.prepare(request)
        except web.HTTPException as error:
            raise _RefusedError(400, "that is no WebSocket handshake") from error
        plain = talk.ws_protocol == _PLAIN
        # Without cookies, their order is all that tells answers apart.
        room = asyncio.Semaphore(1 if plain else _AT_ONCE)

        async def say(body: bytes) -> None:
            try:
                await self._say(talk, peer, body, plain=plain)
            except (TimeoutError, ConnectionError):
                _abort(request)
            finally:
                room.release()

        async with asyncio.TaskGroup() as tasks:
            under_way: set[asyncio.Task[None]] = set()
            async for message in talk:
                self._connections.heard(request.protocol)
                await room.acquire()
                data = message.data
                task = tasks.create_task(say(data.encode() if isinstance(data, str) else data))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            for each in under_way:
                each.cancel()
        return talk

    async def _say(
        self, talk: web.WebSocketResponse, peer: str, body: bytes, *, plain: bool
    ) -> None:
        """Answer one message; one that has no answer gets none, as over UDP."""
        try:
            answer = await self._answer(peer, body, plain=plain)
        except _RefusedError as error:
            self._refused(peer, error)
            return
        async with asyncio.timeout(_PATIENCE):
            await talk.send_bytes(answer)

    def _refused(self, peer: str, error: _RefusedError) -> None:
        if error.bad:
            self._report(Report("message_refused", None, {"who": peer, "why": str(error)}))


class _Server(web.Server):
    """Makes a protocol for each connection, within bounds (rule 4)."""

    def __init__(self, serve: Serve, connections: Connections) -> None:
        super().__init__(
            serve,
            handler_cancellation=True,
            access_log=None,
            logger=_SILENT,
            keepalive_timeout=_IDLE,
            lingering_time=_FAREWELL,
            auto_decompress=False,
            max_line_size=_HEAD,
            max_field_size=_HEAD,
            max_headers=_FIELDS,
        )
        self._open = connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection in."""
        super().connection_made(handler, transport)
        self._open.opened(handler, transport.abort)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget it."""
        super().connection_lost(handler, exc)
        self._open.closed(handler)


async def listen_http(
    endpoint: Endpoint, encoding: Encoding, ask: Ask, report: Callable[[Report], None]
) -> HttpListener:
    """Listen; raises OSError."""
    listener = HttpListener(encoding, ask, report)
    await listener.listen(endpoint)
    return listener


async def _body(request: web.BaseRequest) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            while piece := await request.content.readany():
                body += piece
                if len(body) > MAX_MESSAGE:
                    raise _RefusedError(413, "the message is longer than a datagram can be")
    except TimeoutError as error:
        raise _RefusedError(408, "the message does not come", bad=False) from error
    except web.RequestPayloadError as error:
        raise _RefusedError(400, "the body cannot be read") from error
    return body


async def _sent(request: web.BaseRequest, response: web.Response) -> web.Response:
    try:
        async with asyncio.timeout(_PATIENCE):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        _abort(request)
    return response


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _peer(request: web.BaseRequest) -> str:
    address = request.get_extra_info("peername") or ("", 0)
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"tcp {host}:{address[1]}"
