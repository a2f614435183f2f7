"""NG over TCP: one connection a client, messages one after the other, split anywhere.

1. A connection that sends what cannot be a message is closed; what went before stands.
2. Connections are bounded in number (`connections`), and so is what one may have sent of a message.
3. A listener that is closed has no connection left.
4. A connection has its turn and then others have theirs: `_TURN` messages, or fewer where they are
   refused, after which it waits for `_BREATH`.
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
_TURN = 64
_REFUSED = 4  # of a turn's messages
_BREATH = 0.001


class _Connection(asyncio.Protocol):
    """One client; it is also the way to answer it."""

    def __init__(self, encoding: Encoding, ask: Ask, others: Connections) -> None:
        self._encoding = encoding
        self._ask = ask
        self._others = others
        self._frames = Frames()
        self._messages: Iterator[bytes] = iter(())
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
        self._others.heard(self)
        self._messages = self._frames.feed(data)
        self._take_turn()

    def send(self, data: bytes) -> None:
        """Answer; who does not read its answers is let go."""
        if self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNSENT:
            self._transport.abort()

    def _take_turn(self) -> None:
        """Rule 4. While it waits, nothing is read: what is taken of the stream stays in order."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            done = self._ask_some()
        except NgMalformed:
            self._transport.close()
            return
        if done:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_BREATH, self._take_turn)

    def _ask_some(self) -> bool:
        """Ask what a turn allows; say whether that was all."""
        assert self._asker is not None  # noqa: S101 - the protocol's order
        asked = 0
        for message in self._messages:
            reached = self._ask(self._asker, message)
            if reached:
                self._others.served(self)
            asked += 1 if reached else _REFUSED
            if asked >= _TURN:
                return False
        return True


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
