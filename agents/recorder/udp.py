"""NG over UDP: where the SIP proxy's processes ask.

1. A client whose message went to the relay gets a socket of its own, connected to it: the kernel
   then keeps its messages apart from everybody else's, and a flood from elsewhere does not stand
   in their way.
2. Strangers are read after the clients, `_STRANGERS` messages in `_BREATH` at the most, from a
   queue that is short: what is beyond it the kernel drops, and who is no flood asks again.
3. Clients are bounded in number; the one that was silent for longest gives way. One that sends a
   whole turn of what is all refused is a stranger again.
4. The port is the listener's alone when it begins: only then it is shared, among its own sockets.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.config import Endpoint
from agents.core.ngcodec import Encoding
from agents.core.nggate import Asker

__all__ = ["UdpListener"]

Address = Any  # what the socket module calls one
Ask = Callable[[Asker, bytes], bool]

_LARGEST = 65536
_AT_ONCE = 64
_STRANGERS = 16
_BREATH = 0.001
_CLIENTS = 256
_BUFFER = 4 << 20
_QUEUE = 256 << 10  # of strangers: some hundred datagrams


@dataclass(frozen=True, slots=True)
class _Way:
    """How to answer a UDP client."""

    listener: UdpListener
    address: Address

    def send(self, data: bytes) -> None:
        """Send it an answer; one that is gone gets none."""
        self.listener.send(self.address, data)


class UdpListener:
    """One listening address. ``ask`` takes a message and says whether it came to the relay."""

    def __init__(self, endpoint: Endpoint, encoding: Encoding, ask: Ask) -> None:
        self._host, self._port = endpoint.host.strip("[]"), endpoint.port
        self._family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._encoding = encoding
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._clients: OrderedDict[Address, tuple[Asker, socket.socket]] = OrderedDict()
        self._bound(_QUEUE, alone=True).close()  # Rule 4.
        self._general = self._bound(_QUEUE)
        self._loop.add_reader(self._general.fileno(), self._read_strangers)

    def close(self) -> None:
        """Listen no more."""
        for _, mine in self._clients.values():
            self._loop.remove_reader(mine.fileno())
            mine.close()
        self._clients.clear()
        self._loop.remove_reader(self._general.fileno())
        self._general.close()

    def send(self, address: Address, data: bytes) -> None:
        """Answer a client."""
        found = self._clients.get(address)
        try:
            if found is not None:
                found[1].send(data)
            else:
                self._general.sendto(data, address)
        except ConnectionRefusedError:
            self._drop(address)
        except OSError:
            pass  # It asks again, or it is gone.

    def _bound(self, buffer: int = _BUFFER, *, alone: bool = False) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            # Only sockets of the same user may share the port (socket(7)).
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(not alone))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            made.bind((self._host, self._port))
        except OSError as error:
            made.close()
            where = f"udp:{self._host}:{self._port}"
            raise OSError(error.errno, f"{error.strerror}: cannot listen", where) from error
        return made

    def _read_strangers(self) -> None:
        for _ in range(_STRANGERS):
            try:
                data, address = self._general.recvfrom(_LARGEST)
            except OSError:
                break
            known = self._clients.get(address)
            asker = known[0] if known is not None else self._asker(address)
            if self._ask(asker, data) and known is None:
                self._welcome(address, asker)
        # Rule 2. Also when there were few: a flood that this thread keeps up with takes all of it.
        self._loop.remove_reader(self._general.fileno())
        self._loop.call_later(_BREATH, self._listen_again)

    def _listen_again(self) -> None:
        if self._general.fileno() >= 0:
            self._loop.add_reader(self._general.fileno(), self._read_strangers)

    def _asker(self, address: Address) -> Asker:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        where = f"udp {host}:{address[1]}"
        return Asker(where, _Way(self, address), self._encoding)

    def _welcome(self, address: Address, asker: Asker) -> None:
        """Give a client its own socket (rule 1)."""
        try:
            mine = self._bound()
        except OSError:
            return
        try:
            mine.connect(address)
        except OSError:
            mine.close()
            return
        self._clients[address] = asker, mine
        self._loop.add_reader(mine.fileno(), self._read_client, address, mine)
        if len(self._clients) > _CLIENTS:
            self._drop(next(iter(self._clients)))

    def _read_client(self, address: Address, mine: socket.socket) -> None:
        reached = 0
        for _ in range(_AT_ONCE):
            try:
                # Between its binding and its connecting, others' messages may have come in.
                data, sender = mine.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    self._drop(address)
                return
            known = self._clients.get(sender)
            if known is not None and sender == address:
                self._clients.move_to_end(address)
            reached += self._ask(known[0] if known is not None else self._asker(sender), data)
        if not reached:  # Rule 3.
            self._drop(address)

    def _drop(self, address: Address) -> None:
        found = self._clients.pop(address, None)
        if found is not None:
            self._loop.remove_reader(found[1].fileno())
            found[1].close()
