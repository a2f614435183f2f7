"""The sentry's own thread: looks when something is announced or due, and tells what it finds.

1. One thread does all: it moves from namespace to namespace, and the thread that follows the
   signalling waits for none of it. What it finds crosses over by ``deliver``.
2. Announcements and attempts are answered at once. But a node whose networks change without end is
   looked at `_BREATH` apart, and where something is tried without end the thread rests as long as
   it has looked, but `_GASP` at the least and `_SIGH` at the most.
3. The thread's death is told to ``fail``: a node without its sentry has no agent.
4. What it may not see is a finding (`sentry_blind`), and so is a scope (`sentry_scoped`).
5. Every sweep asks the kernel who holds which socket (`sweep`); a thorough one, every `_THOROUGH`,
   looks for sockets that nobody holds as well, and these stand until the next. A kernel that does
   not tell has each namespace's sockets listed, and looked for in the processes (`listing`).
6. Where there are `doors`, they are proven at the start, and what is tried at them is told as it is
   tried. A proof that cannot be held leaves the node at detecting.
7. The kernel knows who may listen before it is told to end who may not, and is told every time that
   the agent lives (`permits`).
8. What the rules have done is done here, in this thread, and the rules are told what came of it
   before they are told anything else.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

from agents.core.enforcing import Act, Acted, Kill, Mode, Mute, Reach, Result
from agents.core.judgement import Allowances, SocketSeen
from agents.core.sentry import (
    Event,
    Finding,
    Incident,
    NamespaceGone,
    NetworkChanged,
    Sentry,
    SetMode,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)
from agents.kernel.errors import KernelError
from agents.sentry import acts, holders
from agents.sentry.doors import Doors
from agents.sentry.listing import Listing
from agents.sentry.namespaces import Namespace, Namespaces
from agents.sentry.netwatch import NetWatch
from agents.sentry.permits import Permits
from agents.sentry.sweep import Sweeper
from agents.sentry.tiers import Tier

__all__ = ["Watch", "WatchParts"]

_NANOSECONDS: Final = 1_000_000_000
_REFRESH: Final = _NANOSECONDS // 2  # between two looks at which namespaces there are
_ANEW: Final = 10 * _NANOSECONDS  # between two looks at everything
_THOROUGH: Final = 2 * _NANOSECONDS  # between two looks for sockets that nobody holds
_BREATH: Final = 0.05  # seconds
_GASP, _SIGH = 0.001, 0.01  # seconds
_NODE: Final = 0  # stands for the node where a namespace is named; no namespace has this inode


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What the sentry works with.

    ``now``: the boot clock in nanoseconds. ``deliver`` and ``fail`` are called in the sentry's
    thread. ``units`` may hold what hears content, those of ``mute`` are muted. ``mirrors``
    are the operator's own (`agents.core.mirrors`). ``scope``: names of
    namespaces, None for the whole node. ``cgroup``: the one in which somebody is ended or muted,
    None for all. ``portable``: sweep without what only some kernels have. ``doors`` makes the
    second tier, None: there is none. ``undo`` takes away what stands in a namespace, and says
    whether it did.
    """

    now: Callable[[], int]
    deliver: Callable[[Incident], None]
    fail: Callable[[BaseException], None]
    units: frozenset[str]
    mute: frozenset[str] = frozenset()
    mirrors: frozenset[str] = frozenset()
    scope: Sequence[str] | None = None
    cgroup: str | None = None
    portable: bool = False
    doors: Callable[[], Doors] | None = None
    undo: Callable[[Finding, Namespace], bool] | None = None


