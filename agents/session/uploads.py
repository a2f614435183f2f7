"""Which sealed segments the guard still lacks, and how far the present one has come. No sockets.

1. Segments are offered one at a time, in the order they were sealed. An offer carries the segment's
   receipt.
2. Bytes are sent only where the guard asked for them, from the offset that it named: what it has
   already is not sent again.
3. A segment stays until the guard says that it keeps it; a new session offers it again.
4. A segment that the guard says nothing about holds up the others for `PATIENCE` seconds at the
   most; then it goes to the end of the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CHUNK", "PATIENCE", "Piece", "Upload", "Uploads"]

CHUNK = 256 * 1024
"""Bytes sent at a time, the most that the contract allows."""

PATIENCE = 20.0
"""Seconds: longer than a guard with a full disk waits before it asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A sealed segment on disk. ``sha256`` is the raw digest, ``receipt`` the signed envelope."""

    grant_id: str
    number: int
    path: Path
    size: int
    sha256: bytes
    receipt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The next bytes to send: ``length`` from ``offset`` of the upload's file."""

    upload: Upload
    offset: int
    length: int


@dataclass(slots=True)
class _Present:
    """The segment on offer; ``offset``: where to go on, None while there is nothing to send."""

    key: tuple[str, int]
    heard: float
    offset: int | None = None


class Uploads:
    """The segments to upload, in their row. Times are seconds of any clock that only rises."""

    def __init__(self, uploads: Iterable[Upload] = ()) -> None:
        self._row: dict[tuple[str, int], Upload] = {}
        self._present: _Present | None = None
        for upload in uploads:
            self.add(upload)

    def __len__(self) -> int:
        return len(self._row)

    def add(self, upload: Upload) -> None:
        """Take in a sealed segment; one that is known already stays as it is."""
        self._row.setdefault((upload.grant_id, upload.number), upload)

    def restart(self) -> None:
        """Begin a new session: nothing is on offer (rule 3)."""
        self._present = None

    def wanted(self, grant_id: str, number: int, offset: int, *, now: float) -> None:
        """Note where the guard wants to go on (rule 2); not for a segment that is not on offer.

        Raises ValueError for an offset outside the segment.
        """
        present = self._present
        if present is None or present.key != (grant_id, number):
            return
        if not 0 <= offset <= self._row[present.key].size:
            raise ValueError("the guard asks for bytes outside the segment")
        present.offset, present.heard = offset, now

    def drop(self, grant_id: str, number: int) -> None:
        """Forget a segment: the guard keeps it, or it is gone."""
        self._row.pop((grant_id, number), None)
        if self._present is not None and self._present.key == (grant_id, number):
            self._present = None

    def next(self, now: float) -> Upload | Piece | None:
        """Return what to send next, an offer or a piece, and count it as sent; None for nothing."""
        present = self._present
        if present is not None and present.offset is not None:
            upload = self._row[present.key]
            piece = Piece(
                upload=upload,
                offset=present.offset,
                length=min(CHUNK, upload.size - present.offset),
            )
            end = present.offset + piece.length
            present.offset = end if end < upload.size else None
            present.heard = now
            if piece.length:
                return piece
        if present is not None:
            if now - present.heard < PATIENCE:
                return None
            self._row[present.key] = self._row.pop(present.key)  # Rule 4.
        return self._offer(now)

    def _offer(self, now: float) -> Upload | None:
        for key, upload in self._row.items():
            self._present = _Present(key, now)
            return upload
        self._present = None
        return None
