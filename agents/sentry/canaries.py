"""The canaries: processes that really try each door, and what is believed of how they end.

1. A canary is in a cgroup of its own, where the programs stop everybody whatever the mode, and
   tries one door (attempt.py). What it needs for that, its lure, is ours: a packet socket, a
   sleeping process in a protected cgroup, our own number, a pin.
2. A door counts as `kill` only if its canary died of SIGKILL, and as `prevent` only if it was
   refused, and in either case only if the program reported that this was its doing.
3. A canary that was refused otherwise proves nothing about others: whatever refused it may know
   the agent alone. Its door counts as `detect`, as does any of which there is doubt, or for which
   there is no lure.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Deed, Rogue

__all__ = ["CAPTURE", "Canaries", "Door", "Guard", "Tier"]

_ATTEMPT: Final = Path(__file__).with_name("attempt.py")
_REFUSED, _ABSENT = 1, 2
_PATIENCE: Final = 30  # seconds; a machine without hardware to emulate on takes ten
_ETH_P_ALL: Final = 0x0003


class Door(StrEnum):
    """A way to what a call says, or around what guards it; the words of attempt.py."""

    PACKET = "packet_socket"
    BIND = "packet_bind"
    """A packet socket opened for nothing, and bound to everything later."""
    RAW = "raw_socket"
    XDP = "xdp_socket"
    PACKET_32 = "packet_socket_32"
    """By the kernel's 32-bit entry."""
    PACKET_IO_URING = "packet_socket_io_uring"
    SETSOCKOPT = "packet_setsockopt"
    """A packet socket that was inherited is made to hear more, or into a ring of memory."""
    RECEIVED = "descriptor_passed"
    """A packet socket that somebody else opened is handed over."""
    NFLOG = "nflog_bind"
    PTRACE = "ptrace"
    VM_READ = "process_vm_readv"
    PROC_MEM = "proc_mem"
    PIDFD_GETFD = "pidfd_getfd"
    PERF_EVENT = "perf_event"
    BPF = "bpf"
    KILL_AGENT = "kill_agent"
    UNPIN = "unpin"
    MOUNT_OVER = "mount_over"


CAPTURE: Final = frozenset(
    {Door.PACKET, Door.BIND, Door.RAW, Door.XDP, Door.PACKET_32, Door.PACKET_IO_URING}
)
"""The doors through which a socket that hears content is made."""
_SOCKETS: Final = (Door.SETSOCKOPT, Door.RECEIVED)
_MEMORY: Final = (Door.PTRACE, Door.VM_READ, Door.PROC_MEM, Door.PIDFD_GETFD)
_PINS: Final = (Door.UNPIN, Door.MOUNT_OVER)


class Tier(StrEnum):
    """What is done at a door, weakest first."""

    DETECT = "detect"
    """It opens, and the sweep finds who holds what came through it."""
    KILL = "kill"
    """Who tries it is dead before the next instruction, if the mode is to enforce."""
    PREVENT = "prevent"
    """The kernel refuses it, if the mode is to enforce."""
    ABSENT = "absent"
    """This kernel does not have it, or there is nothing behind it now."""


class Guard(Protocol):
    """The programs that are put to the proof: `Entrance`, `Shield`."""

    def reports(self) -> list[Rogue]:
        """Return what was reported since the last time."""

    def protect(self, cgroup_id: int) -> None:
        """Let nobody trace or read the processes of a cgroup."""

    def unprotect(self, cgroup_id: int) -> None:
        """Take that back."""


@dataclass(slots=True)
class _Canary:
    process: subprocess.Popen[bytes]
    status: int | None = None


