"""Finds every socket that could hear content, whoever holds it, in whichever namespace.

1. The holders come from the kernel's own list (holders.py), else from /proc (procfs.py).
2. A thorough sweep reads the tables of all namespaces too: a socket that is in them before and
   after the list was read, and in the hands of nobody, is reported with the process 0.
3. A socket is one finding for each process that holds it, however many descriptors there are.
4. A process's cgroup has a name only if it is the one that the kernel's list told: a process that
   has moved in between has none, and so nobody's allowance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agents.core.judgement import SocketSeen
from agents.kernel.errors import KernelError
from agents.sentry import cgroups, procfs
from agents.sentry.holders import Holder, HolderList
from agents.sentry.namespaces import Listed, listed

__all__ = ["Sweeper"]


@dataclass(slots=True)
class Sweeper:
    """Sweeps this machine; ``close`` it. One user at a time.

    ``portable`` leaves the kernel's list unused; ``refusal`` says why there is none, or is "".
    """

    portable: bool = False
    refusal: str = field(default="", init=False)
    _list: HolderList | None = field(default=None, init=False)
    _top: Path | None = field(default_factory=cgroups.mount, init=False)

    def __post_init__(self) -> None:
        if self.portable:
            self.refusal = "the portable sweep was asked for"
            return
        try:
            self._list = HolderList()
        except KernelError as error:
            self.refusal = str(error)

    def sweep(self, *, thorough: bool = True) -> list[SocketSeen]:
        """Return what is held now, by process and inode. Raises KernelError, OSError."""
        if self._list is None:
            before = listed()
            held = procfs.held(before)
        else:
            before = listed() if thorough else {}
            held = self._list.read()
        seen = {(each.pid, each.inode): self._seen(each) for each in held}
        if thorough:
            for lone in self._unheld(before, held):
                seen[0, lone.inode] = _unowned(lone)
        return [seen[key] for key in sorted(seen)]

    def close(self) -> None:
        """Let the kernel's list go."""
        if self._list is not None:
            self._list.close()
            self._list = None

    def _unheld(self, before: dict[int, Listed], held: Iterable[Holder]) -> list[Listed]:
        """Return the sockets that nobody holds (rule 2); looked for once more, for the moving."""
        lone = before.keys() - {each.inode for each in held}
        if not lone:
            return []
        again = self._list.read() if self._list is not None else procfs.held(before)
        lone = (lone & listed().keys()) - {each.inode for each in again}
        return [before[inode] for inode in lone]

    def _seen(self, holder: Holder) -> SocketSeen:
        path, number = cgroups.cgroup_of(holder.pid, self._top)
        if self._list is not None and number != holder.cgroup:  # rule 4
            path, number = "", holder.cgroup
        return SocketSeen(
            pid=holder.pid,
            uid=holder.uid,
            cgroup=path,
            cgroup_id=number,
            inode=holder.inode,
            netns=holder.netns,
            family=holder.family,
            type=holder.type,
            protocol=holder.protocol,
            ethertype=holder.ethertype,
            ifindex=holder.ifindex,
            comm=holder.comm.partition(b"\0")[0].decode("utf-8", "replace"),
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
