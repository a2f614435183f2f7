"""Finds the network namespaces of this machine and reads each one's tables of sockets.

A namespace is found by a process that is in it, or by a mount that keeps it (ip-netns(8) and
container engines). The tables (/proc/net/packet, raw, raw6) name no holder, and list a socket whose
descriptor no process has as well: one in flight between two, in a ring of io_uring, or kept by a
mapped packet ring alone. AF_XDP has no such table.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Listed", "listed", "namespaces", "parsed", "read"]

_INET, _INET6, _PACKET, _RAW = 2, 10, 17, 3
_KEPT: Final = re.compile(r" net:\[(\d+)\] (\S+) .* - nsfs ")
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class Listed(NamedTuple):
    """A socket as its namespace's table lists it; `ethertype` in host order, 0 unless packet."""

    inode: int
    uid: int
    netns: int
    ifindex: int
    family: int
    type: int
    protocol: int
    ethertype: int


def namespaces() -> dict[int, str]:
    """Return every namespace by its inode, with a path that leads to it.

    The path is the folder of a process inside (`/proc/PID`) or the file of the mount.
    """
    found: dict[int, str] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if kept := _KEPT.search(line):
            found[int(kept[1])] = kept[2].replace("\\040", " ")
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with suppress(OSError):
                found[(each / "ns/net").stat().st_ino] = str(each)
    return found


def listed() -> dict[int, Listed]:
    """Return what the tables of every namespace list, by the socket's inode."""
    found: dict[int, Listed] = {}
    for netns, path in namespaces().items():
        with suppress(OSError):  # the process or the mount has gone meanwhile
            tables = read(f"{path}/net") if Path(path).is_dir() else _inside(path)
            found |= {each.inode: each for each in parsed(tables, netns) if each.inode}
    return found


def read(folder: str) -> tuple[str, str, str]:
    """Return the tables of packet, raw and IPv6 raw sockets in a folder as /proc/PID/net."""
    packet = Path(folder, "packet").read_text(encoding="ascii")
    raw = Path(folder, "raw").read_text(encoding="ascii")
    six = Path(folder, "raw6")
    return packet, raw, six.read_text(encoding="ascii") if six.exists() else ""


def _inside(path: str) -> tuple[str, str, str]:
    """Read the tables of a namespace that no process is in, from a thread that enters it."""
    answer: list[tuple[str, str, str]] = []

    def enter() -> None:
        with suppress(OSError):
            place = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(place, _CLONE_NEWNET) == 0:
                    answer.append(read("/proc/thread-self/net"))
            finally:
                os.close(place)

    thread = threading.Thread(target=enter, name="sentry-namespace", daemon=True)
    thread.start()
    thread.join()
    return answer[0] if answer else ("", "", "")


def parsed(tables: tuple[str, str, str], netns: int) -> Iterator[Listed]:
    """Read what the tables of a namespace say."""
    packet, *raw = tables
    for line in packet.splitlines()[1:]:
        _, _, kind, protocol, interface, _, _, uid, inode, *_ = line.split()
        yield Listed(
            int(inode), int(uid), netns, int(interface), _PACKET, int(kind), 0, int(protocol, 16)
        )
    for family, table in zip((_INET, _INET6), raw, strict=True):
        for line in table.splitlines()[1:]:
            words = line.split()
            number = int(words[1].rpartition(":")[2], 16)
            yield Listed(int(words[9]), int(words[7]), netns, 0, family, _RAW, number, 0)