@dataclass(slots=True)
class Canaries:
    """Their cgroup, made with it; ``close`` it. ``others``: reports that were not about them."""

    cgroup: OwnCgroup = field(default_factory=lambda: OwnCgroup("callguard-canary"))
    others: list[Rogue] = field(default_factory=list)

    def prove(
        self, guard: Guard, doors: Iterable[Door] = tuple(Door), pins: Path | None = None
    ) -> dict[Door, Tier]:
        """Try the doors (rule 1) and return what holds at each (rule 2).

        ``pins``: the folder with the pins, if anything is pinned. It starts processes and waits
        for them. Raises OSError when none can be started.
        """
        doors, canaries = tuple(doors), dict[Door, _Canary]()
        with ExitStack() as undo:
            lures = _Lures(guard, pins, undo)
            try:
                for door in doors:
                    if (lure := lures.of(door)) is not None:
                        canaries[door] = _Canary(_started(door, lure, self.cgroup))
                for canary in canaries.values():
                    canary.status = _status(canary.process)
            finally:
                for canary in canaries.values():
                    canary.process.kill()  # does nothing to one that has ended
                    canary.process.wait()
        deeds = self._deeds(guard, {canary.process.pid for canary in canaries.values()})
        return {door: _judged(canaries.get(door), deeds, door, pins) for door in doors}

    def close(self) -> None:
        """Remove the cgroup."""
        self.cgroup.close()

    def _deeds(self, guard: Guard, ours: set[int]) -> set[tuple[int, Deed]]:
        deeds = set()
        for each in guard.reports():
            if each.pid in ours:
                deeds.add((each.pid, each.deed))
            else:
                self.others.append(each)
        return deeds


class _Lures:
    """What each door needs (rule 1), made when it is first asked for and undone by ``undo``."""

    def __init__(self, guard: Guard, pins: Path | None, undo: ExitStack) -> None:
        self._guard, self._pins, self._undo = guard, pins, undo
        self._sleeper = ""

    def of(self, door: Door) -> tuple[str, ...] | None:
        """Return the words for the canary: none or one; None where there is no lure."""
        with suppress(OSError):
            if door in _SOCKETS:
                return (str(self._socket(door)),)
            if door in _MEMORY:
                return (self._sleeping(),)
            if door in _PINS:
                return None if self._pins is None else (_pin(door, self._pins),)
            return (str(os.getpid()),) if door is Door.KILL_AGENT else ()
        return None

    def _socket(self, door: Door) -> int:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._undo.enter_context(packets)
        if door is Door.SETSOCKOPT:
            return packets.fileno()
        ours, theirs = socket.socketpair()
        self._undo.enter_context(ours)
        self._undo.enter_context(theirs)
        socket.send_fds(ours, [b"-"], [packets.fileno()])
        return theirs.fileno()

    def _sleeping(self) -> str:
        if not self._sleeper:
            group = self._undo.enter_context(OwnCgroup("callguard-lure"))
            process = subprocess.Popen(["/bin/sleep", "60"], stdin=subprocess.DEVNULL)
            self._undo.callback(process.wait)
            self._undo.callback(process.kill)
            (group.path / "cgroup.procs").write_text(str(process.pid), encoding="ascii")
            self._guard.protect(group.number)
            self._undo.callback(self._guard.unprotect, group.number)
            self._sleeper = str(process.pid)
        return self._sleeper


def _pin(door: Door, pins: Path) -> str:
    return str(pins / "canary" if door is Door.UNPIN else pins)


def _started(door: Door, lure: tuple[str, ...], inside: OwnCgroup) -> subprocess.Popen[bytes]:
    command = inside.command(sys.executable, "-I", "-S", str(_ATTEMPT), door, *lure)
    return subprocess.Popen(  # noqa: S603  # our own file, by its own path
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[int(each) for each in lure] if door in _SOCKETS else [],
    )


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return None


def _judged(
    canary: _Canary | None, deeds: set[tuple[int, Deed]], door: Door, pins: Path | None
) -> Tier:
    if canary is None:
        return Tier.ABSENT if door in _PINS and pins is None else Tier.DETECT
    pid, status = canary.process.pid, canary.status
    if status == -signal.SIGKILL and (pid, Deed.KILLED) in deeds:
        return Tier.KILL
    if status == _REFUSED and (pid, Deed.DENIED) in deeds:
        return Tier.PREVENT
    return Tier.ABSENT if status in {_ABSENT, -signal.SIGSEGV} else Tier.DETECT
