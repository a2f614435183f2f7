"""What a capture's receipts must stay within, and where they do not.

1. Nothing is armed, listed or sealed without a grant on record before it, nor by another node than
   the grant's.
2. A node arms inside the grant's window. Packets lie inside the authority's window and the grant's.
3. After a revocation or a word to stop, a node that is cut off may go on for as long as its lease,
   and no longer. So may one that did not hear it at once: the record is the latest moment it began.
4. Times of nodes are held against times of the guard, or of people, with the difference that the
   trust policy lets clocks have.
5. A stored segment has a node's receipt of that digest. It is missing only once the node has made a
   later receipt, for receipts come in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guard.core.answers import Discrepancy, DiscrepancyKind
from guard.core.chains import NodeChain, Packets, Statement
from guard.core.erasures import Erasures
from guard.core.facts import Granted, SegmentStored
from guard.core.fields import format_time
from guard.core.receipt import ReceiptKind
from guard.core.stories import CaptureStory

__all__ = ["Cutoff", "cutoffs", "misplaced"]

_WITHOUT: Final = {
    ReceiptKind.ARMED: (DiscrepancyKind.ARMED_WITHOUT_GRANT, "armed"),
    ReceiptKind.DISARMED: (DiscrepancyKind.ARMED_WITHOUT_GRANT, "ended"),
    ReceiptKind.NOTHING_CAPTURED: (DiscrepancyKind.ARMED_WITHOUT_GRANT, "ran"),
    ReceiptKind.SEALED: (DiscrepancyKind.SEALED_WITHOUT_GRANT, "sealed a segment of"),
    ReceiptKind.HEARTBEAT: (DiscrepancyKind.LISTED_WITHOUT_GRANT, "lists as armed"),
}
"""A node may refuse a grant that nobody made: that is what it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """The last moment for a packet, tolerance included, and why then."""

    at: datetime
    why: str


def cutoffs(capture: CaptureStory, granted: Granted) -> Iterator[Cutoff]:
    """Yield the moments by which a capture must have ended, but for its windows (rule 3)."""
    late = granted.lease + capture.tolerance
    revoked = capture.authority.revoked if capture.authority else None
    if revoked is not None:
        yield Cutoff(at=revoked.time + late, why="its authority was revoked")
    for stop in capture.stops[:1]:
        yield Cutoff(at=stop.time + late, why="it was told to stop")


def misplaced(
    capture: CaptureStory, chains: Iterable[NodeChain], erasures: Erasures
) -> Iterator[Discrepancy]:
    """Yield where a capture's receipts are not within bounds (rules 1 to 5)."""
    granted = capture.granted
    for each in _once(capture):
        if granted is None or each.index < granted.index:
            yield from _without(each, capture.grant_id, erasures)
        elif each.node != granted.node:
            yield _found(
                DiscrepancyKind.ANOTHER_NODE,
                f"{each.node} states that it ran grant {granted.grant_id}, which is for "
                f"{granted.node}",
                each.index,
            )
        else:
            yield from _outside(each, capture, granted)
    sealed = {each.digest: each for each in capture.statements if each.kind is ReceiptKind.SEALED}
    for stored in capture.stored:
        if stored.receipt_digest in sealed:
            yield from _other_segment(stored, sealed[stored.receipt_digest])
        elif erasures.last_receipt < 0 and _is_past(stored, capture, chains):
            words = f"segment {stored.number} of grant {stored.grant_id} is stored"
            kind = DiscrepancyKind.SEGMENT_WITHOUT_RECEIPT
            yield _found(kind, f"{words} without a receipt of a node", stored.index)


def _once(capture: CaptureStory) -> Iterator[Statement]:
    """Yield every receipt of the capture, but of heartbeats only each node's first and last."""
    yield from capture.statements
    first: dict[str, Statement] = {}
    last: dict[str, Statement] = {}
    for each in capture.listings:
        first.setdefault(each.node, each)
        last[each.node] = each
    for node, each in first.items():
        yield each
        if last[node] is not each:
            yield last[node]


