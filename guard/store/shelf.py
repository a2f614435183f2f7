"""Sealed segments as files: ``<root>/<capture>/<number>.pcapng.age``.

1. A segment grows in ``….part`` and gets its name by a rename, after the file is on disk; then the
   folder is. So a name without ``.part`` is a whole segment, whatever happened.
2. Files are readable by the guard's user alone. Their names hold a grant's id and a number, never a
   subject.
3. What is read back to check the digest is the file, not what was sent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from guard.app.shelf import ShelfError

__all__ = ["FileShelf"]

_PIECE = 256 * 1024


class FileShelf:
    """The shelf in a folder of the file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _final(self, capture_id: str, number: int) -> Path:
        return self._root / capture_id / f"{number}.pcapng.age"

    def _part(self, capture_id: str, number: int) -> Path:
        return self._root / capture_id / f"{number}.pcapng.age.part"

    def held(self, capture_id: str, number: int) -> int:
        """Return how many bytes of an unfinished segment are here."""
        try:
            return self._part(capture_id, number).stat().st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _failed(error) from error

    def write(self, capture_id: str, number: int, offset: int, data: bytes) -> None:
        """Add bytes at ``offset``, the end of an unfinished segment."""
        path = self._part(capture_id, number)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # A write that a full disk cut short would leave bytes behind the end: cut first.
                os.ftruncate(descriptor, offset)
                _write_all(descriptor, data, offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failed(error) from error

    def finish(self, capture_id: str, number: int, *, size: int, sha256: str) -> str | None:
        """Put a whole segment into its place, durably, and return its path."""
        part, final = self._part(capture_id, number), self._final(capture_id, number)
        try:
            if not part.exists() and final.exists():
                part = final  # A crash came between the rename and the record.
            with part.open("rb") as file:
                if os.fstat(file.fileno()).st_size != size or _digest_of(file) != sha256:
                    part.unlink()
                    return None
                os.fsync(file.fileno())
            part.rename(final)
            _sync_folder(final.parent)
            _sync_folder(self._root)
        except OSError as error:
            raise _failed(error) from error
        return str(final)

    def discard(self, capture_id: str, number: int) -> None:
        """Forget an unfinished segment."""
        self.delete(str(self._part(capture_id, number)))

    def delete(self, path: str) -> None:
        """Delete a segment, and its folder after the last; one that is not there is deleted."""
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(error) from error
        with suppress(OSError):  # There are others in it.
            Path(path).parent.rmdir()

    def untouched_since(self, time: datetime) -> list[tuple[str, str]]:
        """Return capture and path of every file last written before, unfinished ones too."""
        try:
            return [
                (path.parent.name, str(path))
                for path in self._root.glob("*/*")
                if path.lstat().st_mtime < time.timestamp()
            ]
        except OSError as error:
            raise _failed(error) from error

    def read(self, path: str) -> Iterator[bytes]:
        """Yield a segment's bytes in pieces of at most 256 KiB."""
        try:
            with Path(path).open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except OSError as error:
            raise _failed(error) from error


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _digest_of(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(error: OSError) -> ShelfError:
    return ShelfError(os.strerror(error.errno or 0))
