"""What the agent tells the operators of its node, over a socket that only its user may open.

The socket stands in the state folder, mode 0600. One connection, one JSON object, no question.
No subject is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

__all__ = ["NAME", "StatusError", "ask", "serving"]

NAME = "status.sock"
_PATIENCE = 5.0
_LARGEST = 1 << 24


class StatusError(Exception):
    """No agent answers."""


@asynccontextmanager
async def serving(folder: Path, tell: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Answer as long as the block runs; ``tell`` makes the answer."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(tell()).encode() + b"\n")
            await writer.drain()
        except OSError:
            pass  # Whoever asked has gone.
        finally:
            writer.close()

    with _Listener(folder) as listener:
        server = await asyncio.start_unix_server(answer, sock=listener)
        try:
            yield
        finally:
            server.close()


class _Listener:
    """The bound socket; its name is gone when the block ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def __enter__(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        before = os.umask(0o177)
        try:
            _through(self._path.parent, listener.bind)
        finally:
            os.umask(before)
        return listener

    def __exit__(self, *exc: object) -> None:
        self._path.unlink(missing_ok=True)


def ask(folder: Path) -> dict[str, Any]:
    """Ask the running agent; raises StatusError when there is none or it may not be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_PATIENCE)
        try:
            _through(folder, asking.connect)
            data = b""
            while piece := asking.recv(65536):
                data += piece
                if len(data) > _LARGEST:
                    break
            answer: dict[str, Any] = json.loads(data)
        except OSError as error:
            raise StatusError(f"no agent answers in {folder}: {error.strerror or error}") from error
        except ValueError as error:
            raise StatusError(f"the agent in {folder} gave half an answer") from error
    return answer


def _through(folder: Path, use: Callable[[str], None]) -> None:
    """Use the socket's name by way of the open folder: a socket's path has only 108 octets."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{descriptor}/{NAME}")
    finally:
        os.close(descriptor)