class Watch:
    """See the module's docstring. It looks from ``start`` to ``close``."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts = parts
        allowances = Allowances(pids=frozenset({os.getpid()}), units=parts.units)
        self._sentry = Sentry(allowances, reach=_reach(parts))
        self._namespaces = Namespaces(parts.scope)
        self._listing = Listing(parts.now)
        self._sweeper = None if parts.portable else _sweeper()
        self._unheld: list[SocketSeen] = []
        self._thorough = 0
        self._doors = parts.doors() if parts.doors is not None else None
        self._permits = self._permitting()
        self._lost = 0
        self._watches: dict[int, NetWatch] = {}
        self._unwatched: set[int] = set()
        self._refreshed = self._looked = 0
        self._sweeps = self._last = 0
        self._took = 0
        self._asked: SimpleQueue[Mode] = SimpleQueue()
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
        for each in (self._sweeper, self._permits, self._doors):
            if each is not None:
                each.close()
        self._epoll.close()
        os.close(self._wake)

    def set_mode(self, mode: Mode) -> None:
        """Let it act, or only report; from any thread."""
        self._asked.put(mode)
        os.eventfd_write(self._wake, 1)

    def status(self) -> dict[str, Any]:
        """Say how the sentry does; from any thread."""
        age = self._parts.now() - self._last
        return {
            "mode": self._sentry.mode.value,
            **(self._doors.status() if self._doors is not None else {"tier": Tier.DETECT.value}),
            "sweep": "listing" if self._sweeper is None else "kernel",
            "scope": "node" if self._parts.scope is None else "some namespaces",
            "reach": "node" if self._parts.cgroup is None else "one cgroup",
            "namespaces": len(self._watches),
            "sweeps": self._sweeps,
            "last_sweep_ms": age // 1_000_000 if self._sweeps else None,
            "findings": self._sentry.standing,
        }

    def _permitting(self) -> Permits | None:
        if self._doors is None:
            return None
        return Permits(self._doors, self._parts.units | self._parts.mute)

    # -- in the sentry's thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                stack.callback(self._let_go)
                self._epoll.register(self._wake, select.EPOLLIN)
                if self._parts.scope is not None or self._parts.cgroup is not None:
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
        for descriptor in self._urgent():
            self._epoll.register(descriptor, select.EPOLLIN)

    def _rest(self) -> None:
        """Wait until something is announced, tried or due (rule 2)."""
        if self._stopping.wait(min(max(_GASP, self._took / _NANOSECONDS), _SIGH)):
            return
        if not _readable((self._wake, *self._urgent()), min(_BREATH, self._left())):
            self._epoll.poll(self._left())

    def _urgent(self) -> tuple[int, ...]:
        """Return what is readable when something was tried, or a group was made."""
        tried = self._doors.filenos if self._doors is not None else ()
        return (*tried, *(self._permits.filenos if self._permits is not None else ()))

    def _left(self) -> float:
        """Return the seconds until something is due."""
        due = min(self._sentry.next_deadline(), self._refreshed + _REFRESH)
        return max(0.0, (due - self._parts.now()) / _NANOSECONDS)

    def _look(self) -> None:
        began = self._parts.now()
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        if self._permits is not None:
            self._permits.renew(began)
        if self._wake in ready:
            self._asked_for()
        if self._doors is not None and ready & set(self._doors.filenos):
            self._apply(self._doors.look(self._within()))
        self._apply(WakeUp())
        self._took = self._parts.now() - began
        self._look_around(ready)

    def _asked_for(self) -> None:
        os.eventfd_read(self._wake)
        while not self._asked.empty():
            self._turn(self._asked.get())

    def _turn(self, mode: Mode) -> None:
        """Change the mode: of the kernel's programs first, so that nobody gets in between."""
        if self._doors is not None:
            self._doors.set_enforce(mode is Mode.ENFORCE)
        self._apply(SetMode(mode))

    def _look_around(self, ready: set[int]) -> None:
        now = self._parts.now()
        if now >= self._refreshed + _REFRESH:
            self._refreshed = now
            self._refresh()
        anew = now >= self._looked + _ANEW
        self._looked = now if anew else self._looked
        for watch in tuple(self._watches.values()):
            if anew or ready & set(watch.filenos):
                self._apply(watch.look())

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
            watch = NetWatch(namespace, self._parts.mirrors)
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

    def _apply(self, event: Event, *, sweep: bool = True) -> None:
        """Apply an event; what a sweep brought asks for no other ``sweep``."""
        waiting = deque(self._sentry.handle(event, self._parts.now()))
        while waiting:
            command = waiting.popleft()
            if isinstance(command, Incident):
                self._parts.deliver(command)
            elif not isinstance(command, Sweep):
                acted = Acted(command, self._act(command))
                waiting.extendleft(reversed(self._sentry.handle(acted, self._parts.now())))
            elif sweep:
                self._sweep(quick=command.quick)

    def _act(self, act: Act) -> Result:
        """Rule 8."""
        if isinstance(act, Kill):
            return acts.kill(act)
        if isinstance(act, Mute):
            return acts.mute(act)
        watch = self._watches.get(act.netns)
        if watch is None:
            return Result.GONE
        if self._parts.undo is not None and self._parts.undo(act.finding, watch.namespace):
            return Result.DONE
        return Result.FAILED

    def _sweep(self, *, quick: bool) -> None:
        if not quick:
            for watch in self._watches.values():
                self._apply(watch.poll(), sweep=False)
        sockets = self._swept(quick=quick)
        strangers = {seen.pid for seen, _ in self._sentry.content(sockets)}
        event = SweepDone(
            sockets=tuple(sockets),
            holders={pid: holders.identify(pid) for pid in strangers if pid},
            within=self._within(),
        )
        self._apply(event, sweep=False)
        if not quick:
            blind = NetworkChanged(netns=_NODE, standing=frozenset(self._blind()))
            self._apply(blind, sweep=False)
        self._sweeps += 1
        self._last = self._parts.now()

    def _swept(self, *, quick: bool) -> list[SocketSeen]:
        """Rule 5."""
        if self._sweeper is None:
            return self._listing.sweep(self._namespaces.all)
        now = self._parts.now()
        thorough = not quick and now >= self._thorough
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
            "permits": self._permits.missing if self._permits is not None else 0,
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


def _reach(parts: WatchParts) -> Reach:
    """Say whom it may touch; with a cgroup for tests, networks only if these are tests', too."""
    undo = parts.cgroup is None or parts.scope is not None
    return Reach(cgroup=parts.cgroup, mute=parts.mute, undo=undo)


def _sweeper() -> Sweeper | None:
    try:
        return Sweeper()
    except KernelError:
        return None
