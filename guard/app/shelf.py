"""The port behind which sealed segments are kept as files.

1. A segment is written beside its final place (``.part``) and moved there only when it is whole,
   matches its receipt and is on disk. What is in its final place is therefore whole.
2. What is in the ``.part`` after a crash is a prefix of the segment: writing goes on at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

__all__ = ["Shelf", "ShelfError"]


class ShelfError(Exception):
    """The files cannot be read or written now: a full disk, a lost file."""


class Shelf(Protocol):
    """Sealed segments as files, named by capture and number."""

    def held(self, capture_id: str, number: int) -> int:
        """Return how many bytes of an unfinished segment are here."""

    def write(self, capture_id: str, number: int, offset: int, data: bytes) -> None:
        """Add bytes at the end of an unfinished segment, which is at ``offset``."""

    def finish(self, capture_id: str, number: int, *, size: int, sha256: str) -> str | None:
        """Put a whole segment into its place, durably, and return its path.

        Returns None, and forgets what was written, when it is not what size and digest say.
        """

    def discard(self, capture_id: str, number: int) -> None:
        """Forget an unfinished segment."""

    def delete(self, path: str) -> None:
        """Delete a segment; one that is not there any more is deleted."""

    def untouched_since(self, time: datetime) -> list[tuple[str, str]]:
        """Return capture and path of every file last written before, unfinished ones too."""

    def read(self, path: str) -> Iterator[bytes]:
        """Yield a segment's bytes in pieces of at most 256 KiB."""
