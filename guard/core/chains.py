"""What a node stated, receipt by receipt, verified by the node's own key.

1. A receipt counts when it is signed by the key that the trust policy in force gives the node it
   names, and by nobody else. One that does not is kept as a flaw: nothing in it is believed.
2. Receipts form a chain (`guard.core.receipt`). One that does not continue it is a gap, and from
   there on the chain goes on. A forged receipt takes its place in the chain when it fits there, so
   that one fault is reported once.
3. Nothing was said later than it was recorded, whatever the node's clock shows: a receipt dated
   ahead counts from when the guard had it.
4. A clock that went back is not believed until a receipt reaches the guard at the time that it
   says. Until then anything may have been said as late as the guard had it (``latest``).
5. When receipts were erased in between, nobody can tell whether a chain continues: it is neither
   broken nor whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from guard.core import envelope as dsse
from guard.core.answers import Discrepancy, DiscrepancyKind
from guard.core.facts import ReceiptTaken
from guard.core.fields import parse_time
from guard.core.policy import TrustPolicy
from guard.core.reasons import Refused
from guard.core.receipt import AT_START, AT_STOP, FIRST_PREVIOUS, Receipt, ReceiptKind

__all__ = ["NodeChain", "Packets", "Statement"]

# Whatever is taken off it must still be a time.
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """What a sealed segment holds: packets, their bytes, the times of the first and last."""

    number: int
    count: int
    bytes: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One receipt as it stands in the log; ``said`` is its time by rule 3, ``latest`` by rule 4.

    ``flaw`` says why it does not count (rule 1), ``gap`` why it does not continue its chain (rule
    2); ``unsure`` marks one before which receipts were erased (rule 5).
    """

    index: int
    recorded: datetime
    said: datetime
    latest: datetime
    node: str
    sequence: int
    kind: ReceiptKind
    grant_id: str | None
    details: Mapping[str, str | int]
    armed: tuple[str, ...]
    packets: Packets | None
    digest: str
    flaw: Discrepancy | None
    gap: Discrepancy | None
    unsure: bool

    @property
    def is_doubtful(self) -> bool:
        """Whether its node's clock had gone back and was not seen to be right again (rule 4)."""
        return self.latest > self.said

    @property
    def is_whole_list(self) -> bool:
        """Whether it is a heartbeat after which everything armed has been named."""
        beat = self.kind is ReceiptKind.HEARTBEAT and self.flaw is None
        return beat and self.details["part"] == self.details["parts"]

    @property
    def stopped(self) -> bool:
        """Whether it is the heartbeat with which an agent stops."""
        return self.is_whole_list and self.details.get("at") == AT_STOP

    @property
    def started(self) -> bool:
        """Whether it is the heartbeat with which an agent starts."""
        return self.is_whole_list and self.details.get("at") == AT_START


