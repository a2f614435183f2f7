"""Netlink as the sentry needs it: ask for a list, read what is announced, take attributes apart.

1. A message that is cut short or lies about its lengths ends what is read of it; nothing beyond
   the octets given is read, and nothing but `NetlinkError` is raised.
2. A socket whose queue ran over has lost announcements: `announced` says so (ENOBUFS).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

__all__ = [
    "NetlinkError",
    "announced",
    "ask",
    "attributes",
    "messages",
    "number",
    "open_socket",
    "text",
]

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_LARGEST = 1 << 17
_PATIENCE = 1.0
_ROOM = 1 << 20

Message = tuple[int, bytes]


class NetlinkError(Exception):
    """The kernel does not tell; the message says why."""


def open_socket(family: int, groups: int = 0) -> socket.socket:
    """Open a netlink socket in the calling thread's namespace; ``groups`` is a mask."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        opened.bind((0, groups))
        if groups:
            opened.setblocking(False)
        else:
            opened.settimeout(_PATIENCE)
    except BaseException:
        opened.close()
        raise
    return opened


def ask(kernel: socket.socket, kind: int, body: bytes) -> list[Message]:
    """Return the whole list that the kernel has of a kind; raises NetlinkError."""
    try:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 1, 0) + body)
        found: list[Message] = []
        while True:
            for told, payload in messages(kernel.recv(_LARGEST)):
                if told == _DONE:
                    return found
                if told == _ERROR:
                    raise NetlinkError(
                        f"error {-int.from_bytes(payload[:4], 'little', signed=True)}"
                    )
                found.append((told, payload))
    except OSError as error:
        raise NetlinkError(error.strerror or str(error)) from error


def announced(kernel: socket.socket) -> tuple[list[Message], bool]:
    """Return what waits on a socket with groups, and whether any was lost (rule 2)."""
    found: list[Message] = []
    lost = False
    while True:
        try:
            found += messages(kernel.recv(_LARGEST))
        except BlockingIOError:
            return found, lost
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            lost = True


def messages(data: bytes) -> Iterator[Message]:
    """Take a datagram apart into (type, payload) (rule 1)."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Take attributes apart, from ``at`` on; of one that stands twice the first counts."""
    found: dict[int, bytes] = {}
    for kind, value in listed(data, at):
        found.setdefault(kind, value)
    return found


def listed(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Take attributes apart in their order (rule 1)."""
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def text(value: bytes | None) -> str:
    """Read a name; what is no text is shown as escapes."""
    return (value or b"").split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def number(value: bytes | None) -> int:
    """Read a number of the kernel's own order; 0 when there is none."""
    return int.from_bytes((value or b"")[:8], "little")
