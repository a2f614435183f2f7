"""The network namespaces of the node: which there are, and how to look into one.

1. There is a namespace wherever a process is in it or a file names it (`tables`). The sentry's own
   descriptors keep a namespace alive, and with it its links: they are closed as soon as nothing
   else names it any more, `refresh` by `refresh`.
2. With a scope only namespaces of these names count (/run/netns). It takes away and never adds.
3. A namespace that cannot be entered is told of as not seen, and tried again.
4. Everything here is for one thread that does nothing else: entering moves the calling thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from agents.sentry.place import enter
from agents.sentry.tables import namespaces

__all__ = ["Namespace", "Namespaces"]

_NAMED: Final = Path("/run/netns")
_PROC: Final = "/proc/"
_OWN: Final = "/proc/thread-self/ns/net"


class Namespace:
    """One namespace, by its inode; ``close`` lets go of it."""

    def __init__(self, inode: int, descriptor: int) -> None:
        self.inode = inode
        self._descriptor = descriptor

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread be in it for the time of the block; raises OSError."""
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(home).st_ino == self.inode:  # No privilege is needed to stay.
                yield
                return
            enter(self._descriptor)
            try:
                yield
            finally:
                enter(home)
        finally:
            os.close(home)

    @property
    def descriptor(self) -> int:
        """What holds it, for as long as it is not closed."""
        return self._descriptor

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
        self._descriptor = -1  # Its number may be another's from now on.


class Namespaces:
    """Those that count; ``scope`` are names (rule 2), None: every one."""

    def __init__(self, scope: Sequence[str] | None) -> None:
        self._scope = scope
        self._open: dict[int, Namespace] = {}
        self.unseen = 0

    @property
    def all(self) -> tuple[Namespace, ...]:
        """Those that are open."""
        return tuple(self._open.values())

    def refresh(self) -> tuple[list[Namespace], list[Namespace]]:
        """Look which there are; return those that came and those that went, to be closed."""
        there = _every() if self._scope is None else _named(self._scope)
        gone = [self._open.pop(inode) for inode in set(self._open) - set(there)]
        came: list[Namespace] = []
        self.unseen = 0
        for inode in set(there) - set(self._open):
            try:
                opened = _opened(inode, there[inode])
            except OSError:
                self.unseen += 1  # Rule 3.
                continue
            if opened is not None:
                self._open[inode] = opened
                came.append(opened)
        return came, gone

    def close(self) -> None:
        """Let go of all."""
        for each in self._open.values():
            each.close()
        self._open.clear()


def _opened(inode: int, path: str) -> Namespace | None:
    """Open a namespace and try to enter it; None when it has just gone; raises OSError."""
    with ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return None
        stack.callback(os.close, descriptor)
        if os.fstat(descriptor).st_ino != inode:
            return None  # The process is in another one by now.
        opened = Namespace(inode, descriptor)
        with opened.entered():
            pass
        stack.pop_all()
    return opened


def _every() -> dict[int, str]:
    """Return every namespace (rule 1) with the file that stands for it."""
    return {
        inode: f"{path}/ns/net" if path.startswith(_PROC) else path
        for inode, path in namespaces().items()
    }


def _named(names: Sequence[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for name in names:
        with contextlib.suppress(OSError):  # There is none of this name now.
            path = _NAMED / name
            found[path.stat().st_ino] = str(path)
    return found
