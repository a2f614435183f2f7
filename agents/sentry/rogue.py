"""The second tier: kills or reports who opens a socket that can hear content, as it is opened.

The program is src/rogue.bpf.c; its rules are there. Here it is told what is free (from the one
table in agents/core/judgement.py), who may, and where it counts; and what it reports is read.

A kill is not a denial: the system call runs on, and only its process sees nothing of it. What
gets by is for the sweep to find, and every report is a reason for one.
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

from agents.core.health import Program
from agents.core.judgement import (
    AF_INET,
    AF_PACKET,
    SOCK_RAW,
    Allowances,
    SocketSeen,
    Verdict,
    judge,
)
from agents.kernel import skeleton
from agents.kernel.bpf import Map
from agents.kernel.errors import KernelError
from agents.kernel.events import EventRing
from agents.sentry.processes import need_hosts_numbers, started
from agents.sentry.programs import described

__all__ = ["STALE_NS", "Deed", "Entrance", "Rogue", "Scope", "Way", "parsed"]

_FOLDER: Final = Path(__file__).parent
_PROGRAMS: Final = ("rogue.bpf", "rogue_calls.bpf")  # the second without io_uring's tracepoint
_SETTINGS: Final = struct.Struct("<QQQ")
_EVENT: Final = struct.Struct("<QQQIIIIIIIHH16s")
_RING_OCTETS: Final = 1 << 17
_FIRST: Final = bytes(4)
_NO_LOGIN: Final = 0xFFFF_FFFF
STALE_NS: Final = 5_000_000_000
"""Boot-clock nanoseconds after which an agent's stamp says nothing any more."""


class Way(IntEnum):
    """How it was tried."""

    CALL = 1
    CALL_32 = 2
    CALL_X32 = 3
    SOCKETCALL = 4
    IO_URING = 5
    BIND = 6
    # What follows is no socket being made: `Rogue.family` is 0, and `Rogue.protocol` what is told.
    PTRACE = 7
    """The process that was to be traced."""
    VM_READ = 8
    """The process whose memory was asked for by process_vm_readv(2) or process_vm_writev(2)."""
    PROC_MEM = 9
    """The process whose memory, as a file, was to be opened."""
    PIDFD_GETFD = 10
    """The process whose descriptor was to be copied."""
    PERF_EVENT = 11
    BPF = 12
    """The command of bpf(2)."""
    URING_SETUP = 13
    NETLINK = 14
    """The subsystem of nfnetlink that was to be listened to."""
    KILL = 15
    """The signal."""
    UNPIN = 16
    MOUNT = 17
    LIST = 18
    """The media relay's list of streams, with their keys, was to be opened."""
    # Sockets again.
    SETSOCKOPT = 19
    RECEIVED = 20
    """A socket that another process had opened, and handed over."""


class Deed(IntEnum):
    """What was done about it."""

    REPORTED = 0
    KILLED = 1
    LOOK = 2
    """Nothing is known but that something was bound where the program does not see it."""
    DENIED = 3
    """It was refused and nothing came of it (the first tier)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rogue:
    """One attempt. `at_ns` is boot-clock; `started` the start of the process in ticks (proc(5)).

    `protocol` is the ethertype in host order for packet sockets. `login_uid` is None without a
    login, or where the kernel keeps none. `comm` is for people, and decides nothing.
    """

    at_ns: int
    started: int
    cgroup_id: int
    pid: int
    uid: int
    login_uid: int | None
    netns: int
    family: int
    type: int
    protocol: int
    way: Way
    deed: Deed
    comm: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where the program counts: numbers of cgroups.

    Below `canary` everyone is killed. Below `within` one is killed when `enforce` is set and else
    reported; None is everywhere. Whoever is below neither is not even seen. Once loaded,
    `Entrance.set_enforce` changes the mode; the cgroups stay.
    """

    canary: int
    within: int | None
    enforce: bool = False

    def settings(self, stale_ns: int) -> bytes:
        """Encode this as the program's read-only data."""
        if self.canary <= 0 or (self.within is not None and self.within <= 0):
            raise ValueError("a cgroup's number is positive; everywhere is said by None")
        return _SETTINGS.pack(self.within or 0, self.canary, stale_ns)


