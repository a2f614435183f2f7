"""Sealed segments on disk, from the first octet until the guard has stored them.

1. A file carries its final name only when it is complete and durable: it is written as
   ``<number>.part``, synced, given its sidecar ``<number>.json``, and renamed. Nothing half-written
   is ever announced.
2. Only sealed octets come here. Folders are 0700, files 0600, and one process owns the spool.
3. A number is used once per grant, also across restarts: what was lost stays visible as a gap.
4. Space is reserved before packets are accepted, so a full quota ends a capture with its last
   segment whole. A full disk ends it with that segment removed. Both raise `SpoolFull`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import rfc8785

from agents.capture.outcomes import Loss, LostSegment, SealedSegment

SEALED = ".pcapng.age"
PART, SIDECAR, STORED, LOST = ".part", ".json", ".stored", ".lost"

_GRANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SpoolFull(Exception):  # noqa: N818  a state of the disk that ends a capture, named as such
    """No room: the quota is used up or the disk refuses."""


class SpoolUnsafe(Exception):  # noqa: N818  the folder's state, not a mistake of the program
    """The folder is open to others, belongs to somebody else, or another process has it."""


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Turn the errors of a disk that has no room into `SpoolFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpoolFull(os.strerror(error.errno)) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Spool:
    """The folder of sealed segments; thread-safe. `quota` is in octets.

    Opening it clears what a killed process left: `lost` names those segments. Raises `SpoolUnsafe`.
    """

    def __init__(self, root: Path, *, quota: int) -> None:
        self._root = root
        self._quota = quota
        self._mutex = threading.Lock()
        self._used = 0
        self._highest: dict[str, int] = {}
        self._waiting: dict[tuple[str, int], SealedSegment] = {}
        self._ownership = _own(root)
        self.lost = tuple(self._recover())

    @property
    def used(self) -> int:
        """Octets of sealed segments and of reservations."""
        return self._used

    def waiting(self) -> tuple[SealedSegment, ...]:
        """Return the segments that the guard does not have yet, in the order they were sealed."""
        with self._mutex:
            return tuple(self._waiting.values())

    def begin(self, grant_id: str) -> tuple[int, Path, int]:
        """Create the next segment's file; returns its number, path and open descriptor."""
        folder = self._folder(grant_id)
        with full_disk():
            if not folder.exists():
                folder.mkdir(mode=0o700)
                sync_folder(self._root)
            with self._mutex:
                before = self._highest.get(grant_id, 0)
                number = self._highest[grant_id] = before + 1
            path = folder / f"{number}{PART}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # The new file carries the highest number from here on; the old marker is no longer needed.
        for marker in (STORED, LOST):
            (folder / f"{before}{marker}").unlink(missing_ok=True)
        return number, path, descriptor

    def reserve(self, octets: int) -> None:
        """Set octets aside before they are written; raises `SpoolFull`."""
        with self._mutex:
            if self._used + octets > self._quota:
                raise SpoolFull(f"the quota of {self._quota} octets is used up")
            self._used += octets

    def release(self, octets: int) -> None:
        """Give octets back that were set aside and not used."""
        with self._mutex:
            self._used -= octets

    def announce(self, segment: SealedSegment, part: Path) -> None:
        """Give a synced file its sidecar and then its name; it waits for the guard from here on."""
        sidecar = part.with_name(f"{segment.number}{SIDECAR}")
        with full_disk():
            _write_durably(sidecar, _encode(segment))
            part.rename(segment.path)
            sync_folder(part.parent)
        with self._mutex:
            self._waiting[segment.grant_id, segment.number] = segment

    def discard(self, grant_id: str, number: int) -> None:
        """Remove an unfinished segment; its number stays used."""
        folder = self._folder(grant_id)
        (folder / f"{number}{SIDECAR}").unlink(missing_ok=True)
        _hollow(folder / f"{number}{PART}", folder / f"{number}{LOST}")

    def stored(self, grant_id: str, number: int) -> None:
        """Delete a segment that the guard has stored; the highest number stays marked."""
        with self._mutex:
            segment = self._waiting.pop((grant_id, number))
            self._used -= segment.size
            newest = self._highest[grant_id] == number
        if newest:
            _hollow(segment.path, segment.path.with_name(f"{number}{STORED}"))
        else:
            segment.path.unlink()
        segment.path.with_name(f"{number}{SIDECAR}").unlink()

    def forget(self, grant_id: str) -> None:
        """Remove the folder of a grant that has ended for good and has nothing waiting."""
        with self._mutex:
            if any(grant == grant_id for grant, _ in self._waiting):
                raise ValueError("segments of this grant are still waiting for the guard")
            self._highest.pop(grant_id, None)
        folder = self._folder(grant_id)
        if folder.exists():
            for marker in folder.iterdir():
                marker.unlink()
            folder.rmdir()

    def close(self) -> None:
        """Let another process have the spool."""
        os.close(self._ownership)

    def _folder(self, grant_id: str) -> Path:
        if not _GRANT_ID.fullmatch(grant_id):
            raise ValueError("a grant id is a lower-case UUID")
        return self._root / grant_id

    def _recover(self) -> Iterator[LostSegment]:
        found: list[SealedSegment] = []
        for folder in sorted(path for path in self._root.iterdir() if path.is_dir()):
            if not _GRANT_ID.fullmatch(folder.name):
                continue
            sealed, lost, highest = _survey(folder)
            self._highest[folder.name] = highest
            found.extend(sealed)
            yield from lost
        for segment in sorted(found, key=lambda one: (one.last, one.grant_id, one.number)):
            self._waiting[segment.grant_id, segment.number] = segment
            self._used += segment.size


