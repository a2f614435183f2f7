"""The sweep that every kernel has: what each namespace lists, and who holds it.

1. Packet sockets and raw sockets are in the tables of their namespace. AF_XDP sockets are told by
   sock_diag where the kernel has that (CONFIG_XDP_SOCKETS_DIAG); elsewhere it is only known that
   there are some, and they are told as one that no process is known to hold.
2. Only sockets that could hear content are looked for in the processes: that is what costs.
   The processes are looked at again when the sockets have changed, and every second.
3. A socket that two sweeps list and nobody seems to hold (it is in flight between two processes, or
   with a process that may not be looked at) is told as held by process 0.
   In the last case it is counted in `unattributed` too, so that the want of rights is told.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.core.judgement import AF_XDP, SOCK_RAW, Allowances, SocketSeen, Verdict, judge
from agents.sentry import cgroups, holders
from agents.sentry.holders import Held
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import NetlinkError, ask, open_socket
from agents.sentry.tables import Listed, parsed, read

__all__ = ["Listing", "xdp_counted"]

_NET: Final = "/proc/thread-self/net"
_SOCK_DIAG, _BY_FAMILY = 4, 20
_XDP_ASKED: Final = struct.Struct("=BBHIIII")
_XDP_TOLD: Final = struct.Struct("=BBHI8x")
_NO_INODE: Final = 0
_SECOND: Final = 1_000_000_000
_NOBODY: Final = Allowances()


@dataclass(slots=True)
class Listing:
    """Sweeps by what namespaces list; ``now`` reads the boot clock in nanoseconds."""

    now: Callable[[], int]
    unattributed: int = 0
    _asked: frozenset[int] = frozenset()
    _held: Held = field(default_factory=lambda: Held({}, complete=True))
    _lone: frozenset[int] = frozenset()
    _until: int = 0
    _xdp_told: bool = True
    _top: Path | None = field(default_factory=cgroups.mount)

    def sweep(self, namespaces: tuple[Namespace, ...]) -> list[SocketSeen]:
        """Return every socket of these namespaces that could hear content, once for each holder."""
        listed = [each for namespace in namespaces for each in self._look(namespace)]
        hearing = [each for each in listed if _could_hear(each)]
        held = self._holders(frozenset(each.inode for each in hearing))
        lone = frozenset(each.inode for each in hearing) - set(held.holders)
        self.unattributed = 0 if held.complete else len(lone)
        told = lone & self._lone
        self._lone = lone
        nobody = [_nobodys(each) for each in hearing if each.inode in told]
        somebody = [
            holders.in_hands_of(pid, _nobodys(each), self._top)
            for each in hearing
            for pid in sorted(held.holders.get(each.inode, ()))
        ]
        return nobody + [each for each in somebody if each is not None]

    def _holders(self, inodes: frozenset[int]) -> Held:
        """Rule 2."""
        if inodes != self._asked or self.now() >= self._until:
            self._held = holders.find(inodes) if inodes else Held({}, complete=True)
            self._asked = inodes
            self._until = self.now() + _SECOND
        return self._held

    def _look(self, namespace: Namespace) -> list[Listed]:
        """Rule 1."""
        with namespace.entered():
            return [*parsed(read(_NET), namespace.inode), *self._xdp(namespace.inode)]

    def _xdp(self, netns: int) -> list[Listed]:
        if self._xdp_told:
            with open_socket(_SOCK_DIAG) as kernel:
                try:
                    told = ask(kernel, _BY_FAMILY, _XDP_ASKED.pack(AF_XDP, 0, 0, 0, 0, 0, 0))
                except NetlinkError:
                    self._xdp_told = False
                else:
                    bodies = [body for _, body in told if len(body) >= _XDP_TOLD.size]
                    return [_xdp(_XDP_TOLD.unpack_from(body)[3], netns) for body in bodies]
        counted = xdp_counted(Path(_NET, "protocols").read_text("ascii"))
        return [_xdp(_NO_INODE, netns)] if counted else []


def xdp_counted(table: str) -> int:
    """Return how many AF_XDP sockets /proc/net/protocols counts in its namespace."""
    counts = (line.split()[2] for line in table.splitlines() if line.startswith("XDP "))
    return next((int(count) for count in counts), 0)


def _xdp(inode: int, netns: int) -> Listed:
    return Listed(inode, 0, netns, 0, AF_XDP, SOCK_RAW, 0, 0)


def _could_hear(each: Listed) -> bool:
    return judge(_nobodys(each), _NOBODY).verdict is not Verdict.FREE


def _nobodys(each: Listed) -> SocketSeen:
    return SocketSeen(
        pid=0,
        uid=each.uid,
        cgroup="",
        cgroup_id=0,
        comm="",
        inode=each.inode,
        netns=each.netns,
        family=each.family,
        type=each.type,
        protocol=each.protocol,
        ethertype=each.ethertype,
        ifindex=each.ifindex,
    )
