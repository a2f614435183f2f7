"""The sentry's own thread: looks when something is announced or due, and tells what it finds.

1. One thread does all: it moves from namespace to namespace, and the thread that follows the
   signalling waits for none of it. What it finds crosses over by ``deliver``.
2. Announcements and attempts are answered at once. But a node whose networks change without end is
   looked at `_BREATH` apart, and where something is tried without end the thread rests as long as
   it has looked, but `_GASP` at the least and `_SIGH` at the most.
3. The thread's death is told to ``fail``: a node without its sentry has no agent.
4. What it may not see is a finding (`sentry_blind`), and so is a scope (`sentry_scoped`).
5. Every sweep looks for who holds what (`sockets`); a quick one looks for nothing else.
6. Where there are `doors`, they are proven at the start, after the first sweep, and anew with every
   challenge of the guard's (`proving`); what is tried at them is told as it is tried. While they
   are being proven nothing can be told, and quick sweeps follow each other `_SIGH` apart.
7. The kernel knows who may listen before it is told to end who may not, and is told every time that
   the agent lives (`permits`).
8. What the rules have done is done here, in this thread, and they are told what came of it before
   they are told anything else. What is undone waits for its turn, in portions (`undoing`).
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

from agents.core.enforcing import Acted, Kill, Mute, Reach, Result, Undo
from agents.core.health import Health
from agents.core.judgement import Allowances, SocketSeen
from agents.core.sentry import (
    Event,
    Finding,
    Incident,
    NetworkChanged,
    Sentry,
    SetMode,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)
from agents.sentry import acts, holders
from agents.sentry.doors import Doors
from agents.sentry.networks import Networks
from agents.sentry.permits import Permits
from agents.sentry.proving import Proof
from agents.sentry.sockets import Sockets
from agents.sentry.tiers import Tier
from agents.sentry.undoing import UndoAll, Undoing
from guard.core.enforcement import SentryMode

__all__ = ["Watch", "WatchParts"]

_NANOSECONDS: Final = 1_000_000_000
_REFRESH: Final = _NANOSECONDS // 2  # between two looks at which namespaces there are
_ANEW: Final = 10 * _NANOSECONDS  # between two looks at everything
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
    second tier, None: there is none. ``undo`` takes away what stands in a namespace. ``health``
    is called in the sentry's thread when `Watch.health` has changed.
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
    undo: UndoAll | None = None
    health: Callable[[Health], None] = lambda _: None


class Watch:
    """See the module's docstring. It looks from ``start`` to ``close``."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts = parts
        allowances = Allowances(pids=frozenset({os.getpid()}), units=parts.units)
        self._sentry = Sentry(allowances, reach=_reach(parts))
        self._epoll = select.epoll()
        self._networks = Networks(parts.scope, parts.mirrors, self._epoll)
        self._sockets = Sockets(parts.now, portable=parts.portable)
        self._doors = parts.doors() if parts.doors is not None else None
        self._permits = _permits(self._doors, parts)
        self._undoing = Undoing(parts.undo)
        self._lost = 0
        self._refreshed = self._looked = 0
        self._sweeps = self._last = 0
        self._took = 0
        self._asked: SimpleQueue[SentryMode | str] = SimpleQueue()
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._proof = Proof(self._doors, self._wake_up)
        self._health = self._proof.health(self._sentry.mode, ())
        self._thread = threading.Thread(target=self._run, name="sentry", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more, and let go of everything. Blocks for a moment."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake_up()
        if self._thread.ident is not None:
            self._thread.join()
        for each in (self._sockets, self._permits, self._doors):
            if each is not None:
                each.close()
        self._epoll.close()
        os.close(self._wake)

    def set_mode(self, mode: SentryMode) -> None:
        """Let it act, or only report; from any thread."""
        self._asked.put(mode)
        self._wake_up()

    def prove(self, challenge: str) -> None:
        """Prove the doors anew; from any thread. `health` names the challenge once it is done."""
        self._asked.put(challenge)
        self._wake_up()

    def health(self) -> Health:
        """Say what is in force, and how it was proven; from any thread."""
        return self._health

    def status(self) -> dict[str, Any]:
        """Say how the sentry does; from any thread."""
        age = self._parts.now() - self._last
        return {
            "mode": self._sentry.mode.value,
            **(self._doors.status() if self._doors is not None else {"tier": Tier.DETECT.value}),
            "sweep": self._sockets.means,
            "scope": "node" if self._parts.scope is None else "some namespaces",
            "reach": "node" if self._parts.cgroup is None else "one cgroup",
            "namespaces": len(self._networks),
            "sweeps": self._sweeps,
            "last_sweep_ms": age // 1_000_000 if self._sweeps else None,
            "findings": self._sentry.standing,
        }

    def _wake_up(self) -> None:
        os.eventfd_write(self._wake, 1)

    # -- in the sentry's thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                stack.callback(self._networks.close)
                stack.callback(self._proof.finish, wait=True)
                self._epoll.register(self._wake, select.EPOLLIN)
                if self._parts.scope is not None or self._parts.cgroup is not None:
                    self._parts.deliver(Incident(what=What.SENTRY_SCOPED, details={}))
                if self._parts.scope is not None:  # or nothing would count in the first sweep
                    self._networks.find()
                self._look()
                self._proof.hold()
                self._proven()
                while not self._stopping.is_set():
                    self._look()
                    self._rest()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._parts.fail(error)

    def _proven(self) -> None:
        """Hear of what is tried from now on, and tell what was proven."""
        for descriptor in self._urgent():
            with suppress(FileExistsError):
                self._epoll.register(descriptor, select.EPOLLIN)
        self._tell_health()

    def _tell_health(self) -> None:
        programs = self._doors.programs() if self._doors is not None else ()
        health = self._proof.health(self._sentry.mode, programs)
        if health != self._health:
            self._health = health
            self._parts.health(health)

    def _rest(self) -> None:
        """Wait until something is announced, tried or due (rules 2 and 6)."""
        pause = min(max(_GASP, self._took / _NANOSECONDS), _SIGH)
        new = self._permits.filenos if self._permits is not None else ()
        if _readable(new, _SIGH if self._proof.busy else pause):
            self._permit()
        if self._proof.busy or self._stopping.is_set():
            return
        if not _readable((self._wake, *self._urgent()), min(_BREATH, self._left())):
            self._epoll.poll(self._left())

    def _urgent(self) -> tuple[int, ...]:
        """Return what is readable when something was tried, or a group was made."""
        tried = self._doors.filenos if self._doors is not None else ()
        return (*tried, *(self._permits.filenos if self._permits is not None else ()))

    def _left(self) -> float:
        """Return the seconds until something is due."""
        if self._undoing:
            return 0.0
        due = min(self._sentry.next_deadline(), self._refreshed + _REFRESH)
        return max(0.0, (due - self._parts.now()) / _NANOSECONDS)

    def _look(self) -> None:
        began = self._parts.now()
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._proof.finish():
            self._proven()
        self._permit()
        self._do_what_is_asked()
        if self._proof.busy:
            self._sweep(Sweep(quick=True))
        self._attend()
        self._apply(WakeUp())
        self._took = self._parts.now() - began
        self._look_around(ready)

    def _attend(self) -> None:
        """Do what cannot wait; whatever takes time has this done in between."""
        self._permit()
        if self._doors is not None and not self._proof.busy and _readable(self._doors.filenos, 0):
            self._apply(self._doors.look(self._networks.within))

    def _permit(self) -> None:
        """Rule 7."""
        if self._permits is not None:
            self._permits.renew(self._parts.now())

    def _do_what_is_asked(self) -> None:
        while not self._proof.busy and not self._asked.empty():
            asked = self._asked.get()
            if isinstance(asked, SentryMode):
                self._turn(asked)
            else:
                self._proof.begin(asked)

    def _turn(self, mode: SentryMode) -> None:
        """Change the mode: of the kernel's programs first, so that nobody gets in between."""
        if self._doors is not None:
            self._doors.set_enforce(mode is SentryMode.ENFORCE)
        self._apply(SetMode(mode))
        if mode is SentryMode.OBSERVE:
            for acted in self._undoing.drop():
                self._apply(acted)
        self._tell_health()

    def _look_around(self, ready: set[int]) -> None:
        now = self._parts.now()
        if now >= self._refreshed + _REFRESH:
            self._refresh()
        anew = now >= self._looked + _ANEW
        self._looked = now if anew else self._looked
        for event in self._networks.announced(ready, anew=anew):
            self._apply(event)
            self._attend()
        for acted in self._undoing.step(self._networks.namespace):
            self._apply(acted)

    def _refresh(self) -> None:
        self._refreshed = self._parts.now()
        for event in self._networks.refresh():
            self._apply(event)
            self._attend()

    def _apply(self, event: Event, *, sweep: bool = True) -> None:
        """Apply an event; what a sweep brought asks for no other ``sweep``."""
        waiting = deque(self._sentry.handle(event, self._parts.now()))
        while waiting:
            command = waiting.popleft()
            if isinstance(command, Incident):
                self._parts.deliver(command)
            elif isinstance(command, Undo):
                self._undoing.add(command)
            elif not isinstance(command, Sweep):
                acted = Acted(command, _done(command))
                waiting.extendleft(reversed(self._sentry.handle(acted, self._parts.now())))
            elif sweep:
                self._sweep(command)

    def _sweep(self, sweep: Sweep) -> None:
        if not sweep.quick:
            for event in self._networks.polled():
                self._apply(event, sweep=False)
                self._permit()
        sockets = self._seen(sweep)
        strangers = {seen.pid for seen, _ in self._sentry.content(sockets)}
        done = SweepDone(
            sockets=tuple(sockets),
            holders={pid: holders.identify(pid) for pid in strangers if pid},
            within=self._networks.within,
        )
        self._apply(done, sweep=False)
        if not sweep.quick:
            node = NetworkChanged(netns=_NODE, standing=frozenset(self._blind()) | self._loaded())
            self._apply(node, sweep=False)
            self._tell_health()
        self._sweeps += 1
        self._last = self._parts.now()

    def _seen(self, sweep: Sweep) -> list[SocketSeen]:
        """Return what is held; what canaries hold while they try the doors is nobody's capture."""
        everywhere = self._networks.all
        sockets = self._sockets.seen(everywhere, quick=sweep.quick, unheld=sweep.unheld)
        if self._doors is None or not self._proof.busy:
            return sockets
        return [each for each in sockets if each.cgroup_id not in self._doors.canaries]

    def _blind(self) -> list[Finding]:
        """Rule 4."""
        lost = self._doors.lost if self._doors is not None else 0
        missing = {
            "attempts": lost - self._lost,
            "permits": self._permits.missing if self._permits is not None else 0,
            "namespaces": self._networks.unseen,
            "holders": self._sockets.unattributed,
            "programs": self._networks.inventory.blind,
        }
        self._lost = lost
        return [
            Finding(What.SENTRY_BLIND, (("missing", name),))
            for name, count in missing.items()
            if count
        ]

    def _loaded(self) -> frozenset[Finding]:
        """Return the programs that were found; below a scope none: they belong to no part of it."""
        scoped = self._parts.scope is not None or self._parts.cgroup is not None
        return frozenset() if scoped else self._networks.inventory.standing


def _permits(doors: Doors | None, parts: WatchParts) -> Permits | None:
    """Permit those who are muted, too: the kernel would end them."""
    return Permits(doors, parts.units | parts.mute) if doors is not None else None


def _done(act: Kill | Mute) -> Result:
    """Rule 8."""
    return acts.kill(act) if isinstance(act, Kill) else acts.mute(act)


def _readable(descriptors: Sequence[int], seconds: float) -> bool:
    waiting = select.poll()
    for each in descriptors:
        waiting.register(each, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _reach(parts: WatchParts) -> Reach:
    """Say whom it may touch; with a cgroup for tests, networks only if these are tests', too."""
    undo = parts.cgroup is None or parts.scope is not None
    return Reach(cgroup=parts.cgroup, mute=parts.mute, undo=undo)
