"""Finds who listens to a group of NFLOG or a queue of NFQUEUE, or keeps rules that copy packets.

1. A namespace lists its groups and queues, each with the port of the socket that is bound to it,
   and the ports and inodes of its netlink sockets. A socket of nfnetlink that is bound to neither
   is for rules, connections and the like, and is not seen here.
2. Who owns a table of nftables that copies packets is found by the port in the same way (`owners`).
3. Their holders are looked for in the processes when the sockets have changed, and in every fourth
   look. One that nobody is known to hold is told as held by process 0.
4. Between two looks what was seen stands, but for who has ended.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.core.judgement import AF_NETLINK, SOCK_RAW, SocketSeen
from agents.sentry import cgroups, holders
from agents.sentry.holders import Held
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import NetlinkError
from agents.sentry.owners import owners
from agents.sentry.processes import started

__all__ = ["Listeners", "groups", "ports"]

_NET: Final = Path("/proc/thread-self/net")
_LISTS: Final = {"nflog": "netfilter/nfnetlink_log", "nfqueue": "netfilter/nfnetlink_queue"}
_NFNETLINK = 12
_FIELDS: Final = 10
_ANEW = 4
_NOBODY: Final = 0


@dataclass(slots=True)
class Listeners:
    """See the module's docstring. One user at a time."""

    _seen: list[SocketSeen] = field(default_factory=list)
    _held: Held = field(default_factory=lambda: Held({}, complete=True))
    _asked: frozenset[int] = frozenset()
    _looks: int = 0
    _top: Path | None = field(default_factory=cgroups.mount)

    def look(self, namespaces: tuple[Namespace, ...]) -> list[SocketSeen]:
        """Return every listener of these namespaces, once for each holder and group."""
        listed = [each for namespace in namespaces for each in _listed(namespace)]
        held = self._holders(frozenset(each.inode for each in listed if each.inode))
        self._seen = [
            seen
            for each in listed
            for pid in sorted(held.holders.get(each.inode, {_NOBODY}))
            if (seen := self._in_hands_of(pid, each)) is not None
        ]
        return self._seen

    @property
    def standing(self) -> list[SocketSeen]:
        """What was seen at the last look and is still there (rule 4)."""
        return [each for each in self._seen if not each.pid or started(each.pid) == each.started]

    def _holders(self, inodes: frozenset[int]) -> Held:
        """Rule 3."""
        self._looks += 1
        if inodes != self._asked or self._looks % _ANEW == 0:
            self._held = holders.find(inodes) if inodes else Held({}, complete=True)
            self._asked = inodes
        return self._held

    def _in_hands_of(self, pid: int, seen: SocketSeen) -> SocketSeen | None:
        return holders.in_hands_of(pid, seen, self._top) if pid else seen


def _listed(namespace: Namespace) -> list[SocketSeen]:
    """Rules 1 and 2."""
    bound: list[tuple[str, int]] = []
    inodes: dict[int, int] = {}
    with suppress(OSError), namespace.entered():
        for kind, path in _LISTS.items():
            with suppress(FileNotFoundError):  # The kernel has not loaded it.
                bound += groups(kind, (_NET / path).read_text("ascii"))
        with suppress(NetlinkError):  # The kernel has no nftables.
            bound += owners()
        if bound:
            inodes = ports((_NET / "netlink").read_text("ascii"))
    return [_nobodys(name, inodes.get(port, 0), namespace.inode) for name, port in bound]


def groups(kind: str, table: str) -> list[tuple[str, int]]:
    """Return which groups have a listener, as "nflog 5", and its port."""
    return [
        (f"{kind} {int(fields[0])}", int(fields[1]) & 0xFFFF_FFFF)
        for line in table.splitlines()
        if len(fields := line.split()) > 1 and fields[0].isdecimal() and _number(fields[1])
    ]


def ports(table: str) -> dict[int, int]:
    """Return the inode of each socket of nfnetlink, by its port."""
    found: dict[int, int] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == _FIELDS and fields[1] == str(_NFNETLINK) and _number(fields[2]):
            found[int(fields[2]) & 0xFFFF_FFFF] = int(fields[9]) if fields[9].isdecimal() else 0
    return found


def _number(word: str) -> bool:
    return word.removeprefix("-").isdecimal()


def _nobodys(listens: str, inode: int, netns: int) -> SocketSeen:
    return SocketSeen(
        pid=_NOBODY, uid=0, cgroup="", cgroup_id=0, inode=inode, netns=netns, family=AF_NETLINK,
        type=SOCK_RAW, protocol=_NFNETLINK, ethertype=0, ifindex=0, comm="", listens=listens,
    )  # fmt: skip
