"""Seal one grant's packets to its recipients as they arrive, segment by segment.

1. Taking packets never waits for the disk. What the sealing thread cannot keep up with is dropped
   by the batch and counted, in the segment's statistics and in its receipt.
2. A segment without a packet is not written; the first takes less than its `seconds`. A killed
   process loses what arrived since the last segment ended, a few seconds at most.
3. Whatever stops the sealing is reported, once. `CaptureClosed` comes last, always, and once.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pyrage

from agents.capture.backlog import Backlog
from agents.capture.outcomes import (
    CaptureClosed,
    CaptureFailed,
    Failure,
    Outcome,
    SealedSegment,
    SegmentSealed,
    Totals,
)
from agents.capture.sealing import Plaintext, Reservation, SegmentLimits, seal
from agents.capture.section import Batch, Section
from agents.capture.spool import Spool, SpoolFull


class SegmentWriter:
    """Seals what it is given, in a thread of its own, until it is closed.

    `recipients` are age public keys, at least one; `interfaces` is the node's growing list of
    names; `deliver` is called from the sealing thread. Raises `ValueError` for a recipient that is
    none.
    """

    def __init__(
        self,
        *,
        grant_id: str,
        reference: str,
        recipients: Sequence[str],
        interfaces: Sequence[str],
        spool: Spool,
        limits: SegmentLimits,
        deliver: Callable[[Outcome], None],
    ) -> None:
        self._grant_id = grant_id
        self._reference = reference
        self._recipients = parse_recipients(recipients)
        self._interfaces = interfaces
        self._spool = spool
        self._limits = limits
        self._deliver = deliver
        self._seconds = limits.seconds * _first_share(grant_id)
        self._backlog = Backlog(limits.backlog)
        self._mutex = threading.Lock()
        self._totals = Totals()
        self._unreported_drops = 0
        self._alive = True
        self._last: list[SealedSegment] = []
        self._thread = threading.Thread(target=self._run, name="seal", daemon=True)
        self._thread.start()

    @property
    def totals(self) -> Totals:
        """What was taken so far."""
        return self._totals

    def write(self, batch: Batch) -> None:
        """Take packets; never waits."""
        if not self._alive or not self._backlog.put(batch):
            self.add_drops(batch.packets)
            return
        self._count(batch.packets, batch.octets, last_ns=batch.last_ns)

    def add_drops(self, packets: int) -> None:
        """Count packets that should be here and are not."""
        self._count(0, 0, drops=packets)

    def close(self) -> None:
        """Seal what was taken and end; `CaptureClosed` is delivered when that is done."""
        self._backlog.close()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the last outcome was delivered."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._seal_all()
        except SpoolFull as full:
            self._fail(Failure.SPOOL_FULL, str(full))
        except BaseException as error:  # noqa: BLE001  rule 3: no way of dying is silent
            self._fail(Failure.SEALING_FAILED, type(error).__name__)
        self._backlog.wait_closed()
        self._lose_backlog()
        self._deliver(
            CaptureClosed(
                grant_id=self._grant_id, totals=self._totals, last_segments=tuple(self._last)
            )
        )

    def _seal_all(self) -> None:
        while (head := self._backlog.head()) is not None:
            segment = self._seal_one(head)
            self._seconds = self._limits.seconds
            # The close names only the segments that were sealed after it.
            self._last = [*self._last, segment] if self._backlog.closed else []
            self._deliver(SegmentSealed(segment=segment))

    def _seal_one(self, head: Batch) -> SealedSegment:
        section = Section(
            grant_id=self._grant_id, reference=self._reference, names=self._interfaces
        )
        reservation = Reservation(
            self._spool, parties=len(self._recipients) + len(self._interfaces)
        )
        plaintext = Plaintext(
            section,
            self._backlog,
            reservation,
            limits=self._limits,
            seconds=self._seconds,
            drops=self._take_drops,
        )
        used = 0
        try:
            reservation.add(len(head.data))
            segment = seal(self._spool, self._grant_id, self._recipients, plaintext, section)
            used = segment.size
        except BaseException:
            self._lose(section.packets, section.octets)
            raise
        finally:
            reservation.settle(used)
        return segment

    def _fail(self, failure: Failure, detail: str) -> None:
        self._alive = False
        self._lose_backlog()
        self._deliver(CaptureFailed(grant_id=self._grant_id, failure=failure, detail=detail))

    def _lose_backlog(self) -> None:
        while self._backlog.more(0) is not None:
            batch = self._backlog.take()
            self._lose(batch.packets, batch.octets)

    def _lose(self, packets: int, octets: int) -> None:
        self._count(-packets, -octets, drops=packets)

    def _take_drops(self) -> int:
        with self._mutex:
            drops, self._unreported_drops = self._unreported_drops, 0
            return drops

    def _count(self, packets: int, octets: int, *, drops: int = 0, last_ns: int = 0) -> None:
        with self._mutex:
            self._unreported_drops += drops
            self._totals = replace(
                self._totals,
                packets=self._totals.packets + packets,
                bytes=self._totals.bytes + octets,
                drops=self._totals.drops + drops,
                last_ns=max(self._totals.last_ns, last_ns),
            )


def _first_share(grant_id: str) -> float:
    """Return a share from a half to one: captures begun together do not all cut together."""
    return 1 - zlib.crc32(grant_id.encode()) / (1 << 33)


def parse_recipients(texts: Sequence[str]) -> list[pyrage.x25519.Recipient]:
    """Read age public keys; none at all is refused, since an empty list never means everybody."""
    if not texts:
        raise ValueError("a capture needs a recipient")
    try:
        return [pyrage.x25519.Recipient.from_str(text) for text in texts]
    except pyrage.RecipientError as error:
        raise ValueError("a recipient is not an age public key") from error
