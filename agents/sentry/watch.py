"""The sentry's own thread: looks when something is announced or due, and tells what it finds.

1. One thread does all: it moves from namespace to namespace, and the thread that follows the
   signalling waits for none of it. What it finds crosses over by ``deliver``.
2. Announcements are answered at once, but a node whose networks change without end is looked at
   `_BREATH` apart, and one on which something is tried without end `_GASP` apart.
3. The thread's death is told to ``fail``: a node without its sentry has no agent.
4. What it may not see is a finding (`sentry_blind`), and so is a scope (`sentry_scoped`).
5. Every sweep asks the kernel who holds which socket (`sweep`); a thorough one, every `_THOROUGH`,
   looks for sockets that nobody holds as well, and these stand until the next. A kernel that does
   not tell has each namespace's sockets listed, and looked for in the processes (`listing`).
6. Where there are `doors`, they are proven at the start, and what is tried at them is told as it is
   tried. A proof that cannot be held leaves the node at detecting.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from agents.core.judgement import Allowances, SocketSeen
from agents.core.sentry import (
    OBSERVE,
    Event,
    Finding,
    Incident,
    NamespaceGone,
    NetworkChanged,
    Sentry,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)
from agents.kernel.errors import KernelError
from agents.sentry import holders
from agents.sentry.doors import Doors
from agents.sentry.listing import Listing
from agents.sentry.namespaces import Namespace, Namespaces
from agents.sentry.netwatch import NetWatch
from agents.sentry.sweep import Sweeper
from agents.sentry.tiers import Tier

__all__ = ["Watch", "WatchParts"]

_NANOSECONDS: Final = 1_000_000_000
_REFRESH: Final = _NANOSECONDS // 2  # between two looks at which namespaces there are
_ANEW: Final = 10 * _NANOSECONDS  # between two looks at everything
_THOROUGH: Final = 2 * _NANOSECONDS  # between two looks for sockets that nobody holds
_BREATH: Final = 0.05  # seconds
_GASP: Final = 0.01  # seconds
_NODE: Final = 0  # stands for the node where a namespace is named; no namespace has this inode


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What the sentry works with.

    ``now``: the boot clock in nanoseconds. ``deliver`` and ``fail`` are called in the sentry's
    thread. ``units`` may hold what hears content. ``scope``: names of namespaces, None for the
    whole node. ``portable``: sweep without what only some kernels have. ``doors`` makes the second
    tier, None: there is none.
    """

    now: Callable[[], int]
    deliver: Callable[[Incident], None]
    fail: Callable[[BaseException], None]
    units: frozenset[str]
    scope: Sequence[str] | None = None
    portable: bool = False
    doors: Callable[[], Doors] | None = None


