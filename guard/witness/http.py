"""As much of HTTP/1.1 (RFC 9112) as a witness needs, on asyncio streams.

1. A head is at most 8 KiB and a body at most what the caller says. Both must arrive within ten
   seconds of their first byte; an idle connection is closed after a minute.
2. A body has a Content-Length; transfer codings are refused, so there is one way to read a request.
3. Head and body of an answer leave in one write: two would wait for the peer's delayed
   acknowledgement, forty milliseconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

MAX_HEAD: Final = 8 * 1024
_IDLE: Final = 60.0
_ARRIVAL: Final = 10.0


class BadRequest(Exception):  # noqa: N818  # an answer of the protocol
    """The request cannot be read; `status` is the answer, and the connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; `last` when the connection ends after its answer."""

    method: str
    target: str
    body: bytes
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with its body."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    def encode(self, *, last: bool) -> bytes:
        """Return head and body."""
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"Connection: {'close' if last else 'keep-alive'}\r\n\r\n"
        )
        return head.encode("ascii") + self.body


async def read_request(reader: asyncio.StreamReader, *, limit: int) -> Request | None:
    """Read the next request; None when the peer is gone or silent. Raises BadRequest."""
    try:
        async with asyncio.timeout(_IDLE):
            first = await reader.read(1)
        if not first:
            return None
        async with asyncio.timeout(_ARRIVAL):
            head = first + await reader.readuntil(b"\r\n\r\n")
            method, target, version, headers = _parse_head(head)
            body = await reader.readexactly(_length(headers, limit))
    except asyncio.LimitOverrunError as error:
        raise BadRequest(431, "the head is too large") from error
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return None
    last = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
    return Request(method=method, target=target, body=body, last=last)


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match lines[0].split(" "):
        case [method, target, ("HTTP/1.1" | "HTTP/1.0") as version]:
            pass
        case _:
            raise BadRequest(400, "not a request line of HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise BadRequest(400, "a malformed or repeated header")
        headers[name.lower()] = value.strip()
    return method, target, version, headers


def _length(headers: dict[str, str], limit: int) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "a body needs a Content-Length")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdecimal():
        raise BadRequest(400, "a malformed Content-Length")
    # Compared by digits first: no number of that many digits needs to be computed.
    if len(length) > len(str(limit)) or int(length) > limit:
        raise BadRequest(413, "the body is too large")
    return int(length)