def _own(root: Path) -> int:
    """Take the folder for this process alone; returns the descriptor that holds the lock."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    state = os.fstat(descriptor)
    problem = ""
    if state.st_uid != os.geteuid() or state.st_mode & _OTHERS:
        problem = "must belong to this user and be closed to others (0700)"
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "is in use by another process"
    if problem:
        os.close(descriptor)
        raise SpoolUnsafe(f"{root} {problem}")
    return descriptor


def _survey(folder: Path) -> tuple[list[SealedSegment], list[LostSegment], int]:
    """Take stock of one grant's folder after a restart and clear what is unfinished."""
    sealed: list[SealedSegment] = []
    lost: list[LostSegment] = []
    names = [(path.name.partition("."), path) for path in folder.iterdir()]
    numbered = sorted((int(n), dot + end, path) for (n, dot, end), path in names if n.isdecimal())
    finished = {number for number, ending, _ in numbered if ending == SEALED}
    for number, ending, path in numbered:
        if ending == PART:
            _hollow(path, path.with_name(f"{number}{LOST}"))
            lost.append(LostSegment(grant_id=folder.name, number=number, loss=Loss.UNFINISHED))
        elif ending == SIDECAR and number not in finished:
            path.unlink()
        elif ending in {STORED, LOST} and path.stat().st_size:
            os.truncate(path, 0)  # killed between the rename and the truncation
        elif ending == SEALED:
            try:
                sealed.append(_decode(path, number))
            except (OSError, ValueError, KeyError, TypeError):
                # The file stays where it is, for a person to look at; it is never uploaded.
                lost.append(LostSegment(grant_id=folder.name, number=number, loss=Loss.DAMAGED))
    return sealed, lost, max((number for number, _, _ in numbered), default=0)


def _hollow(path: Path, marker: Path) -> None:
    """Turn a file into an empty marker. A rename needs no room, also on a full disk."""
    path.rename(marker)
    os.truncate(marker, 0)


def _write_durably(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)


def _encode(segment: SealedSegment) -> bytes:
    fields = asdict(segment)
    del fields["path"]
    return rfc8785.dumps(fields)


def _decode(path: Path, number: int) -> SealedSegment:
    data = path.with_name(f"{number}{SIDECAR}").read_bytes()
    segment = SealedSegment(path=path, **json.loads(data))
    if _encode(segment) != data:
        raise ValueError("the sidecar is not canonical")
    if (segment.grant_id, segment.number) != (path.parent.name, number):
        raise ValueError("the sidecar is another segment's")
    if path.stat().st_size != segment.size:
        raise ValueError("the sealed file is not as long as its sidecar says")
    return segment
