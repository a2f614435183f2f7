"""What the agent must not forget, in a folder of its own.

1. What is put here is durable when the call returns: written, synced, named, the name synced.
2. What has ended or is revoked is appended, one line each, and never taken out.
3. Receipts are kept one file each until the guard has them in its log; the newest is always kept,
   because the next one holds its digest. The receipt of a segment is kept as long as the segment.
4. On a full disk a reserve of `RESERVE` bytes is given up, so that there is room for the receipts
   that say so; it is made again when there is room. Only when it is used up too, writing fails.
5. One process owns the folder, and nobody else may read it. A file in it that cannot be read
   stops the agent: starting with half a memory would let a replayed grant in.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from agents.core.commands import Progress
from agents.core.receipts import Link

__all__ = ["RESERVE", "Kept", "StateDir", "StateError"]

RESERVE = 1 << 20
"""Bytes: room for hundreds of receipts."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORDS = ("ended", "revoked")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class StateError(Exception):
    """The folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Everything in the folder, as read at the start."""

    trust: tuple[bytes, ...]
    ended: frozenset[str]
    revoked: frozenset[str]
    progress: Mapping[str, Progress]
    latest: datetime | None
    receipts: tuple[Link, ...]
    segments: Mapping[tuple[str, int], bytes]


class StateDir:
    """The folder, owned from `__init__` to `close`; raises StateError when it cannot be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._receipts = root / "receipts"
        self._segments = root / "segments"
        self._ownership = _own(root)
        try:
            self._receipts.mkdir(mode=0o700, exist_ok=True)
            self._segments.mkdir(mode=0o700, exist_ok=True)
            self._over = _open_appended(root / "over")
            self._make_reserve()
        except OSError as error:
            os.close(self._ownership)
            raise StateError(f"cannot use {root}: {error.strerror}") from error
        self._progress: dict[str, Progress] = {}
        self._kept_receipts: list[int] = []

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._over)
        os.close(self._ownership)

    def load(self) -> Kept:
        """Read everything; raises StateError (rule 5)."""
        try:
            return self._load()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{self._root} is damaged ({error}); restore it, or give the node a new name"
            ) from error

    def _load(self) -> Kept:
        over = _lines(self._root / "over")
        links = [
            Link(sequence=int(path.stem), envelope=path.read_bytes())
            for path in sorted(self._receipts.glob("*.dsse"))
        ]
        self._kept_receipts = [link.sequence for link in links]
        stored = _read_json(self._root / "progress.json") or {}
        self._progress = {grant: Progress(**fields) for grant, fields in stored.items()}
        latest = _read_json(self._root / "latest.json")
        return Kept(
            trust=tuple(
                base64.b64decode(text, validate=True)
                for text in _read_json(self._root / "trust.json") or ()
            ),
            ended=frozenset(name for word, name in over if word == "ended"),
            revoked=frozenset(name for word, name in over if word == "revoked"),
            progress=dict(self._progress),
            latest=None if latest is None else datetime.fromisoformat(latest),
            receipts=tuple(links),
            segments={_segment(path): path.read_bytes() for path in self._segments.glob("*.dsse")},
        )

    def _keep(self, write: Callable[[], object]) -> None:
        """Write something, if need be on the reserve's room (rule 4)."""
        try:
            write()
        except OSError as error:
            if error.errno not in _FULL or not self._give_up_reserve():
                raise
            write()

    def _give_up_reserve(self) -> bool:
        try:
            (self._root / "reserve").unlink()
        except FileNotFoundError:
            return False
        return True

    def _make_reserve(self) -> None:
        path = self._root / "reserve"
        if path.exists():
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE)
        except OSError:  # no room, or a file system that promises none
            path.unlink()
        finally:
            os.close(descriptor)

    def put_trust(self, envelopes: tuple[bytes, ...]) -> None:
        """Keep the chain of trust policies."""
        self._put_json("trust.json", [base64.b64encode(each).decode() for each in envelopes])

    def put_latest(self, wall: datetime) -> None:
        """Keep the latest time at which the clock was believed."""
        self._put_json("latest.json", wall.isoformat())

    def put_ended(self, grant_id: str) -> None:
        """Keep that a grant has ended (rule 2)."""
        self._append("ended", grant_id)

    def put_revoked(self, authority_id: str) -> None:
        """Keep that an authority is revoked (rule 2)."""
        self._append("revoked", authority_id)

    def _append(self, word: str, name: str) -> None:
        if not _UUID.fullmatch(name):
            raise ValueError("an id is a lower-case UUID")
        self._keep(partial(self._append_line, f"{word} {name}\n".encode()))

    def _append_line(self, line: bytes) -> None:
        whole = os.fstat(self._over).st_size
        try:
            _append(self._over, line)
        except OSError:
            os.ftruncate(self._over, whole)
            raise

    def put_progress(self, grant_id: str, progress: Progress | None) -> None:
        """Keep how far a capture has come, or forget it."""
        if progress is None:
            self._progress.pop(grant_id, None)
        else:
            self._progress[grant_id] = progress
        self._put_json("progress.json", {g: asdict(p) for g, p in self._progress.items()})

    def put_receipt(self, link: Link) -> None:
        """Keep a receipt (rule 3)."""
        path = self._receipts / f"{link.sequence:012d}.dsse"
        self._keep(partial(_write, path, link.envelope))
        self._kept_receipts.append(link.sequence)

    def forget_receipts(self, sequence: int) -> None:
        """Forget the receipts up to this number, all but the newest (rule 3)."""
        done = [each for each in self._kept_receipts[:-1] if each <= sequence]
        for each in done:
            (self._receipts / f"{each:012d}.dsse").unlink(missing_ok=True)
        self._kept_receipts = self._kept_receipts[len(done) :]
        self._make_reserve()

    def put_segment(self, grant_id: str, number: int, receipt: bytes) -> None:
        """Keep the receipt of a segment (rule 3)."""
        path = self._segments / f"{grant_id}.{number}.dsse"
        self._keep(partial(_write, path, receipt))

    def forget_segment(self, grant_id: str, number: int) -> None:
        """Forget the receipt of a segment that is no longer on the node."""
        (self._segments / f"{grant_id}.{number}.dsse").unlink(missing_ok=True)

    def _put_json(self, name: str, value: object) -> None:
        self._keep(partial(_write, self._root / name, json.dumps(value).encode()))


def _own(root: Path) -> int:
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(f"cannot use {root}: {error.strerror}") from error
    status = os.fstat(descriptor)
    problem = ""
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        problem = f"{root} must belong to this user and be closed to others; run: chmod 700 {root}"
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"{root} is in use: another agent runs with it"
    if problem:
        os.close(descriptor)
        raise StateError(problem)
    return descriptor


def _open_appended(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    # A line that a crash cut short was never acted on: nothing was told before it was whole.
    data = path.read_bytes()
    os.ftruncate(descriptor, data.rfind(b"\n") + 1)
    os.fsync(descriptor)
    _sync(path.parent)
    return descriptor


def _append(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fdatasync(descriptor)


def _lines(path: Path) -> list[tuple[str, str]]:
    found = []
    for line in path.read_text("ascii").splitlines():
        word, _, name = line.partition(" ")
        if word not in _WORDS or not _UUID.fullmatch(name):
            raise ValueError("a line is not of the form: word, id")
        found.append((word, name))
    return found


def _segment(path: Path) -> tuple[str, int]:
    grant_id, number, _ = path.name.split(".")
    return grant_id, int(number)


def _read_json(path: Path) -> Any:  # noqa: ANN401 - whatever was put there; the caller checks
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Replace a file durably, or leave it as it was (rule 1)."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
