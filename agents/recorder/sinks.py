"""The sinks that the relay's copies are sent to: sockets that nobody reads.

1. A sink is a pair of UDP ports on loopback, the first one even: media and RTCP (RFC 3550, 11).
2. A sink is bound so that its port is the agent's alone, and so that the relay is not told that
   nobody is there. What arrives is dropped at the socket; the kernel's media filter has seen it
   before, on `lo`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator

__all__ = ["Sinks"]

_ATTEMPTS = 64
_ATTACH_FILTER, _LOCK_FILTER = 26, 44  # SO_ATTACH_FILTER, SO_LOCK_FILTER: asm-generic/socket.h
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)  # classic BPF: ret #0


class Sinks:
    """The open sinks, by the serial number of their subscription."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, list[socket.socket]]] = {}

    def bound(self) -> Iterator[tuple[int, str, list[int]]]:
        """Yield each subscription with its address and all its ports."""
        for serial, (host, sockets) in self._open.items():
            yield serial, host, [_port(each) for each in sockets]

    def open(self, serial: int, streams: int, host: str) -> tuple[int, ...] | None:
        """Bind a sink for every stream and return the even ports; None when that fails."""
        sockets: list[socket.socket] = []
        ports: list[int] = []
        try:
            for _ in range(streams):
                pair = _pair(host)
                sockets += pair
                ports.append(_port(pair[0]))
        except OSError:
            _close(sockets)
            return None
        self._open[serial] = host, sockets
        return tuple(ports)

    def close(self, serial: int) -> None:
        """Give the sinks of a subscription up; none is fine."""
        _, sockets = self._open.pop(serial, ("", []))
        _close(sockets)

    def close_all(self) -> None:
        """Give every sink up."""
        for serial in list(self._open):
            self.close(serial)


def _port(sink: socket.socket) -> int:
    return int(sink.getsockname()[1])


def _pair(host: str) -> list[socket.socket]:
    """Bind an even port that the kernel has free, and the one after it."""
    error: OSError | None = None
    for _ in range(_ATTEMPTS):
        first = _bound(host, 0)
        port = _port(first)
        try:
            if port % 2 == 0:
                return [first, _bound(host, port + 1)]
            other = _bound(host, port - 1)
        except OSError as taken:
            first.close()
            error = taken
        else:
            return [other, first]
    raise error or OSError("no pair of ports is free")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sink = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
        code = struct.pack("HL", 1, ctypes.addressof(program))
        sink.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, code)
        sink.setsockopt(socket.SOL_SOCKET, _LOCK_FILTER, 1)
        sink.bind((host, port))
    except OSError:
        sink.close()
        raise
    return sink


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
