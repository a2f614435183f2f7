"""Asks /proc who holds which socket, where the kernel takes no iterator: slower, and by polling.

The name of a socket's protocol is an attribute of its file (sockfs, "system.sockprotoname"); the
rest is in the tables of its namespace. A packet or raw socket that is in no table within reach has
the ethertype or protocol UNKNOWN, which nothing calls free. AF_XDP sockets are in no table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agents.sentry.holders import Holder
from agents.sentry.namespaces import Listed

__all__ = ["UNKNOWN", "held"]

UNKNOWN: Final = 0xFFFF
_SOCKET: Final = "socket:["
_NAMES: Final = {b"PACKET": (17, 3), b"XDP": (44, 3), b"RAW": (2, 3), b"RAWv6": (10, 3)}
_PACKET, _RAW_IP = 17, (2, 10)


def held(tables: Mapping[int, Listed]) -> list[Holder]:
    """List every descriptor of a socket that could hear content, with what the tables say of it."""
    return [
        holder
        for name in _names("/proc")
        if name.isdecimal()
        for holder in _of_process(int(name), tables)
    ]


def _of_process(pid: int, tables: Mapping[int, Listed]) -> Iterator[Holder]:
    for inode, family, kind in sorted(set(_sockets(pid))):
        known = tables.get(inode)
        uid, comm = _status(pid)
        yield Holder(
            inode=inode,
            cgroup=0,
            pid=pid,
            uid=uid,
            netns=known.netns if known else 0,
            ifindex=known.ifindex if known else 0,
            family=family,
            type=known.type if known else kind,
            protocol=known.protocol if known else _unknown(family in _RAW_IP),
            ethertype=known.ethertype if known else _unknown(family == _PACKET),
            comm=comm,
        )


def _unknown(asked: bool) -> int:  # noqa: FBT001
    return UNKNOWN if asked else 0


def _sockets(pid: int) -> Iterator[tuple[int, int, int]]:
    """Yield (inode, family, type) of each such socket of each of the process's threads."""
    for thread in _names(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}/fd"
        for descriptor in _names(folder):
            path = f"{folder}/{descriptor}"
            with suppress(OSError):
                target = str(Path(path).readlink())
                if target.startswith(_SOCKET):  # nothing else is asked: it may not answer
                    name = os.getxattr(path, "system.sockprotoname").rstrip(b"\0")
                    if name in _NAMES:
                        yield int(target[len(_SOCKET) : -1]), *_NAMES[name]


def _names(folder: str) -> list[str]:
    try:
        return [each.name for each in os.scandir(folder)]
    except OSError:  # it has ended
        return []


def _status(pid: int) -> tuple[int, bytes]:
    """Return the effective user and the kernel's name of a process; (-1, b"") when it has ended."""
    fields: dict[str, str] = {}
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields.get("Uid", "-1\t-1").split("\t")[1]), fields.get("Name", "").encode()
