"""Netlink as the sentry needs it: ask, change, read what is announced, take attributes apart.

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
    "ask_one",
    "attribute",
    "attributes",
    "change",
    "messages",
    "number",
    "open_socket",
    "request",
    "text",
]

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_LARGEST = 1 << 17
_PATIENCE = 1.0
_ROOM = 1 << 20

Message = tuple[int, bytes]


class NetlinkError(Exception):
    """The kernel does not tell or do it; the message says why, ``code`` by the number of errno."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


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
                    raise _refusal(payload)
                found.append((told, payload))
    except OSError as error:
        raise NetlinkError(error.strerror or str(error)) from error


def ask_one(kernel: socket.socket, kind: int, body: bytes) -> list[Message]:
    """Return what the kernel has of one thing; raises NetlinkError, also when it has none."""
    return _answer(kernel, request(kind, body))


def change(kernel: socket.socket, *requests: bytes) -> None:
    """Have the kernel do this, all in one; raises NetlinkError when it does not."""
    _answer(kernel, b"".join(requests))


def request(kind: int, body: bytes, *, acknowledge: bool = False) -> bytes:
    """Write a message; of those that `change` sends one has to be acknowledged."""
    flags = _REQUEST | (_ACKNOWLEDGE if acknowledge else 0)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Write an attribute."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _answer(kernel: socket.socket, octets: bytes) -> list[Message]:
    try:
        kernel.send(octets)
        found = list(messages(kernel.recv(_LARGEST)))
    except OSError as error:
        raise NetlinkError(error.strerror or str(error), error.errno or 0) from error
    for told, payload in found:
        if told == _ERROR and any(payload[:4]):  # A zero is an acknowledgement.
            raise _refusal(payload)
    return [each for each in found if each[0] != _ERROR]


def _refusal(payload: bytes) -> NetlinkError:
    code = -int.from_bytes(payload[:4], "little", signed=True)
    return NetlinkError(f"error {code}", code)


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
