"""What an operator of the node may ask of the media relay, past the gate: on record, and no more.

1. The socket stands in the state folder, mode 0600: who opens it is the agent's user or root.
2. Three questions: `list`, `query` of one call, `statistics`. Each goes on record with the user who
   asked before it goes to the relay.
3. The answer does not tell of the agent's own recordings: an operator does not learn from it whom
   a warrant is about.
4. One line is asked, one line is answered: the relay's answer, or null when it gives none. Whoever
   is slow to ask or to read is let go.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from agents.core.ngcodec import Encoding, NgDict, NgMalformed, decode, encode

__all__ = ["NAME", "VERBS", "OperatorError", "ask", "serving"]

NAME: Final = "relay.sock"
VERBS: Final = ("list", "query", "statistics")
_PATIENCE = 5.0
_QUESTION = 4096
_LARGEST = 1 << 24

Relay = Callable[[NgDict, str], Awaitable[NgDict | None]]
"""Takes a question and who asked it; returns the relay's answer."""


class OperatorError(Exception):
    """No agent answers, or not as it should."""


@asynccontextmanager
async def serving(folder: Path, relay: Relay) -> AsyncIterator[None]:
    """Answer as long as the block runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                told = await _told(await _line(reader), writer, relay)
                writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()  # Whoever asked has gone, or is slow (rule 4).
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, sock=_bound(folder), limit=_QUESTION)
    try:
        yield
    finally:
        server.close()
        _forget(folder)


def _bound(folder: Path) -> socket.socket:
    """Bind the socket in place of one that was left."""
    _forget(folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    before = os.umask(0o177)
    try:
        with _through(folder) as path:
            listener.bind(path)
    finally:
        os.umask(before)
    return listener


def _forget(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # It is longer than any question.
        return b""


async def _told(line: bytes, writer: asyncio.StreamWriter, relay: Relay) -> dict[str, Any] | None:
    try:
        question = decode(line.strip(), Encoding.JSON)
    except NgMalformed as error:
        return {"result": "error", "error-reason": str(error)}
    verb, call_id = question.get(b"command"), question.get(b"call-id")
    if not isinstance(verb, bytes) or verb.decode("ascii", "replace") not in VERBS:
        return {"result": "error", "error-reason": f"ask one of {', '.join(VERBS)}"}
    asked: NgDict = {b"command": verb, b"limit": b"1000"}
    if verb == b"query":
        if not isinstance(call_id, bytes):
            return {"result": "error", "error-reason": "name the call"}
        asked = {b"command": verb, b"call-id": call_id}
    reply = await relay(asked, f"uid {_user(writer)}")
    return dict(json.loads(_in_json(reply))) if reply is not None else None


def _in_json(reply: NgDict) -> bytes:
    try:
        return encode(reply, Encoding.JSON)
    except NgMalformed:
        return b'{"result": "error", "error-reason": "the answer is no text"}'


def _user(writer: asyncio.StreamWriter) -> int:
    """Return who asks: SO_PEERCRED, unix(7)."""
    peer: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def ask(folder: Path, verb: str, call_id: str = "") -> dict[str, Any]:
    """Ask the running agent; raises OperatorError."""
    question = {"command": verb} | ({"call-id": call_id} if call_id else {})
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, _through(folder) as path:
            asking.settimeout(_PATIENCE)
            asking.connect(path)
            asking.sendall(json.dumps(question).encode() + b"\n")
            while (piece := asking.recv(65536)) and len(data) < _LARGEST:
                data += piece
        told = json.loads(data)
    except OSError as error:
        raise OperatorError(
            f"no agent with a media relay answers in {folder}: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise OperatorError(f"the agent in {folder} gave half an answer") from error
    if not isinstance(told, dict):
        raise OperatorError("the media relay does not answer")
    return told


class _through:  # noqa: N801 - reads as the phrase that it is
    """The socket's name by way of the open folder: a socket's path has only 108 octets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._open = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._open}/{NAME}"

    def __exit__(self, *exc: object) -> None:
        os.close(self._open)
