"""The agent's one socket to the relay's NG port.

It is bound to an address of its own for as long as the agent lives; the fence lets that address
through and no other.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from agents.config import Endpoint

__all__ = ["Upstream"]

_LARGEST = 65536
_BUFFER = 4 << 20


class Upstream:
    """``answered`` takes a datagram of the relay; ``refused``: nobody listens there."""

    def __init__(
        self,
        control: Endpoint,
        answered: Callable[[bytes], None],
        refused: Callable[[], None],
    ) -> None:
        host = control.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._answered = answered
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((host, 0))
            self._socket.connect((host, control.port))
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read)

    @property
    def source(self) -> tuple[str, int]:
        """The address that the fence lets through."""
        host, port, *_ = self._socket.getsockname()
        return str(host), int(port)

    def send(self, data: bytes) -> None:
        """Send the relay a message."""
        try:
            self._socket.send(data)
        except ConnectionRefusedError:
            self._refused()
        except OSError:
            pass  # It is asked again, as after any loss.

    def close(self) -> None:
        """Ask nothing more, from now on or still."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_LARGEST)
        except ConnectionRefusedError:
            self._refused()
        except OSError:
            pass  # There was none.
        else:
            self._answered(data)
