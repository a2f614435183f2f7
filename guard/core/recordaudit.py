"""Auditing records against the entries of a log, and what nodes and roots signed in them.

1. Record number i opens to entry i: kind, time and digest are the entry's, and salt and body make
   the digest. An erased one still has to be in its place.
2. Records are erased oldest first, none left out but trust policies, which never are, only as a
   later `records_erased` says, and none before its time (`guard.core.record`, rule 5).
3. Trust policies on record follow from the pinned roots, each from the one before, at the time of
   their record.
4. A receipt is signed by its node's key under the policy in force at its place in the log, and says
   what its record says.
5. A node's receipts continue its chain. A break that the guard put on record as an incident before
   the receipt after it is counted, not refused: the log is honest about it. After an erased record
   that may have been a receipt, a node's chain is taken up where it is found again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from guard.core import envelope as dsse
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.erasures import Ages
from guard.core.facts import RECEIPT_RECORDS, Fact, PolicyChanged, ReceiptTaken, read_fact
from guard.core.fields import parse_time
from guard.core.merkle import leaf_hash
from guard.core.reasons import Refused
from guard.core.receipt import FIRST_PREVIOUS
from guard.core.record import Entry, Record, RecordKind
from guard.core.tampering import Change, change_at
from guard.core.trust import PinnedRoots, TrustedPolicy, advance

__all__ = ["RecordAudit", "RecordCounts", "audit_records"]

_RECORDS: Final = {
    Change.REMOVED: (Discrepancy.RECORD_MISSING, "the record of entry {} is missing"),
    Change.ADDED: (Discrepancy.RECORD_ADDED, "what stands as record {} is of no entry"),
    Change.ALTERED: (Discrepancy.RECORD_ALTERED, "record {} is not the one of entry {}"),
    Change.REORDERED: (Discrepancy.RECORD_REORDERED, "record {} stands in another's place"),
}
# What only a node can state; an incident the guard may put on record of itself.
_STATED: Final = RECEIPT_RECORDS.keys() - {RecordKind.INCIDENT}
_BROKEN: Final = "receipts_broken"
_LOST: Final = "receipts_lost"


@dataclass(kw_only=True)
class RecordCounts:
    """What an audit of the records went through; `chains` is the last receipt's number by node."""

    records: int = 0
    erased: int = 0
    policies: int = 0
    receipts: int = 0
    breaks: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    chains: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Chain:
    """How far a node's receipts have come: `sequence` and `digest` of the last, None if unknown."""

    sequence: int = 0
    digest: str | None = FIRST_PREVIOUS
    index: int = -1
    forgiven: int | None = None


class RecordAudit:
    """Takes records in their order, whose places are known to be the log's (rules 2 to 5)."""

    def __init__(self, roots: PinnedRoots) -> None:
        self.counts = RecordCounts()
        self._current: PinnedRoots | TrustedPolicy = roots
        self._chains: dict[str, _Chain] = {}
        self._erased: int | None = None
        self._kept: int | None = None
        self._erased_receipt = -1
        self._erased_before = 0
        self._ages = Ages()

    def take(self, index: int, entry: Entry) -> Fact | None:
        """Take the record at `index`; return what it says, if its kind says anything.

        Raises Discrepant.
        """
        self.counts.records += 1
        self.counts.kinds[entry.kind] += 1
        if entry.erased:
            self._take_erased(index, entry)
            return None
        record = _opened(index, entry)
        if self._kept is None:
            if record.kind is RecordKind.TRUST_POLICY_CHANGED:
                self._ages.add(record.time)
            else:
                self._kept = index
        fact = _fact(index, record)
        match fact:
            case ReceiptTaken():
                self._take_receipt(fact)
            case PolicyChanged():
                self._take_policy(fact)
            case _ if record.kind in _STATED:
                raise Discrepant(
                    Discrepancy.RECEIPT_MISSING,
                    f"record {index}, {record.kind}, carries no receipt of a node",
                    index=index,
                )
            case _:
                self._take_other(record)
        return fact

    def finish(self) -> RecordCounts:
        """Return what was gone through, once every erasure is accounted for; raises Discrepant."""
        if self._erased is not None and self._erased >= self._erased_before:  # Rule 2.
            raise _withheld(self._erased, "is shown as erased, and its erasure is not on record")
        self.counts.chains = {name: each.sequence for name, each in sorted(self._chains.items())}
        return self.counts

    def _take_erased(self, index: int, entry: Entry) -> None:
        kind = entry.kind
        self.counts.erased += 1
        self._erased = index
        if kind == RecordKind.TRUST_POLICY_CHANGED:
            raise _withheld(index, "is a trust policy, which is never erased")
        if self._kept is not None:
            raise _withheld(index, f"is shown as erased, and the older record {self._kept} is not")
        self._ages.add(_time(index, entry))
        if kind in RECEIPT_RECORDS:
            self._erased_receipt = index

    def _take_policy(self, changed: PolicyChanged) -> None:
        try:
            self._current = advance(self._current, [changed.envelope], now=changed.time)
        except Refused as refused:
            raise Discrepant(
                Discrepancy.POLICY_UNTRUSTED,
                f"version {changed.version} of the trust policy, record {changed.index}, does not "
                f"follow: {refused.detail}",
                index=changed.index,
            ) from refused
        self.counts.policies += 1

    def _take_receipt(self, taken: ReceiptTaken) -> None:
        self._require_signed(taken)
        self._require_continued(taken)
        chain = self._chains[taken.receipt.node]
        chain.sequence, chain.digest = taken.receipt.sequence, taken.digest
        chain.index, chain.forgiven = taken.index, None
        self.counts.receipts += 1

    def _require_signed(self, taken: ReceiptTaken) -> None:
        """Hold a receipt against its node's key (rule 4)."""
        name = taken.receipt.node
        trusted = self._current
        node = trusted.policy.node(name) if isinstance(trusted, TrustedPolicy) else None
        if node is None:
            raise _forged(taken.index, f"{name} is no node of the trust policy in force")
        try:
            parsed = dsse.parse(taken.envelope, dsse.Kind.RECEIPT)
            signers = dsse.verified_keyids(parsed, {node.key.keyid: node.key})
        except Refused as refused:
            raise _forged(taken.index, f"{name} has not signed it: {refused.detail}") from refused
        if not signers:
            raise _forged(taken.index, f"{name} has not signed it")

    def _require_continued(self, taken: ReceiptTaken) -> None:
        """Hold a receipt against the one before it (rule 5)."""
        receipt, name = taken.receipt, taken.receipt.node
        chain = self._chains.setdefault(name, _Chain())
        follows = receipt.sequence == chain.sequence + 1
        if follows and chain.digest in {None, receipt.previous}:
            return
        if self._erased_receipt > chain.index and receipt.sequence > chain.sequence:
            return
        if chain.forgiven == receipt.sequence:
            self.counts.breaks += 1
            return
        if receipt.sequence <= chain.sequence:
            raise Discrepant(
                Discrepancy.RECEIPT_REORDERED,
                f"record {taken.index} is receipt {receipt.sequence} of {name}, after its receipt "
                f"{chain.sequence}",
                index=taken.index,
            )
        raise Discrepant(
            Discrepancy.RECEIPT_MISSING,
            f"record {taken.index} is receipt {receipt.sequence} of {name} and does not continue "
            f"its receipt {chain.sequence}: {_left_out(chain.sequence + 1, receipt.sequence)}",
            index=taken.index,
        )

    def _take_other(self, record: Record) -> None:
        body = record.body
        match record.kind:
            case RecordKind.RECORDS_ERASED:
                first, count = body.get("first"), body.get("count")
                if isinstance(first, int) and isinstance(count, int):
                    self._erased_before = max(self._erased_before, first + count)
                    young = self._ages.too_young(first + count, record.time)
                    if young is not None:
                        raise _withheld(young, "was erased before its time")
            case RecordKind.INCIDENT if body.get("what") in {_BROKEN, _LOST}:
                self._forgive(str(body.get("node")), str(body["what"]), body.get("given"))
            case _:
                pass

    def _forgive(self, node: str, what: str, given: object) -> None:
        """Take note of a break that the guard put on record (rule 5)."""
        if not isinstance(given, int):
            return
        chain = self._chains.setdefault(node, _Chain())
        if what == _BROKEN:
            chain.forgiven = given
            return
        if given >= chain.sequence and self._erased_receipt <= chain.index:
            return  # Nothing was lost: a node that comes back with more than is known sends it.
        self.counts.breaks += 1
        chain.sequence, chain.digest = given, None if given else FIRST_PREVIOUS


