"""Which tier holds at each door of this kernel, by proof: nothing is believed to work.

1. The second tier (rogue.py) is loaded where the kernel takes it. The third, finding by the sweep,
   is there in any case and needs no proof here.
2. A canary then really tries each door, in a process and a cgroup of its own, in which the program
   kills whatever the mode. A door counts as `kill` only if the canary died of SIGKILL and the
   program reported that it was its doing. It may be tried again at any time.
3. A canary that was refused proves nothing about others: whatever refused it may know the agent
   alone. Its door counts as `detect`, as does any of which there is doubt.
4. The node's tier is the weakest of all doors that this kernel has.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from agents.kernel.errors import KernelError
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Deed, Entrance, Rogue, Scope

__all__ = ["Door", "Tier", "Tiers", "weakest"]

_ATTEMPT: Final = Path(__file__).with_name("attempt.py")
_ABSENT = 2
_PATIENCE = 10
_WAITING: Final = 4096


class Door(StrEnum):
    """A way to a socket that hears content; the words of attempt.py."""

    PACKET = "packet_socket"
    BIND = "packet_bind"
    """A packet socket opened for nothing, and bound to everything later."""
    RAW = "raw_socket"
    XDP = "xdp_socket"
    PACKET_32 = "packet_socket_32"
    """By the kernel's 32-bit entry."""
    PACKET_IO_URING = "packet_socket_io_uring"


class Tier(StrEnum):
    """What is done at a door, weakest first."""

    DETECT = "detect"
    """It opens, and the sweep finds who holds what came through it."""
    KILL = "kill"
    """Who tries it is dead before the next instruction, if the mode is to enforce."""
    ABSENT = "absent"
    """This kernel does not have it."""


@dataclass(slots=True)
class Tiers:
    """The second tier, where the kernel takes it; ``close`` it. One user at a time.

    ``within`` is the number of the cgroup where it counts, None for everywhere; with ``enforce``
    it kills there, else it reports. ``refusal`` says why there is no second tier, "" if there is.
    """

    within: int | None = None
    enforce: bool = False
    refusal: str = ""
    entrance: Entrance | None = None
    _canaries: OwnCgroup | None = None
    _waiting: deque[Rogue] = field(default_factory=lambda: deque(maxlen=_WAITING))

    def __post_init__(self) -> None:
        with ExitStack() as undo:
            try:
                canaries = undo.enter_context(OwnCgroup("callguard-canary"))
                scope = Scope(canary=canaries.number, within=self.within, enforce=self.enforce)
                self.entrance = Entrance(scope)
            except KernelError as error:
                self.refusal = str(error)
                return
            self._canaries = canaries
            undo.pop_all()

    def prove(self) -> dict[Door, Tier]:
        """Try every door (rule 2) and say which tier holds there.

        It starts processes and waits for them. Raises OSError when none can be started.
        """
        if self._canaries is None:
            return dict.fromkeys(Door, Tier.DETECT)
        started: dict[Door, subprocess.Popen[bytes]] = {}
        try:
            for door in Door:
                started[door] = _try(door, self._canaries)
            ended = {door: _status(process) for door, process in started.items()}
        finally:
            for process in started.values():
                process.kill()  # does nothing to one that has ended
                process.wait()
        return self._judged(started, ended)

    def set_enforce(self, enforce: bool) -> None:  # noqa: FBT001  # one switch, named by it
        """Change the mode; canaries are killed in either."""
        self.enforce = enforce
        if self.entrance is not None:
            self.entrance.set_enforce(enforce)

    def reports(self) -> list[Rogue]:
        """Return what was tried since the last time, the canaries' own attempts left out."""
        taken = [*self._waiting, *(self.entrance.reports() if self.entrance else ())]
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Unload the second tier and remove the canaries' cgroup."""
        if self.entrance is not None:
            self.entrance.close()
            self.entrance = None
        if self._canaries is not None:
            self._canaries.close()
            self._canaries = None

    def _judged(
        self, started: dict[Door, subprocess.Popen[bytes]], ended: dict[Door, int | None]
    ) -> dict[Door, Tier]:
        ours, killed = {process.pid for process in started.values()}, set()
        for each in self.entrance.reports() if self.entrance else ():
            if each.pid not in ours:  # what others tried meanwhile is kept for `reports`
                self._waiting.append(each)
            elif each.deed is Deed.KILLED:
                killed.add(each.pid)
        return {
            door: _tier(ended[door], killed_by_us=process.pid in killed)
            for door, process in started.items()
        }


def weakest(doors: dict[Door, Tier]) -> Tier:
    """Return the node's tier (rule 4)."""
    return Tier.DETECT if Tier.DETECT in doors.values() else Tier.KILL


def _try(door: Door, inside: OwnCgroup) -> subprocess.Popen[bytes]:
    command = inside.command(sys.executable, "-I", "-S", str(_ATTEMPT), door)
    return subprocess.Popen(  # noqa: S603  # our own file, by its own path
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return None


def _tier(status: int | None, *, killed_by_us: bool) -> Tier:
    if status == -signal.SIGKILL and killed_by_us:
        return Tier.KILL
    return Tier.ABSENT if status in {_ABSENT, -signal.SIGSEGV} else Tier.DETECT
