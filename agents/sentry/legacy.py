"""Asks the kernel for the tables of legacy iptables, in the calling thread's namespace.

Nobody announces a change of them, so they are read at every sweep. A namespace in which nobody has
used legacy iptables has none: /proc/net/ip_tables_names is empty, and asking would make no table.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from pathlib import Path
from typing import Final

from agents.core.sentryevents import Finding
from agents.sentry.xtables import FAMILIES, INFO, Layout, Table, copying, read_info

__all__ = ["copies", "names", "opened", "read"]

_NET: Final = Path("/proc/thread-self/net")
_GET_INFO, _GET_ENTRIES = 64, 65
_ASKED: Final = struct.Struct("=32sI4x")  # struct ipt_get_entries, before its entries
_NAME_OCTETS: Final = 32
_TRIES: Final = 3

_libc = ctypes.CDLL(None, use_errno=True)


def copies() -> frozenset[Finding]:
    """Return the rules that copy. Raises OSError."""
    found: set[Finding] = set()
    for protocol, layout in FAMILIES.items():
        there = names(protocol)
        if there:
            with opened(layout) as kernel:
                for name in there:
                    table, octets = read(kernel, layout, name)
                    found |= {finding for finding, _ in copying(octets, layout, table)}
    return frozenset(found)


def names(protocol: str) -> list[bytes]:
    """Return which tables there are; "ip" or "ip6"."""
    with contextlib.suppress(FileNotFoundError):  # The kernel has no legacy iptables.
        return (_NET / f"{protocol}_tables_names").read_bytes().split()
    return []


def opened(layout: Layout) -> socket.socket:
    """Open a socket at which tables can be asked for: any of the family."""
    return socket.socket(layout.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def read(kernel: socket.socket, layout: Layout, name: bytes) -> tuple[Table, bytes]:
    """Return a table's description and its entries. Raises OSError."""
    for _ in range(_TRIES):
        asked = name.ljust(_NAME_OCTETS, b"\0") + bytes(INFO.size - _NAME_OCTETS)
        table = read_info(_option(kernel, layout, _GET_INFO, asked))
        asked = _ASKED.pack(table.name, table.size) + bytes(table.size)
        with contextlib.suppress(BlockingIOError):  # It was changed in between.
            return table, _option(kernel, layout, _GET_ENTRIES, asked)[_ASKED.size :]
    raise BlockingIOError(errno.EAGAIN, "a table changes all the time")


def _option(kernel: socket.socket, layout: Layout, option: int, asked: bytes) -> bytes:
    """Call getsockopt(2), which Python only lets answer in what it sends no question with."""
    memory = ctypes.create_string_buffer(asked, len(asked))
    length = ctypes.c_uint32(len(asked))
    if _libc.getsockopt(kernel.fileno(), layout.level, option, memory, ctypes.byref(length)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return memory.raw
