"""Who holds which socket, by the best means that this kernel has.

1. The kernel is asked (`sweep`). A thorough sweep, every `_THOROUGH`, looks for sockets that no
   descriptor stands for as well. What is mapped is looked for when it is asked for, too. What was
   found by either stands until the next.
2. Who listens to NFLOG and NFQUEUE is looked for whenever a sweep is not a quick one (`listeners`).
3. What nobody has is told once it has been nobody's for `_PATIENCE`: the sockets of a process that
   is being ended are, for a moment. Then everything is searched for who has it, once.
4. A kernel that does not tell has each namespace's sockets listed, and looked for in the processes
   (`listing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents.core.judgement import SocketSeen
from agents.kernel.errors import KernelError
from agents.sentry.listeners import Listeners
from agents.sentry.listing import Listing
from agents.sentry.namespaces import Namespace
from agents.sentry.sweep import Sweeper

__all__ = ["Sockets"]

_THOROUGH: Final = 2_000_000_000  # nanoseconds
_PATIENCE: Final = 250_000_000  # nanoseconds


class Sockets:
    """``now`` reads the boot clock; ``portable``: do without rule 1. ``close`` it."""

    def __init__(self, now: Callable[[], int], *, portable: bool) -> None:
        self._now = now
        self._listing = Listing(now)
        self._sweeper = None if portable else _sweeper()
        self._listeners = Listeners()
        self._unheld: list[SocketSeen] = []
        self._nobodys: dict[int, int] = {}
        self._searched: dict[int, list[SocketSeen]] = {}
        self._thorough = 0

    @property
    def means(self) -> str:
        """Say by which means, in a word."""
        return "listing" if self._sweeper is None else "kernel"

    @property
    def unattributed(self) -> int:
        """How many sockets have holders that could not be looked at."""
        return self._listing.unattributed

    def seen(
        self, namespaces: tuple[Namespace, ...], *, quick: bool, unheld: bool
    ) -> list[SocketSeen]:
        """Return every socket that could hear content, once for each holder."""
        listening = self._listeners.standing if quick else self._listeners.look(namespaces)
        return [*self._held(namespaces, quick=quick, unheld=unheld), *listening]

    def close(self) -> None:
        """Let go of the kernel's list."""
        if self._sweeper is not None:
            self._sweeper.close()

    def _held(
        self, namespaces: tuple[Namespace, ...], *, quick: bool, unheld: bool
    ) -> list[SocketSeen]:
        if self._sweeper is None:
            return self._listing.sweep(namespaces)
        now = self._now()
        thorough = not quick and now >= self._thorough
        held = self._sweeper.sweep(thorough=thorough, mapped=unheld)
        if thorough:
            self._thorough = now + _THOROUGH
            self._unheld = self._settled(self._sweeper, now)
        elif unheld:
            nobodys = [each for each in self._unheld if not each.pid]
            self._unheld = [*nobodys, *self._sweeper.unheld]
        return [*self._unheld, *held]

    def _settled(self, sweeper: Sweeper, now: int) -> list[SocketSeen]:
        """Leave out what nobody has yet or any more, and look again soon (rule 3)."""
        unheld = sweeper.unheld
        nobodys = [each for each in unheld if not each.pid]
        self._nobodys = {each.inode: self._nobodys.get(each.inode, now) for each in nobodys}
        old = [each for each in nobodys if now - self._nobodys[each.inode] >= _PATIENCE]
        if len(old) < len(nobodys):
            self._thorough = now + _PATIENCE
        new = [each for each in old if each.inode not in self._searched]
        found = sweeper.searched(new)
        self._searched = {
            each.inode: self._searched.get(each.inode)
            or [seen for seen in found if seen.inode == each.inode]
            for each in old
        }
        settled = [seen for each in old for seen in self._searched[each.inode] or [each]]
        return [*settled, *(each for each in unheld if each.pid)]


def _sweeper() -> Sweeper | None:
    try:
        return Sweeper()
    except KernelError:
        return None