class Entrance:
    """The program, loaded and attached; ``close`` ends it. One user at a time.

    Raises KernelError where this kernel does not take it. `covers_io_uring` says which one it took.
    """

    def __init__(self, scope: Scope, *, stale_ns: int = STALE_NS) -> None:
        need_hosts_numbers()
        self.covers_io_uring = True
        self._loaded = self._load(scope.settings(stale_ns))
        self._links: dict[str, int] = {}
        maps = self._loaded.maps
        self._own = _map(maps, "own", 4, 8)
        self._allowed = _map(maps, "allowed", 8, 8)
        self._protected = _map(maps, "protected", 8, 8)
        self._heartbeat = _map(maps, "heartbeat", 4, 8)
        self._lost = _map(maps, "lost", 4, 8)
        self._enforcing = _map(maps, "enforcing", 4, 8)
        self._ring = EventRing(maps["events"], _RING_OCTETS)
        free = _map(maps, "free_kinds", 4, 4)
        for kind in free_kinds():
            free.put(struct.pack("<I", kind), bytes(4))
        self._put_own(os.getpid())
        self.set_enforce(scope.enforce)
        try:
            self._attach()  # Last: all that it asks is in place.
        except KernelError:
            self.close()
            raise

    def allow(self, cgroup_id: int, until_ns: int) -> None:
        """Let a cgroup's processes open what they like until then, while the stamp is fresh."""
        self._allowed.put(struct.pack("<Q", cgroup_id), struct.pack("<Q", until_ns))

    def disallow(self, cgroup_id: int) -> None:
        """Take that back."""
        self._allowed.remove(struct.pack("<Q", cgroup_id))

    def protect(self, cgroup_id: int) -> None:
        """Let nobody else trace or read the processes of a cgroup."""
        self._protected.put(struct.pack("<Q", cgroup_id), bytes(8))

    def unprotect(self, cgroup_id: int) -> None:
        """Take that back."""
        self._protected.remove(struct.pack("<Q", cgroup_id))

    def beat(self, now_ns: int) -> None:
        """Say that the agent lives: without it every allowance is void after `stale_ns`."""
        self._heartbeat.put(_FIRST, struct.pack("<Q", now_ns))

    def set_enforce(self, enforce: bool) -> None:  # noqa: FBT001  # one switch, named by it
        """Kill from now on whom it reported, or the other way round."""
        self._enforcing.put(_FIRST, struct.pack("<Q", enforce))

    def programs(self) -> tuple[Program, ...]:
        """Return what is loaded for it: names, ids and tags, as the kernel tells them."""
        return tuple(described(each) for each in self._loaded.programs.values())

    @property
    def maps(self) -> Mapping[str, int]:
        """The maps' descriptors, by name: what has to be pinned to be adopted."""
        return self._loaded.maps

    @property
    def links(self) -> Mapping[str, int]:
        """The links' descriptors, by the names of their programs."""
        return self._links

    def fileno(self) -> int:
        """Return the descriptor; it is readable when something was reported."""
        return self._ring.fileno()

    def reports(self) -> list[Rogue]:
        """Return what was reported since the last time."""
        return [parsed(record) for record in self._ring.records()]

    def lost(self) -> int:
        """Return how many reports found no room, since the start."""
        count: int = struct.unpack("<Q", self._lost.get(_FIRST) or bytes(8))[0]
        return count

    def close(self) -> None:
        """Detach and unload."""
        while self._links:
            os.close(self._links.popitem()[1])
        self._ring.close()
        self._loaded.close()

    def _load(self, settings: bytes) -> skeleton.Skeleton:
        if platform.machine() != "x86_64":
            raise KernelError("killing is only known for x86_64; the sentry can only detect here")
        try:
            return skeleton.load((_FOLDER / _PROGRAMS[0]).read_bytes(), settings=settings)
        except KernelError:
            self.covers_io_uring = False
            return skeleton.load((_FOLDER / _PROGRAMS[1]).read_bytes(), settings=settings)

    def _attach(self) -> None:
        for name, program in self._loaded.programs.items():
            self._links[name] = skeleton.attach(program)

    def _put_own(self, pid: int) -> None:
        self._own.put(struct.pack("<I", pid), struct.pack("<Q", started(pid) or 0))


@cache
def free_kinds() -> tuple[int, ...]:
    """Ask the table about every ethertype and protocol; return the keys of what is free."""
    nobody = Allowances()

    def free(family: int, protocol: int, ethertype: int) -> bool:
        seen = SocketSeen(
            pid=0, uid=0, cgroup="", cgroup_id=0, inode=0, netns=0, family=family, type=SOCK_RAW,
            protocol=protocol, ethertype=ethertype, ifindex=0, comm="",
        )  # fmt: skip
        return judge(seen, nobody).verdict is Verdict.FREE

    packets = [1 << 16 | each for each in range(1 << 16) if free(AF_PACKET, 0, each)]
    return (*packets, *(each for each in range(256) if free(AF_INET, each, 0)))


def _map(maps: dict[str, int], name: str, key: int, value: int) -> Map:
    return Map.taken(maps[name], name=name, key=key, value=value)


def parsed(record: bytes) -> Rogue:
    """Read one report as the programs write it."""
    at, started, cgroup, pid, uid, login, netns, family, kind, protocol, way, deed, comm = (
        _EVENT.unpack(record)
    )
    return Rogue(
        at_ns=at,
        started=started,
        cgroup_id=cgroup,
        pid=pid,
        uid=uid,
        login_uid=None if login == _NO_LOGIN else login,
        netns=netns,
        family=family,
        type=kind,
        protocol=protocol,
        way=Way(way),
        deed=Deed(deed),
        comm=comm.partition(b"\0")[0].decode("utf-8", "replace"),
    )