def _without(each: Statement, grant_id: str, erasures: Erasures) -> Iterator[Discrepancy]:
    if each.kind not in _WITHOUT:
        return
    kind, verb = _WITHOUT[each.kind]
    sentence = f"{each.node} {verb} grant {grant_id}, which the log does not hold before"
    if 0 <= erasures.last_grant < each.index:
        kind = DiscrepancyKind.RECORDS_ERASED
        sentence = f"{each.node} {verb} grant {grant_id}, whose record may be erased"
    yield _found(kind, sentence, each.index)


def _outside(each: Statement, capture: CaptureStory, granted: Granted) -> Iterator[Discrepancy]:
    slack = capture.tolerance
    begin, end = granted.not_before - slack, granted.not_after + slack
    words = f"{each.node} at {format_time(each.said)}, grant {granted.grant_id}"
    if each.kind is ReceiptKind.ARMED and not begin <= each.said <= end:
        kind = DiscrepancyKind.ARMED_OUTSIDE_GRANT
        yield _found(kind, f"{words}: armed outside the window of the grant", each.index)
    if each.kind is ReceiptKind.HEARTBEAT:
        for cutoff in (*cutoffs(capture, granted), Cutoff(at=end, why="the grant was over")):
            if each.said > cutoff.at:
                kind = DiscrepancyKind.LISTED_AFTER_END
                yield _found(kind, f"{words}: still armed after {cutoff.why}", each.index)
                return
    if each.packets is not None:
        yield from _packets(each.packets, each, capture, granted)


def _packets(
    packets: Packets, each: Statement, capture: CaptureStory, granted: Granted
) -> Iterator[Discrepancy]:
    """Say the gravest that is wrong with the packets of one segment (rules 2 and 3)."""
    slack = capture.tolerance
    words = f"segment {packets.number} of grant {granted.grant_id} on {each.node}"
    window = capture.authority.window if capture.authority else None
    if window and not (
        window.not_before - slack <= packets.first and packets.last <= window.not_after + slack
    ):
        kind, why = DiscrepancyKind.PACKET_OUTSIDE_AUTHORITY, "outside its authority's window"
    elif not (
        granted.not_before - slack <= packets.first and packets.last <= granted.not_after + slack
    ):
        kind, why = DiscrepancyKind.PACKET_OUTSIDE_GRANT, "outside the grant's window"
    else:
        passed = [cut for cut in cutoffs(capture, granted) if packets.last > cut.at]
        if not passed:
            return
        kind, why = DiscrepancyKind.PACKET_AFTER_END, f"after {passed[0].why}"
    said = f"{format_time(packets.first)} to {format_time(packets.last)}"
    yield _found(kind, f"{words} holds packets of {said}, {why}", each.index)


def _other_segment(stored: SegmentStored, sealed: Statement) -> Iterator[Discrepancy]:
    names = ("number", "sha256", "size")
    if tuple(map(sealed.details.get, names)) != (stored.number, stored.sha256, stored.size):
        words = f"segment {stored.number} of grant {stored.grant_id} is stored"
        kind = DiscrepancyKind.SEGMENT_WITHOUT_RECEIPT
        yield _found(kind, f"{words} as another than its receipt says", stored.index)


def _is_past(stored: SegmentStored, capture: CaptureStory, chains: Iterable[NodeChain]) -> bool:
    """Say whether the receipt would be on record by now (rule 5)."""
    node = capture.granted.node if capture.granted else None
    after = stored.time + capture.tolerance
    later = (each for chain in chains if node in {None, chain.name} for each in chain.statements)
    return any(each.said > after for each in later)


def _found(kind: DiscrepancyKind, sentence: str, index: int) -> Discrepancy:
    return Discrepancy(kind=kind, sentence=sentence, index=index)