def audit_records(
    audit: RecordAudit, leaves: Iterator[bytes], records: Iterable[tuple[int, Entry]]
) -> Iterator[tuple[int, Entry, Fact | None]]:
    """Yield a log's records and what they say, each held against its leaf hash (rule 1).

    `records` come with the numbers that they bear. Those beyond the leaves are left alone. Raises
    Discrepant.
    """
    source = iter(records)
    for index, true in enumerate(leaves):
        number, entry = next(source, (index, None))
        shown = None if entry is None else leaf_hash(entry.leaf())
        if entry is None or shown != true:
            rest = (leaf_hash(each.leaf()) for _, each in source)
            change = change_at(true, shown, leaves, rest)
            kind, sentence = _RECORDS[change]
            raise Discrepant(kind, sentence.format(index, index), index=index)
        if number != index:
            sentence = f"record {index} bears the number {number}"
            raise Discrepant(Discrepancy.RECORD_ALTERED, sentence, index=index)
        yield index, entry, audit.take(index, entry)


def _opened(index: int, entry: Entry) -> Record:
    try:
        entry.check()
    except Refused as refused:
        raise Discrepant(
            Discrepancy.RECORD_ALTERED,
            f"salt and body of record {index} do not make the digest of its entry",
            index=index,
        ) from refused
    try:
        return entry.record()
    except Refused as refused:
        raise _malformed(index, refused) from refused


def _time(index: int, entry: Entry) -> datetime:
    try:
        return parse_time(entry.time)
    except Refused as refused:
        raise _malformed(index, refused) from refused


def _fact(index: int, record: Record) -> Fact | None:
    try:
        return read_fact(index, record)
    except Refused as refused:
        if record.kind in RECEIPT_RECORDS:
            raise _forged(index, refused.detail) from refused
        raise _malformed(index, refused) from refused


def _left_out(first: int, found: int) -> str:
    if first == found:
        return f"the receipt {found - 1} that it names is another"
    return f"{first} is missing" if first == found - 1 else f"{first} to {found - 1} are missing"


def _withheld(index: int, why: str) -> Discrepant:
    return Discrepant(Discrepancy.RECORD_WITHHELD, f"record {index} {why}", index=index)


def _malformed(index: int, refused: Refused) -> Discrepant:
    sentence = f"record {index} cannot be read: {refused.detail}"
    return Discrepant(Discrepancy.RECORD_MALFORMED, sentence, index=index)


def _forged(index: int, why: str) -> Discrepant:
    sentence = f"the receipt in record {index} is not its node's: {why}"
    return Discrepant(Discrepancy.RECEIPT_FORGED, sentence, index=index)
