"""Who holds a socket, and who that is: read from /proc, by the socket's inode.

1. Every descriptor of every process is looked at; for a socket that nobody seems to hold, those of
   every thread too, which may have a table of its own, and then where it may be `hidden`.
2. ``complete`` says whether everything could be read, which takes CAP_SYS_PTRACE.
3. The command is told as a SHA-256, never as it reads: a capture's filter may name a caller.
4. Ten thousand descriptors are many: they are listed as plain strings, not as a Path each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from agents.core.judgement import SocketSeen
from agents.core.sentry import Holder
from agents.sentry.hidden import hidden
from agents.sentry.processes import started

__all__ = ["Held", "Process", "find", "identify", "in_hands_of", "process"]

_PROC: Final = "/proc"
_UNIFIED: Final = "0::"
_UNSET: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Held:
    """Which processes hold which inodes, of those that anybody holds; see rule 2."""

    holders: dict[int, frozenset[int]]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process's effective user, its cgroup ("" when not known), the kernel's name of it."""

    uid: int
    cgroup: str
    comm: str


def find(inodes: frozenset[int]) -> Held:
    """Find the holders of sockets (rules 1 and 2)."""
    found: dict[int, set[int]] = {}
    complete = _look(inodes, _processes(), found)
    left = inodes - set(found)
    if left:
        complete &= _look(left, _threads(), found)
        found |= hidden(inodes - set(found))
    return Held({inode: frozenset(pids) for inode, pids in found.items()}, complete)


def _look(
    inodes: frozenset[int], folders: Iterable[tuple[int, str]], found: dict[int, set[int]]
) -> bool:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    complete = True
    for pid, folder in folders:
        try:
            for name in os.listdir(folder):  # noqa: PTH208 - rule 4
                # A descriptor that is closed meanwhile is not held.
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    inode = wanted.get(os.readlink(f"{folder}/{name}"))  # noqa: PTH115 - rule 4
                    if inode is not None:
                        found.setdefault(inode, set()).add(pid)
        except PermissionError:
            complete = False
        except (FileNotFoundError, ProcessLookupError):
            continue
    return complete


def _processes() -> Iterator[tuple[int, str]]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - rule 4
        if name.isdecimal():
            yield int(name), f"{_PROC}/{name}/fd"


def _threads() -> Iterator[tuple[int, str]]:
    for pid, _ in _processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for name in os.listdir(f"{_PROC}/{pid}/task"):  # noqa: PTH208 - rule 4
                yield pid, f"{_PROC}/{pid}/task/{name}/fd"


def process(pid: int) -> Process | None:
    """Say who a process is; None when it is gone."""
    try:
        status = Path(f"{_PROC}/{pid}/status").read_text("utf-8", "replace")
        cgroups = Path(f"{_PROC}/{pid}/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    path = next((each[len(_UNIFIED) :] for each in cgroups if each.startswith(_UNIFIED)), "")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return Process(uid=int(told["Uid"].split()[1]), cgroup=path, comm=told["Name"])


def in_hands_of(pid: int, seen: SocketSeen, top: Path | None) -> SocketSeen | None:
    """Say of a socket that this process has it; None when the process is gone.

    ``top`` is where the unified hierarchy is mounted.
    """
    start, who = started(pid), process(pid)
    if who is None or start is None:
        return None
    number = 0
    with contextlib.suppress(OSError):
        number = Path(f"{top}{who.cgroup}").stat().st_ino
    return replace(
        seen, pid=pid, uid=who.uid, cgroup=who.cgroup, cgroup_id=number, comm=who.comm,
        started=start,
    )  # fmt: skip


def identify(pid: int) -> Holder:
    """Say whose a process is (rule 3); what cannot be read any more is None."""
    login, command = None, None
    with contextlib.suppress(OSError, ValueError):
        login = int(Path(f"{_PROC}/{pid}/loginuid").read_text("ascii"))
    with contextlib.suppress(OSError):
        command = sha256(Path(f"{_PROC}/{pid}/cmdline").read_bytes()).hexdigest()
    return Holder(login_uid=None if login == _UNSET else login, command=command)
