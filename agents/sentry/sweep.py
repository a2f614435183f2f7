"""Finds every socket that could hear content, whoever holds it, in whichever namespace.

1. The holders come from the kernel's own list (descriptors.py). Where there is none, making a
   Sweeper raises KernelError: then each namespace has to be listed by itself.
2. A sweep can ask for what is mapped too. A thorough one does, and reads the tables of all
   namespaces: a socket that is in them before and after the lists were read, and in the hands of
   nobody, is reported with the process 0. For that one everything can be `searched`.
3. A socket is one finding for each process that holds it, however many descriptors there are.
4. A process's cgroup is the one that the kernel's list told, and gets its name from the kernel by
   its number. One that is gone has no name, and so nobody's allowance. Where no hierarchy is
   mounted for us (as below ip-netns(8)), the name is the one that /proc tells of the process.
5. A list that says what it said the last time is the same, and nothing is looked up again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agents.core.judgement import SocketSeen
from agents.sentry import cgroups, holders
from agents.sentry.descriptors import Holder, HolderList
from agents.sentry.hidden import hidden
from agents.sentry.tables import Listed, listed

__all__ = ["Sweeper"]


@dataclass(slots=True)
class Sweeper:
    """Sweeps this machine; ``close`` it. One user at a time.

    ``unheld``: what the last sweep found that no descriptor stands for.
    """

    _list: HolderList = field(default_factory=HolderList, init=False)
    _rows: list[Holder] = field(default_factory=list, init=False)
    _held: list[SocketSeen] = field(default_factory=list, init=False)
    unheld: list[SocketSeen] = field(default_factory=list, init=False)
    _top: Path | None = field(default_factory=cgroups.mount, init=False)

    def sweep(self, *, thorough: bool = True, mapped: bool = False) -> list[SocketSeen]:
        """Return what is held now, by process and inode. Raises KernelError, OSError.

        What no descriptor stands for is in `unheld` instead, if it was looked for.
        """
        before = listed() if thorough else {}
        rows = self._list.read()
        kept = self._list.mapped() if thorough or mapped else []
        if rows != self._rows:  # rule 5
            self._rows, self._held = rows, self._all(rows)
        lone = [*map(_unowned, self._unheld(before, [*rows, *kept]))] if thorough else []
        known = {(each.pid, each.inode) for each in rows}
        self.unheld = lone + [
            each for each in self._all(kept) if (each.pid, each.inode) not in known
        ]
        return self._held

    def _all(self, rows: Iterable[Holder]) -> list[SocketSeen]:
        """Rule 3."""
        seen = {(each.pid, each.inode): each for each in rows}
        return [self._seen(seen[key]) for key in sorted(seen)]

    def searched(self, nobodys: Iterable[SocketSeen]) -> list[SocketSeen]:
        """Look everywhere for who has these (`hidden`); it takes time."""
        told = tuple(nobodys)
        who = hidden(frozenset(each.inode for each in told))
        found = [
            holders.in_hands_of(pid, each, self._top)
            for each in told
            for pid in who.get(each.inode, ())
        ]
        return [each for each in found if each is not None]

    def close(self) -> None:
        """Let the kernel's list go."""
        self._list.close()

    def _unheld(self, before: dict[int, Listed], held: Iterable[Holder]) -> list[Listed]:
        """Return the sockets that nobody holds (rule 2); looked for once more, for the moving."""
        lone = before.keys() - {each.inode for each in held}
        if not lone:
            return []
        again = [*self._list.read(), *self._list.mapped()]
        lone = (lone & listed().keys()) - {each.inode for each in again}
        return [before[inode] for inode in lone]

    def _cgroup(self, holder: Holder) -> str:
        """Rule 4."""
        if self._top is not None:
            return cgroups.path_of(holder.cgroup, self._top)
        process = holders.process(holder.pid)
        return process.cgroup if process is not None else ""

    def _seen(self, holder: Holder) -> SocketSeen:
        return SocketSeen(
            pid=holder.pid,
            uid=holder.uid,
            cgroup=self._cgroup(holder),
            cgroup_id=holder.cgroup,
            inode=holder.inode,
            netns=holder.netns,
            family=holder.family,
            type=holder.type,
            protocol=holder.protocol,
            ethertype=holder.ethertype,
            ifindex=holder.ifindex,
            comm=holder.comm.partition(b"\0")[0].decode("utf-8", "replace"),
            started=holder.started,
        )


def _unowned(lone: Listed) -> SocketSeen:
    return SocketSeen(
        pid=0,
        uid=lone.uid,
        cgroup="",
        cgroup_id=0,
        inode=lone.inode,
        netns=lone.netns,
        family=lone.family,
        type=lone.type,
        protocol=lone.protocol,
        ethertype=lone.ethertype,
        ifindex=lone.ifindex,
        comm="",
    )
