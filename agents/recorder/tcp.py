"""NG over TCP: one connection a client, messages one after the other, split anywhere.

1. A connection that sends what cannot be a message is closed; what went before stands.
2. Connections are bounded in number (`connections`), and so is what one may have sent of a message.
3. A listener that is closed has no connection left.
4. Of what one connection sends at once, `_AT_ONCE` messages are taken before others have a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from agents.config import Endpoint
from agents.core.ngcodec import Encoding, NgMalformed
from agents.core.ngframes import Frames
from agents.core.nggate import Asker
from agents.recorder.connections import Connections
from agents.recorder.udp import Ask

__all__ = ["TcpListener", "listen_tcp"]

_UNSENT = 1 << 20
_AT_ONCE = 64


class _Connection(asyncio.Protocol):
    """One client; it is also the way to answer it."""

    def __init__(self, encoding: Encoding, ask: Ask, others: Connections) -> None:
        self._encoding = encoding
        self._ask = ask
        self._others = others
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._asker: Asker | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client in."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's
        self._transport = transport
        address = transport.get_extra_info("peername")
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self._asker = Asker(f"tcp {host}:{address[1]}", self, self._encoding)
        self._others.opened(self, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._others.closed(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take what came of one message or of several."""
        assert self._asker is not None  # noqa: S101 - the protocol's order
        self._others.heard(self)
        self._take(self._frames.feed(data))

    def _take(self, messages: Iterator[bytes]) -> None:
        """Take some messages; who sends very many waits until others have had their turn."""
        assert self._asker is not None  # noqa: S101 - the protocol's order
        try:
            for number, message in enumerate(messages, 1):
                self._ask(self._asker, message)
                if number == _AT_ONCE:
                    self._wait(messages)
                    return
        except NgMalformed:
            self._close()
        else:
            if self._transport is not None:
                self._transport.resume_reading()

    def _wait(self, messages: Iterator[bytes]) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._take, messages)

    def send(self, data: bytes) -> None:
        """Answer; who does not read its answers is let go."""
        if self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNSENT:
            self._transport.abort()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class TcpListener:
    """One listening address."""

    def __init__(self, server: asyncio.Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    def close(self) -> None:
        """Listen no more (rule 3)."""
        self._server.close()
        self._connections.close()


async def listen_tcp(endpoint: Endpoint, encoding: Encoding, ask: Ask) -> TcpListener:
    """Listen; raises OSError."""
    connections = Connections()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(encoding, ask, connections), endpoint.host.strip("[]"), endpoint.port
    )
    return TcpListener(server, connections)