@dataclass(slots=True)
class NodeChain:
    """The receipts of one node in the order of the log."""

    name: str
    statements: list[Statement] = field(default_factory=list)
    _sequence: int = 0
    _digest: str = FIRST_PREVIOUS
    _index: int = -1
    _said: datetime = _EVER
    _behind: bool = False
    _kinds: dict[tuple[tuple[str, str | int], ...], Mapping[str, str | int]] = field(
        default_factory=dict
    )

    def take(
        self, fact: ReceiptTaken, policy: TrustPolicy | None, *, erased: int = -1
    ) -> Statement:
        """Verify the next receipt and keep it; ``erased`` is the last erased receipt's index."""
        receipt = fact.receipt
        flaw, packets = _flaw(fact, policy), None
        try:
            packets = _packets(receipt)
        except Refused as refused:
            flaw = flaw or _forged(fact, refused.detail)
        continues = (receipt.sequence, receipt.previous) == (self._sequence + 1, self._digest)
        unsure = not continues and erased > self._index and receipt.sequence > self._sequence
        said = min(receipt.time, fact.time)
        if policy is not None and flaw is None:
            self._look_at_clock(said, fact.time, policy.clock_tolerance)
        statement = Statement(
            index=fact.index,
            recorded=fact.time,
            said=said,
            latest=fact.time if self._behind else said,
            node=self.name,
            sequence=receipt.sequence,
            kind=receipt.kind,
            grant_id=receipt.grant_id,
            details=self._details(receipt),
            armed=receipt.armed,
            packets=packets,
            digest=fact.digest,
            flaw=flaw,
            gap=None if continues or unsure else self._gap(fact),
            unsure=unsure,
        )
        if flaw is None or continues:  # Rule 2.
            self._sequence, self._digest, self._index = receipt.sequence, fact.digest, fact.index
        self.statements.append(statement)
        return statement

    def gaps(self) -> Iterator[tuple[datetime | None, Statement]]:
        """Yield what breaks the chain, with when it was last whole (None: never)."""
        before: datetime | None = None
        for each in self.statements:
            if each.gap is not None or each.unsure:
                yield before, each
            before = each.said

    def lists(self) -> Iterator[tuple[Statement, frozenset[str]]]:
        """Yield each whole heartbeat by its last part, with every grant that it names as armed."""
        named: set[str] = set()
        for each in self.statements:
            if each.kind is not ReceiptKind.HEARTBEAT or each.flaw is not None:
                continue
            if each.details["part"] == 1:
                named = set()
            named |= set(each.armed)
            if each.is_whole_list and len(named) == each.details["armed"]:
                yield each, frozenset(named)
                named = set()

    def _look_at_clock(self, said: datetime, recorded: datetime, tolerance: timedelta) -> None:
        """Say whether the node's clock is behind (rule 4)."""
        if said < self._said - tolerance:
            self._behind = True
        elif recorded - said <= tolerance:
            self._behind, self._said = False, said
        self._said = max(self._said, said)

    def _gap(self, fact: ReceiptTaken) -> Discrepancy:
        stood = f"receipt {self._sequence}" if self._sequence else "nothing"
        return Discrepancy(
            kind=DiscrepancyKind.CHAIN_BROKEN,
            sentence=f"receipt {fact.receipt.sequence} of {self.name} does not continue its "
            f"chain, in which it follows on {stood}",
            index=fact.index,
        )

    def _details(self, receipt: Receipt) -> Mapping[str, str | int]:
        """Return the details; those of heartbeats, of which there are many alike, only once."""
        if receipt.kind is not ReceiptKind.HEARTBEAT:
            return receipt.details
        return self._kinds.setdefault(tuple(sorted(receipt.details.items())), receipt.details)


def _flaw(fact: ReceiptTaken, policy: TrustPolicy | None) -> Discrepancy | None:
    """Say why a receipt does not count, or None (rule 1)."""
    node = None if policy is None else policy.node(fact.receipt.node)
    if node is None:
        return _forged(fact, "the trust policy names no such node")
    try:
        parsed = dsse.parse(fact.envelope, dsse.Kind.RECEIPT)
        signed = dsse.verified_keyids(parsed, {node.key.keyid: node.key})
    except Refused as refused:
        return _forged(fact, refused.detail)
    return None if signed else _forged(fact, "nobody has signed it")


def _forged(fact: ReceiptTaken, why: str) -> Discrepancy:
    receipt = fact.receipt
    return Discrepancy(
        kind=DiscrepancyKind.RECEIPT_FORGED,
        sentence=f"receipt {receipt.sequence} in the name of {receipt.node} does not count: {why}",
        index=fact.index,
    )


def _packets(receipt: Receipt) -> Packets | None:
    """Read what a sealed segment holds; None for another kind and an empty one."""
    if receipt.kind is not ReceiptKind.SEALED or receipt.details["packets"] == 0:
        return None
    said = receipt.details
    return Packets(
        number=int(said["number"]),
        count=int(said["packets"]),
        bytes=int(said["bytes"]),
        first=parse_time(str(said["first"])),
        last=parse_time(str(said["last"])),
    )
