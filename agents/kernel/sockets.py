"""Opens a packet socket that nothing passes before its filter, which nobody can take off.

The order is the rule:

1. The socket is opened bound to nothing (protocol 0): no packet reaches it.
2. The filter is attached (SO_ATTACH_BPF).
3. The filter is locked (SO_LOCK_FILTER): not even root can detach or replace it.
4. Buffers and options are set.
5. Only then is it bound.

If a step fails, the socket is closed and KernelError says which.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from agents.kernel.errors import KernelError, refused

SOL_PACKET: Final = 263
_SO_ATTACH_BPF, _SO_LOCK_FILTER, _SO_RCVBUFFORCE = 50, 44, 33
_PACKET_STATISTICS = 6
_SIOCGIFHWADDR = 0x8927
_ETHERNET, _LOOPBACK = 1, 772
_EVERY_PROTOCOL, _EVERY_INTERFACE = 0x0003, 0
_SOCKADDR_LL = struct.Struct("=HHi12x")
_IFREQ = struct.Struct("16sH22x")

_libc = ctypes.CDLL(None, use_errno=True)

Prepare = Callable[[socket.socket], None]


def interface_index(name: str) -> int:
    """Return the index of an interface of this network namespace.

    Raises KernelError if it does not exist, or if its frames do not begin with an Ethernet
    header (a tunnel, for instance), because the filters would read them wrongly.
    """
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe, _SIOCGIFHWADDR, _IFREQ.pack(name.encode(), 0))
    except OSError as error:
        raise refused(f"finding the interface {name}", error) from error
    if _IFREQ.unpack(answer)[1] not in {_ETHERNET, _LOOPBACK}:
        raise KernelError(
            f"the interface {name} does not carry Ethernet frames; name one that does"
        )
    return index


def open_filtered(program: int, interfaces: Sequence[int], prepare: Prepare) -> socket.socket:
    """Open a packet socket in the order of the module's rules; `prepare` is step 4.

    `interfaces` are indexes. One is bound to; for several the socket hears all, and its filter
    chooses.
    """
    step = "opening a packet socket"
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        raise refused(step, error) from error
    try:
        step = "attaching the filter"
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
        step = "locking the filter"
        opened.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
        step = "setting up the packet socket"
        opened.setblocking(False)
        prepare(opened)
        step = "binding the packet socket"
        _bind(opened, interfaces[0] if len(interfaces) == 1 else _EVERY_INTERFACE)
    except OSError as error:
        opened.close()
        raise refused(step, error) from error
    except BaseException:
        opened.close()
        raise
    return opened


def _bind(opened: socket.socket, interface: int) -> None:
    # socket.bind wants the name of an interface, and has none for all of them.
    address = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(_EVERY_PROTOCOL), interface)
    if _libc.bind(opened.fileno(), address, len(address)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def set_receive_buffer(opened: socket.socket, size: int) -> None:
    """Set the receive buffer, past the system's limit where CAP_NET_ADMIN allows it."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


class Tally:
    """Packets received and dropped since the opening; the kernel forgets its own when read."""

    __slots__ = ("_dropped", "_layout", "_received")

    def __init__(self, layout: str) -> None:
        self._layout = struct.Struct(layout)
        self._received = self._dropped = 0

    def read(self, opened: socket.socket) -> tuple[int, int]:
        """Return (received, dropped): what passed and was kept, and what found no room."""
        counts = opened.getsockopt(SOL_PACKET, _PACKET_STATISTICS, self._layout.size)
        seen, dropped, *_ = self._layout.unpack(counts)
        self._received += seen - dropped
        self._dropped += dropped
        return self._received, self._dropped
