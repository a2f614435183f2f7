"""Finds the media relay's process, knows when it is gone, and reads what it was told.

1. The relay is whoever holds the socket that its NG port is bound to, whatever it calls itself.
2. It is held by a pidfd, taken before its socket is looked at once more: a number that the kernel
   gave away again in between is noticed.
3. Its files are read as it sees them: through its own root and from its own working folder.
4. A configuration file that was changed after the relay started is reported: what the relay read
   is not known any more.
5. What cannot be found out raises RelayError; a relay that is not there is None.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from agents.core.relayoptions import DEFAULT_FILE, Options, from_arguments, from_file, merged
from agents.recorder.localsockets import bound_to

__all__ = ["RelayError", "RelayProcess", "Told"]

_PROC: Final = Path("/proc")
_LARGEST = 1 << 20
_SLACK = 2.0  # The kernel tells the time of its start in whole seconds.
_STARTED = 19  # Of the fields of /proc/PID/stat that follow the program's name.


class RelayError(Exception):
    """The relay cannot be looked at; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a relay was told: its options, the file they are from, and whether that was changed."""

    options: Options
    file: PurePosixPath | None
    changed: bool


class RelayProcess:
    """The process that holds the relay's NG port; the caller closes it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def find(cls, port: int) -> Self | None:
        """Find the relay by its NG port (UDP) in this network namespace; raises RelayError.

        Looks through every process of the machine: not for the event loop's own thread.
        """
        inodes = {each.inode for each in bound_to("udp", port)}
        for pid in _holders(inodes) if inodes else ():
            with contextlib.suppress(ProcessLookupError):
                found = cls(pid, os.pidfd_open(pid))
                if _holds(pid, inodes):  # Rule 2.
                    return found
                found.close()
        if inodes and {each.inode for each in bound_to("udp", port)} & inodes:
            raise RelayError(
                f"UDP port {port} is in use, but not by a process that the agent may look at;"
                " the agent needs CAP_SYS_PTRACE and to see every process (no hidepid)"
            )
        return None

    @property
    def has_exited(self) -> bool:
        """Tell whether the process has ended."""
        ready, _, _ = select.select([self._pidfd], [], [], 0)
        return bool(ready)

    async def exited(self) -> None:
        """Return when the process has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)

    def close(self) -> None:
        """Let go of the process; it runs on."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def told(self) -> Told:
        """Read its command line and configuration file; raises RelayError."""
        try:
            told = self._told()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not what it should be"
            raise RelayError(
                f"the relay's options cannot be read: {reason}; the agent must be able to read its"
                " command line and its configuration file"
            ) from error
        if self.has_exited:  # What was read may be another's.
            raise RelayError("the relay ended while its options were read; look for it again")
        return told

    def _told(self) -> Told:
        home = _PROC / str(self.pid)
        words = (home / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
        given = from_arguments(words[1:-1])
        named = given.get("config-file", (DEFAULT_FILE,))[-1]
        file = PurePosixPath((home / "cwd").readlink()) / named
        seen = home / "root" / file.relative_to("/")  # Rule 3.
        if named == "none" or ("config-file" not in given and not seen.exists()):
            return Told(options=given, file=None, changed=False)
        section = given.get("config-section", ("rtpengine",))[-1]
        with seen.open("rb") as opened:
            text = opened.read(_LARGEST + 1)
            changed = os.fstat(opened.fileno()).st_ctime > _started(home) + _SLACK  # Rule 4.
        if len(text) > _LARGEST:
            raise ValueError("the configuration file is too large")
        options = merged(given, from_file(text.decode(errors="surrogateescape"), section))
        return Told(options=options, file=file, changed=changed)


def _holders(inodes: set[int]) -> Iterator[int]:
    own = os.getpid()
    for each in sorted(int(path.name) for path in _PROC.iterdir() if path.name.isdecimal()):
        if each != own and _holds(each, inodes):
            yield each


def _holds(pid: int, inodes: set[int]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        descriptors = list((_PROC / str(pid) / "fd").iterdir())
    except OSError:  # It ended, or is not ours to look at.
        return False
    for each in descriptors:
        with contextlib.suppress(OSError):
            if str(each.readlink()) in wanted:
                return True
    return False


def _started(home: Path) -> float:
    """Return when a process started, in seconds of the wall clock."""
    status = (home / "stat").read_text("ascii", errors="replace")
    ticks = int(status.rpartition(")")[2].split()[_STARTED])
    lines = (_PROC / "stat").read_text("ascii").splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK")