class Watch:
    """See the module's docstring. It looks from ``start`` to ``close``."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts = parts
        allowances = Allowances(pids=frozenset({os.getpid()}), units=parts.units)
        self._sentry = Sentry(allowances)
        self._namespaces = Namespaces(parts.scope)
        self._listing = Listing(parts.now)
        self._sweeper = None if parts.portable else _sweeper()
        self._unheld: list[SocketSeen] = []
        self._thorough = 0
        self._doors = parts.doors() if parts.doors is not None else None
        self._lost = 0
        self._watches: dict[int, NetWatch] = {}
        self._unwatched: set[int] = set()
        self._refreshed = self._looked = 0
        self._sweeps = self._last = 0
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._thread = threading.Thread(target=self._run, name="sentry", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more, and let go of everything. Blocks for a moment."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()
        for each in (self._sweeper, self._doors):
            if each is not None:
                each.close()
        self._epoll.close()
        os.close(self._wake)

    def status(self) -> dict[str, Any]:
        """Say how the sentry does; from any thread."""
        age = self._parts.now() - self._last
        return {
            "mode": OBSERVE,
            **(self._doors.status() if self._doors is not None else {"tier": Tier.DETECT.value}),
            "sweep": "listing" if self._sweeper is None else "kernel",
            "scope": "node" if self._parts.scope is None else "some namespaces",
            "namespaces": len(self._watches),
            "sweeps": self._sweeps,
            "last_sweep_ms": age // 1_000_000 if self._sweeps else None,
            "findings": self._sentry.standing,
        }

    # -- in the sentry's thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                stack.callback(self._let_go)
                self._epoll.register(self._wake, select.EPOLLIN)
                if self._parts.scope is not None:
                    self._parts.deliver(Incident(what=What.SENTRY_SCOPED, details={}))
                self._prove()
                while not self._stopping.is_set():
                    self._look()
                    self._rest()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._parts.fail(error)

    def _prove(self) -> None:
        """Rule 6."""
        if self._doors is None:
            return
        with suppress(OSError):
            self._doors.prove()
        for descriptor in self._doors.filenos:
            self._epoll.register(descriptor, select.EPOLLIN)

    def _rest(self) -> None:
        """Wait until something is announced or due, and no less than a breath (rule 2)."""
        tried = self._doors.filenos if self._doors is not None else ()
        if self._stopping.wait(_GASP) or _readable((self._wake, *tried), _BREATH - _GASP):
            return
        due = min(self._sentry.next_deadline(), self._refreshed + _REFRESH)
        self._epoll.poll(max(0.0, (due - self._parts.now()) / _NANOSECONDS))

    def _look(self) -> None:
        now = self._parts.now()
        if now >= self._refreshed + _REFRESH:
            self._refreshed = now
            self._refresh()
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        anew = now >= self._looked + _ANEW
        self._looked = now if anew else self._looked
        for watch in tuple(self._watches.values()):
            if anew or ready & set(watch.filenos):
                self._apply(watch.look())
        if self._doors is not None and ready & set(self._doors.filenos):
            self._apply(self._doors.look(self._within()))
        self._apply(WakeUp())

    def _refresh(self) -> None:
        came, gone = self._namespaces.refresh()
        for namespace in gone:
            watch = self._watches.pop(namespace.inode, None)
            self._unwatched.discard(namespace.inode)
            self._unwatch(namespace, watch)
            self._apply(NamespaceGone(netns=namespace.inode))
        for namespace in came:
            self._watch(namespace)

    def _watch(self, namespace: Namespace) -> None:
        try:
            watch = NetWatch(namespace)
        except OSError:
            self._unwatched.add(namespace.inode)
            return
        for descriptor in watch.filenos:
            self._epoll.register(descriptor, select.EPOLLIN)
        self._watches[namespace.inode] = watch
        self._apply(watch.look())

    def _unwatch(self, namespace: Namespace, watch: NetWatch | None) -> None:
        if watch is None:
            namespace.close()
            return
        for descriptor in watch.filenos:
            self._epoll.unregister(descriptor)
        watch.close()

    def _apply(self, event: Event) -> None:
        for command in self._sentry.handle(event, self._parts.now()):
            if isinstance(command, Sweep):
                self._sweep()
            else:
                self._parts.deliver(command)

    def _sweep(self) -> None:
        for watch in self._watches.values():
            self._apply_quietly(watch.poll())
        sockets = self._swept()
        strangers = {seen.pid for seen, _ in self._sentry.content(sockets)}
        self._apply_quietly(
            SweepDone(
                sockets=tuple(sockets),
                holders={pid: holders.identify(pid) for pid in strangers if pid},
                within=self._within(),
            )
        )
        self._apply_quietly(NetworkChanged(netns=_NODE, standing=frozenset(self._blind())))
        self._sweeps += 1
        self._last = self._parts.now()

    def _apply_quietly(self, event: Event) -> None:
        """Apply what a sweep brought: it asks for no other sweep."""
        for command in self._sentry.handle(event, self._parts.now()):
            if isinstance(command, Incident):
                self._parts.deliver(command)

    def _swept(self) -> list[SocketSeen]:
        """Rule 5."""
        if self._sweeper is None:
            return self._listing.sweep(self._namespaces.all)
        now = self._parts.now()
        thorough = now >= self._thorough
        sockets = self._sweeper.sweep(thorough=thorough)
        if thorough:
            self._thorough = now + _THOROUGH
            self._unheld = [each for each in sockets if not each.pid]
            return sockets
        return sockets + self._unheld

    def _within(self) -> frozenset[int] | None:
        if self._parts.scope is None:
            return None
        return frozenset(each.inode for each in self._namespaces.all)

    def _blind(self) -> list[Finding]:
        """Rule 4."""
        lost = self._doors.lost if self._doors is not None else 0
        missing = {
            "attempts": lost - self._lost,
            "namespaces": self._namespaces.unseen or len(self._unwatched),
            "holders": self._listing.unattributed,
        }
        self._lost = lost
        return [
            Finding(What.SENTRY_BLIND, (("missing", name),))
            for name, count in missing.items()
            if count
        ]

    def _let_go(self) -> None:
        for watch in self._watches.values():
            watch.close()
        for namespace in self._namespaces.all:
            if namespace.inode not in self._watches:
                namespace.close()


def _readable(descriptors: Sequence[int], seconds: float) -> bool:
    waiting = select.poll()
    for each in descriptors:
        waiting.register(each, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _sweeper() -> Sweeper | None:
    try:
        return Sweeper()
    except KernelError:
        return None
