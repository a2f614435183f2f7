"""Seal one segment: a section of packets through age into one file of the spool.

1. Packets go from memory into age (C2SP age) and from there to disk: no plaintext is written.
2. The segment ends when it has all that came in its `seconds`, or before it would grow past
   `octets`, or before it would take room that the spool does not have; it is whole in each case.
3. Whatever else goes wrong removes the file; the number stays used.
4. `pyrage.encrypt_io` is used, never `encrypt`: that one holds the interpreter's lock throughout.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrage

from agents.capture.backlog import Backlog
from agents.capture.outcomes import SealedSegment, wall_text
from agents.capture.section import Batch, Section
from agents.capture.spool import SEALED, Spool, SpoolFull, full_disk

# What a segment holds beside its packets: age header, section header, statistics.
_FIXED_OVERHEAD = 4096
_OVERHEAD_EACH = 512
# age adds a 16-octet tag to every 64 KiB.
_TAG_SHIFT = 12


# Sealing threads share one interpreter: more of them at work at once do no more work, and a
# thousand that wait for it starve the thread that empties the ring. A turn is given up while
# waiting for packets.
_turns = threading.BoundedSemaphore(2)
_disk_turns = threading.BoundedSemaphore(4)


class SealingError(Exception):
    """Age refused to seal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """When a segment ends: `octets` of plaintext, `seconds` since its first packet.

    `backlog` is how many octets of one grant may wait in memory for sealing.
    """

    octets: int = 4 << 20
    seconds: float = 5.0
    backlog: int = 32 << 20


class Reservation:
    """Room in the spool that one segment may use."""

    def __init__(self, spool: Spool, *, parties: int) -> None:
        self._spool = spool
        self.octets = _FIXED_OVERHEAD + _OVERHEAD_EACH * parties
        spool.reserve(self.octets)

    def add(self, plaintext: int) -> None:
        """Set room aside for so many octets and their tags; raises `SpoolFull`."""
        octets = plaintext + (plaintext >> _TAG_SHIFT) + 1
        self._spool.reserve(octets)
        self.octets += octets

    def settle(self, used: int) -> None:
        """Give back what was not used."""
        self._spool.release(self.octets - used)


class Plaintext:
    """The section as age reads it: each `read` takes what has arrived, and waits for more.

    `reservation` already has room for the batch at the head of `backlog`.
    """

    def __init__(
        self,
        section: Section,
        backlog: Backlog,
        reservation: Reservation,
        *,
        limits: SegmentLimits,
        seconds: float,
        drops: Callable[[], int],
    ) -> None:
        self._section = section
        self._backlog = backlog
        self._reservation = reservation
        self._limits = limits
        self._drops = drops
        self._ends_at = time.monotonic() + seconds
        self._over = False
        self._piece = section.opening()
        self._position = 0
        self.error: BaseException | None = None

    def read(self, octets: int) -> bytes:
        """Return at most `octets`; nothing means the section is over."""
        try:
            while self._position >= len(self._piece) and not self._over:
                self._piece, self._position = self._next_piece(), 0
        except BaseException as error:
            self.error = error
            raise
        start = self._position
        self._position = start + octets
        return self._piece[start : self._position]

    def _next_piece(self) -> bytes:
        if self._may_go_on():
            return self._section.batch(self._backlog.take())
        self._over = True
        return self._section.closing(self._drops())

    def _may_go_on(self) -> bool:
        if not self._section.packets:
            return True  # the first batch is there, and there is room for it
        head = self._backlog.more(0) or self._wait_for_more()
        if head is None or self._section.length + len(head.data) > self._limits.octets:
            return False
        try:
            self._reservation.add(len(head.data))
        except SpoolFull:
            # What is here is sealed whole. The next segment's own reservation reports the end.
            return False
        return True

    def _wait_for_more(self) -> Batch | None:
        _turns.release()
        try:
            return self._backlog.more(max(0.0, self._ends_at - time.monotonic()))
        finally:
            _turns.acquire()


class Part:
    """The unfinished file: what age writes, with its digest and its size."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self.size = 0
        self.error: BaseException | None = None

    @property
    def sha256(self) -> str:
        """Lower-case hex digest of what was written."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Write all of it; raises `SpoolFull`, `OSError`."""
        try:
            with full_disk():
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except BaseException as error:
            self.error = error
            raise
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def sync(self) -> None:
        """Make it durable."""
        with full_disk():
            os.fsync(self._descriptor)


def seal(
    spool: Spool,
    grant_id: str,
    recipients: Sequence[pyrage.x25519.Recipient],
    plaintext: Plaintext,
    section: Section,
) -> SealedSegment:
    """Write one segment and announce it in the spool; raises `SpoolFull`, `OSError`."""
    number, path, descriptor = spool.begin(grant_id)
    try:
        part = Part(descriptor)
        _encrypt(plaintext, part, recipients)
        with _disk_turns:
            part.sync()
            segment = _described(grant_id, number, path, part, section)
            spool.announce(segment, path)
    except BaseException:
        with contextlib.suppress(OSError):
            spool.discard(grant_id, number)
        raise
    finally:
        os.close(descriptor)
    return segment


def _encrypt(
    plaintext: Plaintext, part: Part, recipients: Sequence[pyrage.x25519.Recipient]
) -> None:
    try:
        with _turns:
            pyrage.encrypt_io(plaintext, part, recipients)
    except pyrage.EncryptError as error:
        # It reports what its reader and writer raised as text only.
        raise plaintext.error or part.error or SealingError(str(error)) from None


def _described(
    grant_id: str, number: int, path: Path, part: Part, section: Section
) -> SealedSegment:
    return SealedSegment(
        grant_id=grant_id,
        number=number,
        path=path.with_name(f"{number}{SEALED}"),
        sha256=part.sha256,
        size=part.size,
        packets=section.packets,
        bytes=section.octets,
        drops=section.drops,
        first=wall_text(section.first_ns),
        last=wall_text(section.last_ns),
    )
