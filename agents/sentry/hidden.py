"""Who has a socket that no descriptor stands for any more: looked for in every process.

1. A packet ring stays mapped when its descriptor is closed, and goes on being filled; the mapping
   names the socket (/proc/PID/maps).
2. A socket may be registered with io_uring, or opened into it without ever having a descriptor.
   Whoever holds the ring has the socket, and the ring lists it (/proc/PID/fdinfo).
3. What is in flight between two processes is nobody's yet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["hidden"]

_SOCKET: Final = re.compile(rb"socket:\[(\d+)\]")
_RING: Final = "anon_inode:[io_uring]"


def hidden(inodes: frozenset[int]) -> dict[int, set[int]]:
    """Return which processes have which of these sockets (rules 1 and 2)."""
    found: dict[int, set[int]] = {}
    for name in os.listdir("/proc") if inodes else ():  # noqa: PTH208 - plain strings are many times faster
        if name.isdecimal():
            for inode in inodes & {*_mapped(name), *_registered(name)}:
                found.setdefault(inode, set()).add(int(name))
    return found


def _mapped(pid: str) -> Iterator[int]:
    """Rule 1."""
    with suppress(OSError):
        yield from _named(Path(f"/proc/{pid}/maps").read_bytes())


def _registered(pid: str) -> Iterator[int]:
    """Rule 2."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for number in os.listdir(folder):  # noqa: PTH208 - as above
            with suppress(OSError):
                if os.readlink(f"{folder}/{number}") == _RING:  # noqa: PTH115 - as above
                    yield from _named(Path(f"/proc/{pid}/fdinfo/{number}").read_bytes())


def _named(told: bytes) -> Iterator[int]:
    return (int(each) for each in _SOCKET.findall(told))
