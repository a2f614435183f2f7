"""Taking in what nodes state: verify, put on record, move the capture on.

1. A receipt counts only when the key of the node that sent it has signed it and it names that node.
   One that does not is malformed: it is not recorded, and the session ends.
2. Receipts form a chain (`guard.core.receipt`). The next in the chain is recorded. The last one
   again is acknowledged again. Any other above the last is recorded as well, because a receipt is
   never dropped, with an incident before it that says that the chain is broken.
3. A node that comes back with a lower number than the last one has lost its memory, or somebody
   turned it back: an incident, after which its chain goes on from the number it gave.
4. The record holds the envelope as the node signed it, so that whoever reads it can check it.
5. A receipt moves its capture along the table in `guard.core.lifecycle`; one that the table does
   not admit, or about a capture that the guard does not know, is recorded and moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from guard.app.changes import CaptureRow, Change, PutCapture, PutReceipt
from guard.app.denial import MalformedError
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core import envelope as dsse
from guard.core import lifecycle
from guard.core.fields import encode_base64, format_time
from guard.core.lifecycle import CaptureEvent, CaptureState
from guard.core.nodehealth import health_fields
from guard.core.reasons import Refused
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, parse_receipt
from guard.core.record import Record, RecordKind
from guard.core.trust import NodeIdentity

__all__ = ["Receipts", "verified_receipt"]

UNKNOWN_DIGEST: Final = "f" * 64
"""Stands for the digest of a receipt that the guard has not seen (rule 3)."""

_RECORDS: Final[Mapping[ReceiptKind, RecordKind]] = MappingProxyType(
    {
        ReceiptKind.ARMED: RecordKind.CAPTURE_ARMED,
        ReceiptKind.DISARMED: RecordKind.CAPTURE_DISARMED,
        ReceiptKind.SEALED: RecordKind.SEGMENT_SEALED,
        ReceiptKind.REFUSED: RecordKind.CAPTURE_REFUSED,
        ReceiptKind.NOTHING_CAPTURED: RecordKind.NOTHING_CAPTURED,
        ReceiptKind.INCIDENT: RecordKind.INCIDENT,
        ReceiptKind.HEARTBEAT: RecordKind.NODE_HEARTBEAT,
    }
)
_EVENTS: Final[Mapping[ReceiptKind, CaptureEvent]] = MappingProxyType(
    {
        ReceiptKind.ARMED: CaptureEvent.ARM,
        ReceiptKind.DISARMED: CaptureEvent.END,
        ReceiptKind.REFUSED: CaptureEvent.REFUSE,
    }
)


def verified_receipt(envelope: bytes, node: NodeIdentity) -> Receipt:
    """Return the receipt in an envelope signed by this node; raises MalformedError (rule 1)."""
    try:
        parsed = dsse.parse(envelope, dsse.Kind.RECEIPT)
        signed = dsse.verified_keyids(parsed, {node.key.keyid: node.key})
        receipt = parse_receipt(parsed.payload)
    except Refused as refused:
        raise MalformedError(f"the receipt is not valid: {refused.reason}") from refused
    if not signed or receipt.node != node.name:
        raise MalformedError("the receipt is not by the node that sent it")
    return receipt


@dataclass(frozen=True, slots=True)
class Receipts:
    """The use cases around receipts."""

    office: Office

    async def resume(self, node: NodeIdentity, sequence: int) -> int:
        """Hold a node's own count against ours at the start of a session; return the last known.

        What the node has above the number returned, it sends.
        """

        def plan(view: Reads, _index: int) -> Plan[int]:
            last, _ = view.last_receipt(node.name)
            if sequence >= last:
                return Plan(result=last)
            now = self.office.clock.now()
            record = self._incident(now, node.name, "receipts_lost", last, sequence)
            digest = UNKNOWN_DIGEST if sequence else FIRST_PREVIOUS
            put = PutReceipt(node=node.name, sequence=sequence, digest=digest)
            return Plan(result=sequence, records=(record,), changes=(put,))

        return await self.office.execute(plan)

    async def take(self, envelope: bytes, node: NodeIdentity) -> int:
        """Record a receipt and return its number once that is durable; raises MalformedError."""
        receipt = verified_receipt(envelope, node)
        digest = dsse.digest(envelope)

        def plan(view: Reads, index: int) -> Plan[int]:
            last, previous = view.last_receipt(node.name)
            if receipt.sequence < last or (receipt.sequence, digest) == (last, previous):
                return Plan(result=receipt.sequence)
            now = self.office.clock.now()
            records: list[Record] = []
            if not _continues(receipt, last, previous):
                found = receipt.sequence
                records.append(self._incident(now, node.name, "receipts_broken", last, found))
            changes: list[Change] = [
                PutReceipt(node=node.name, sequence=receipt.sequence, digest=digest)
            ]
            row = view.capture(receipt.grant_id) if receipt.grant_id is not None else None
            moved = _moved(row, receipt, index + len(records))
            records.append(self._record(now, receipt, envelope, row))
            if moved is not None:
                changes.append(PutCapture(moved))
            return Plan(result=receipt.sequence, records=records, changes=changes)

        return await self.office.execute(plan)

    def _record(
        self, now: datetime, receipt: Receipt, envelope: bytes, row: CaptureRow | None
    ) -> Record:
        body: dict[str, Any] = {
            "details": dict(receipt.details),
            "node": receipt.node,
            "node_time": format_time(receipt.time),
            "previous": receipt.previous,
            "receipt": encode_base64(envelope),
            "receipt_digest": dsse.digest(envelope),
            "sequence": receipt.sequence,
        }
        if receipt.grant_id is not None:
            body["grant_id"] = receipt.grant_id
        if receipt.health is not None:
            body |= {"armed": list(receipt.armed), "health": health_fields(receipt.health)}
        if row is not None:
            body["authority_id"] = row.authority_id
        return self.office.record(_RECORDS[receipt.kind], now, body)

    def _incident(self, now: datetime, node: str, what: str, expected: int, found: int) -> Record:
        body = {"node": node, "what": what, "last": expected, "given": found}
        return self.office.record(RecordKind.INCIDENT, now, body)


def _continues(receipt: Receipt, last: int, previous: str) -> bool:
    """Say whether the receipt is the next of its chain (rule 2)."""
    if receipt.sequence != last + 1:
        return False
    return previous in {receipt.previous, UNKNOWN_DIGEST}


def _moved(row: CaptureRow | None, receipt: Receipt, index: int) -> CaptureRow | None:
    """Return the capture as the receipt leaves it, or None when it moves nothing (rule 5)."""
    event = _EVENTS.get(receipt.kind)
    if row is None or event is None or row.node != receipt.node:
        return None
    try:
        state = lifecycle.advance(row.state, event)
    except Refused:
        return None
    if state is row.state:
        return None
    why = row.why
    if state in {CaptureState.ENDED, CaptureState.REFUSED}:
        why = str(receipt.details.get("reason", why))
    return replace(row, state=state, why=why, revision=index)
