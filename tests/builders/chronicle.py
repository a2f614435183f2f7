"""A log with a history: the guard's real use cases, real people's and nodes' keys, a clock at hand.

``Chronicle`` is a `House` whose nodes tell the time of its clock. What honest use cases never write
is planted in the list of its records afterwards, with `dropped`, `swapped`, `changed`, `added`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from guard.core import envelope as dsse
from guard.core.envelope import Kind
from guard.core.fields import encode_base64, format_time
from guard.core.history import History
from guard.core.receipt import ReceiptKind, parse_receipt
from guard.core.record import Record, RecordKind
from tests.builders.deployment import Deployment
from tests.builders.house import House, NodeHand

__all__ = [
    "EVERY",
    "Chronicle",
    "Hand",
    "added",
    "changed",
    "dropped",
    "first",
    "history_of",
    "new_grant",
    "swapped",
]

EVERY = 180
_RECORDS = {
    ReceiptKind.ARMED: RecordKind.CAPTURE_ARMED,
    ReceiptKind.SEALED: RecordKind.SEGMENT_SEALED,
    ReceiptKind.HEARTBEAT: RecordKind.NODE_HEARTBEAT,
}


class Hand(NodeHand):
    """A node that tells the house's time, or its own, and keeps what is armed on it."""

    def __init__(self, house: House, name: str) -> None:
        super().__init__(house.site, name)
        self.house = house
        self.armed: set[str] = set()

    def receipt(
        self,
        grant_id: str | None,
        kind: ReceiptKind = ReceiptKind.ARMED,
        *,
        armed: Iterable[str] | None = None,
        time: datetime | None = None,
        **details: str | int,
    ) -> bytes:
        """Make the next receipt, at the clock's time if no other is given."""
        moment = time or self.house.clock.now()
        return super().receipt(grant_id, kind, armed=armed, time=moment, **details)

    async def send(self, envelope: bytes) -> bytes:
        await self.house.receipts.take(envelope, self.identity)
        return envelope

    async def beat(
        self, *, armed: Iterable[str] | None = None, time: datetime | None = None, **about: str
    ) -> bytes:
        """State what is armed."""
        listed = self.armed if armed is None else armed
        numbers = {"every": EVERY, "part": 1, "parts": 1}
        made = self.receipt(
            None, ReceiptKind.HEARTBEAT, armed=sorted(listed), time=time, **numbers, **about
        )
        return await self.send(made)

    async def beats(self, lasting: timedelta) -> None:
        """Let time pass, with a heartbeat as often as promised."""
        for _ in range(int(lasting.total_seconds()) // EVERY):
            self.house.clock.move(seconds=EVERY)
            await self.beat()

    async def arm(self, grant_id: str, *, time: datetime | None = None) -> None:
        self.armed.add(grant_id)
        await self.send(self.receipt(grant_id, time=time))

    async def disarm(self, grant_id: str, reason: str = "stopped") -> None:
        self.armed.discard(grant_id)
        await self.send(self.receipt(grant_id, ReceiptKind.DISARMED, reason=reason))

    async def seal(
        self, grant_id: str, number: int, first: datetime, last: datetime, *, store: bool = True
    ) -> None:
        """Seal a segment with packets of those times, and hand it in."""
        data = os.urandom(40)
        times = {"first": format_time(first), "last": format_time(last)}
        envelope = await self.send(self.sealed(grant_id, number, data, **times))
        if not store:
            return
        incoming = await self.house.segments.offer(grant_id, number, envelope, self.identity)
        assert incoming is not None
        assert self.house.segments.add(incoming, 0, data)
        assert await self.house.segments.keep(incoming)


class Chronicle(House):
    """See the module's docstring."""

    def __init__(self, folder: Path, site: Deployment | None = None) -> None:
        super().__init__(folder, site=site)
        self.hands = {name: Hand(self, name) for name in self.site.nodes}

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def node(self) -> Hand:
        return self.hands["node-1"]

    async def grant(self, authority_id: str | None = None, **wish: Any) -> str:
        """Grant a capture, of a new ticket if of no other, and return its id."""
        return (await self.capture(authority_id or await self.approved(), **wish)).row.id

    async def run_capture(self, grant_id: str, *, seconds: int = 60) -> None:
        """Arm, seal one segment, stop, disarm."""
        await self.node.arm(grant_id)
        begun = self.now
        self.clock.move(seconds=seconds)
        await self.node.seal(grant_id, 1, begun, self.now)
        await self.captures.stop(grant_id, self.site.principal("operator-1"))
        await self.node.disarm(grant_id)

    def authority_of(self, grant_id: str) -> str:
        with self.ledger.reads() as view:
            row = view.capture(grant_id)
        assert row is not None
        return row.authority_id

    def history(self, records: Sequence[Record] | None = None) -> History:
        return history_of(self.site, self.records() if records is None else records)

    def receipt_record(self, envelope: bytes, kind: ReceiptKind, **about: Any) -> Record:
        """Make the record of a receipt that no guard would have taken."""
        receipt = parse_receipt(dsse.parse(envelope, Kind.RECEIPT).payload)
        body: dict[str, Any] = {
            "details": dict(receipt.details),
            "node": receipt.node,
            "node_time": format_time(receipt.time),
            "previous": receipt.previous,
            "receipt": encode_base64(envelope),
            "receipt_digest": dsse.digest(envelope),
            "sequence": receipt.sequence,
        }
        return self.office.record(_RECORDS[kind], self.now, body | about)


def history_of(site: Deployment, records: Sequence[Record | None]) -> History:
    """Read records in order; None stands for an erased heartbeat."""
    history = History(site.pinned)
    for index, record in enumerate(records):
        if record is None:
            history.erased(index, RecordKind.NODE_HEARTBEAT, site.now)
        else:
            history.apply(index, record)
    return history


def first(records: Sequence[Record], kind: RecordKind) -> int:
    """Return the index of the first record of a kind."""
    return next(index for index, each in enumerate(records) if each.kind is kind)


def dropped(records: Sequence[Record], kind: RecordKind) -> list[Record]:
    """Leave out the first record of a kind."""
    at = first(records, kind)
    return [*records[:at], *records[at + 1 :]]


def swapped(records: Sequence[Record], one: int, other: int) -> list[Record]:
    """Put two records into each other's place."""
    made = list(records)
    made[one], made[other] = made[other], made[one]
    return made


def changed(records: Sequence[Record], kind: RecordKind, **body: Any) -> list[Record]:
    """Say something else in the first record of a kind."""
    at = first(records, kind)
    record = replace(records[at], body={**records[at].body, **body})
    return [*records[:at], record, *records[at + 1 :]]


def added(records: Sequence[Record], record: Record, at: int | None = None) -> list[Record]:
    """Put in a record."""
    at = len(records) if at is None else at
    return [*records[:at], record, *records[at:]]


def new_grant() -> str:
    """Return an id that no grant has."""
    return str(uuid.uuid4())
