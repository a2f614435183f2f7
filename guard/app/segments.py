"""Receiving sealed segments, keeping them, deleting them at the end of their retention.

1. A segment is taken only with the node's signed receipt for it, and only from the node of its
   capture. Size and digest are the receipt's.
2. It is received in order and resumed where it broke off; nothing is acknowledged before the whole
   file matches the receipt and is on disk under its final name.
3. A segment known already is acknowledged again. Another file under its number is refused.
4. Retention counts from when the guard had it, by the witnesses' time. The file goes first, then
   the record says so: a crash between the two deletes it again. A file that cannot be deleted keeps
   no other.
5. What never became a segment on record, because its node never finished it or the guard died
   before the record, is kept no longer than one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from guard.app.changes import Change, PutSegment, SegmentRow
from guard.app.denial import MalformedError
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.app.receipts import verified_receipt
from guard.app.shelf import Shelf, ShelfError
from guard.core import envelope as dsse
from guard.core.receipt import Receipt, ReceiptKind
from guard.core.record import Record, RecordKind
from guard.core.trust import NodeIdentity

__all__ = ["LARGEST_SEGMENT", "Incoming", "Segments"]

LARGEST_SEGMENT: Final = 4 * 1024**3
_MOST_DELETED_AT_ONCE = 100


@dataclass(slots=True, kw_only=True)
class Incoming:
    """A segment on its way; ``offset`` is where its next byte belongs."""

    capture_id: str
    number: int
    size: int
    sha256: str
    receipt: bytes = field(repr=False)
    offset: int


@dataclass(frozen=True, slots=True)
class Segments:
    """The use cases around sealed segments."""

    office: Office
    shelf: Shelf

    async def offer(
        self, capture_id: str, number: int, receipt: bytes, node: NodeIdentity
    ) -> Incoming | None:
        """Take up an offer: where to go on, or None when it is here; raises MalformedError."""
        said = verified_receipt(receipt, node)
        incoming = _incoming(capture_id, number, receipt, said)
        with self.office.ledger.reads() as view:
            row = view.capture(capture_id)
            if row is None or row.node != node.name:
                raise MalformedError("the segment is not of a capture of this node")
            known = [each for each in view.segments(capture_id) if each.number == number]
        if known and known[0].sha256 != incoming.sha256:
            raise MalformedError("another segment of this number is here")
        if known:
            return None
        self.resume(incoming)
        return incoming

    def resume(self, incoming: Incoming) -> None:
        """Look where to go on with a segment; raises ShelfError."""
        incoming.offset = self.shelf.held(incoming.capture_id, incoming.number)
        if incoming.offset > incoming.size:
            self.shelf.discard(incoming.capture_id, incoming.number)
            incoming.offset = 0

    def add(self, incoming: Incoming, offset: int, data: bytes) -> bool:
        """Write the next bytes and say whether those were the last.

        Raises MalformedError for bytes that belong elsewhere, ShelfError when they do not fit.
        """
        if offset != incoming.offset or offset + len(data) > incoming.size:
            raise MalformedError("the bytes do not belong there")
        self.shelf.write(incoming.capture_id, incoming.number, offset, data)
        incoming.offset += len(data)
        return incoming.offset == incoming.size

    async def keep(self, incoming: Incoming) -> bool:
        """Make a whole segment durable and put it on record (rule 2).

        Returns False, and has forgotten its bytes, when it does not match its receipt; raises
        ShelfError when it cannot be written.
        """
        path = await asyncio.to_thread(
            self.shelf.finish,
            incoming.capture_id,
            incoming.number,
            size=incoming.size,
            sha256=incoming.sha256,
        )
        if path is None:
            return False

        def plan(view: Reads, _index: int) -> Plan[None]:
            if any(each.number == incoming.number for each in view.segments(incoming.capture_id)):
                return Plan(result=None)
            now = self.office.clock.now()
            row = SegmentRow(
                capture_id=incoming.capture_id,
                number=incoming.number,
                size=incoming.size,
                sha256=incoming.sha256,
                path=path,
                receipt=incoming.receipt,
                stored_at=now,
                deleted=False,
            )
            record = self._record(RecordKind.SEGMENT_STORED, row, now)
            return Plan(result=None, records=(record,), changes=(PutSegment(row),))

        await self.office.execute(plan)
        return True

    async def delete_older(self, retention: timedelta) -> int:
        """Delete what is past its retention, and return how many (rule 4)."""
        with self.office.ledger.reads() as view:
            now = self.office.witnessed_now(view, self.office.clock.now())
            due = view.segments_older(now - retention)[:_MOST_DELETED_AT_ONCE] if now else []
        if not due:
            return 0
        gone, failed = await self._deleted(due)

        def plan(_view: Reads, _index: int) -> Plan[None]:
            now = self.office.clock.now()
            records = [self._record(RecordKind.SEGMENT_DELETED, row, now) for row in gone]
            changes: list[Change] = [PutSegment(replace(row, deleted=True)) for row in gone]
            return Plan(result=None, records=records, changes=changes)

        if gone:
            await self.office.execute(plan)
        if failed is not None:
            raise failed
        return len(gone)

    async def _deleted(self, due: list[SegmentRow]) -> tuple[list[SegmentRow], ShelfError | None]:
        """Delete the files; return whose are gone, and the last failure."""
        gone: list[SegmentRow] = []
        failed: ShelfError | None = None
        for row in due:
            try:
                await asyncio.to_thread(self.shelf.delete, row.path)
            except ShelfError as error:
                failed = error
            else:
                gone.append(row)
        return gone, failed

    async def discard_forgotten(self, retention: timedelta) -> int:
        """Delete what is past the retention and no segment on record; return how many (rule 5)."""
        with self.office.ledger.reads() as view:
            now = self.office.witnessed_now(view, self.office.clock.now())
        if now is None:
            return 0
        old = await asyncio.to_thread(self.shelf.untouched_since, now - retention)
        forgotten = [path for capture_id, path in old if not self._is_known(capture_id, path)]
        for path in forgotten:
            await asyncio.to_thread(self.shelf.delete, path)
        return len(forgotten)

    def _is_known(self, capture_id: str, path: str) -> bool:
        with self.office.ledger.reads() as view:
            return any(e.path == path and not e.deleted for e in view.segments(capture_id))

    def _record(self, kind: RecordKind, row: SegmentRow, now: datetime) -> Record:
        body = {
            "grant_id": row.capture_id,
            "number": row.number,
            "receipt_digest": dsse.digest(row.receipt),
            "sha256": row.sha256,
            "size": row.size,
        }
        return self.office.record(kind, now, body)


def _incoming(capture_id: str, number: int, receipt: bytes, said: Receipt) -> Incoming:
    if said.kind is not ReceiptKind.SEALED or said.grant_id != capture_id:
        raise MalformedError("the receipt is not for this capture's segment")
    size, sha256 = said.details["size"], said.details["sha256"]
    if said.details["number"] != number or number < 1 or not isinstance(size, int):
        raise MalformedError("the receipt is for another segment")
    if not 0 < size <= LARGEST_SEGMENT:
        raise MalformedError("the segment is empty or too large")
    return Incoming(
        capture_id=capture_id,
        number=number,
        size=size,
        sha256=str(sha256),
        receipt=receipt,
        offset=0,
    )
