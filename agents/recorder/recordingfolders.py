"""Empties the relay's recording folders: whatever is in them, nobody ordered it.

The agent's own recordings never touch a disk, so a file where the relay records is a recording
that came about behind the gate's back.

1. Every file in the folders ``pcaps``, ``tmp`` and ``metadata`` goes, and in the folder above them
   every file that is named like a recording: that folder may hold other things.
2. A file is cut to nothing before its name is taken away. The relay may write on: as long as
   somebody has it open, it is cut again and again.
3. No link is followed: a symbolic link goes without being opened, a file of several names loses
   this name and keeps what is in it.
4. It is reported by the digest of its name; the name, which holds the Call-ID, is in no text.
5. A folder that cannot be emptied raises RecordingFolderError: the caller must not go on as if
   nothing were recorded there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

__all__ = ["Recording", "RecordingFolderError", "RecordingFolders", "call_id_of"]

INTERVAL: Final = 0.25

_FOLDERS = ("pcaps", "tmp", "metadata")
_NAMED = re.compile(rb"(?:rtpengine-meta-)?(.+)-[0-9a-f]{16}\.(?:pcap|txt|meta|tmp)", re.DOTALL)
_WATCHED_ON = 256  # Files that are gone and still written to.
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_GONE = {errno.ENOENT}
_A_LINK = {errno.ELOOP, errno.ENOTDIR}
_NOT_TO_BE_OPENED = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EOPNOTSUPP}


class RecordingFolderError(Exception):
    """A recording folder cannot be emptied; the message says which and what to do.

    ``found`` is what was emptied before.
    """

    def __init__(self, message: str, found: Sequence[Recording] = ()) -> None:
        super().__init__(message)
        self.found = tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording that nobody ordered: where it was, and how much it held when it was found.

    ``name``: the sha256 of its name. ``call_id``: as the relay wrote it into the name, if it did.
    ``emptied``: what it held is gone, too (see rule 3); a folder within a folder stays.
    """

    folder: Path
    name: str
    size: int
    emptied: bool
    call_id: bytes | None = field(repr=False)


def call_id_of(name: bytes) -> bytes | None:
    """Return the Call-ID that the relay wrote into a file's name; None when it did not."""
    match = _NAMED.fullmatch(name)
    return urllib.parse.unquote_to_bytes(match[1]) if match else None


class RecordingFolders:
    """The folders below each of the relay's recording directories; the caller closes it."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = tuple(directories)
        self._open: list[int] = []
        self._stuck: set[tuple[int, int]] = set()

    async def watch(
        self, report: Callable[[Recording], None], *, every: float = INTERVAL
    ) -> NoReturn:
        """Empty the folders and report what was in them, until it is cancelled."""
        while True:
            try:
                found: Sequence[Recording] = await asyncio.to_thread(self.sweep)
            except RecordingFolderError as error:
                for each in error.found:
                    report(each)
                raise
            for each in found:
                report(each)
            await asyncio.sleep(every)

    def sweep(self) -> list[Recording]:
        """Empty the folders once; raises RecordingFolderError (rule 5)."""
        self._cut_again()
        found: list[Recording] = []
        for directory in self._directories:
            try:
                for each in self._sweep(directory):
                    found.append(each)  # noqa: PERF402 - what came before an error counts
            except OSError as error:
                raise RecordingFolderError(
                    f"{directory} cannot be emptied: {error.strerror}; the agent must be able to"
                    " delete files there, or the relay must have no recording-dir",
                    found,
                ) from None  # Rule 4: the cause has the file's name in it.
        return found

    def close(self) -> None:
        """Let go of the files that are gone and still open."""
        while self._open:
            os.close(self._open.pop())

    def _sweep(self, directory: Path) -> Iterator[Recording]:
        with _folder(directory) as above:
            if above is None:
                return
            for name in _names(above):
                if _NAMED.fullmatch(os.fsencode(name)):
                    yield from self._take(directory, above, name)
            for each in _FOLDERS:
                try:
                    with _folder(Path(each), within=above) as below:
                        for name in _names(below):
                            yield from self._take(directory / each, below, name)
                except OSError as error:
                    if error.errno not in _A_LINK:
                        raise
                    yield from self._take(directory, above, each)

    def _take(self, folder: Path, within: int | None, name: str) -> Iterator[Recording]:
        size, emptied = 0, False
        try:
            opened = os.open(name, _FILE, dir_fd=within)
        except OSError as error:
            if error.errno in _GONE:
                return
            if error.errno not in _NOT_TO_BE_OPENED:
                raise
        else:
            status = os.fstat(opened)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:  # Rule 3.
                os.ftruncate(opened, 0)
                size, emptied = status.st_size, True
                self._keep(opened)
            else:
                os.close(opened)
        if self._unlink(name, within):
            written = os.fsencode(name)
            yield Recording(
                folder=folder,
                name=hashlib.sha256(written).hexdigest(),
                size=size,
                emptied=emptied,
                call_id=call_id_of(written),
            )

    def _unlink(self, name: str, within: int | None) -> bool:
        """Take a name away, and tell whether to report it; a folder stays and is reported once."""
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=within, follow_symlinks=False)
        if status is None:
            return True
        if not stat.S_ISDIR(status.st_mode):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=within)
            return True
        known = (status.st_dev, status.st_ino)
        new = known not in self._stuck
        self._stuck.add(known)
        return new

    def _keep(self, opened: int) -> None:
        self._open.append(opened)
        if len(self._open) > _WATCHED_ON:
            os.close(self._open.pop(0))

    def _cut_again(self) -> None:
        for opened in tuple(self._open):
            if os.fstat(opened).st_size:
                os.ftruncate(opened, 0)
            elif _is_ours_alone(opened):
                self._open.remove(opened)
                os.close(opened)


@contextlib.contextmanager
def _folder(path: Path, within: int | None = None) -> Iterator[int | None]:
    """Open a folder, a named one within another not through a link; None when it is not there."""
    try:
        more = 0 if within is None else os.O_NOFOLLOW
        opened = os.open(path, _FOLDER | more, dir_fd=within)
    except FileNotFoundError:
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _names(folder: int | None) -> list[str]:
    if folder is None:
        return []
    with os.scandir(folder) as entries:
        return [each.name for each in entries]


def _is_ours_alone(opened: int) -> bool:
    """Tell whether nobody else has a file open: only then does the kernel grant a lease on it.

    The file has no name any more, so that nobody can come and break the lease.
    """
    try:
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Without leases (another owner's file, an odd file system) it is let go with the others.
        return error.errno not in {errno.EAGAIN, errno.EACCES, errno.EINVAL}
    return True
