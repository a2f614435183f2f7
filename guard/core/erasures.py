"""Erased records: what an auditor can still tell of them.

1. Records are erased oldest first, without leaving one out, trust policies excepted, and each time
   a `records_erased` says so. An erasure in any other way is a discrepancy.
2. None is erased before its time (`guard.core.record`, rule 5): entries tell theirs for good.
3. What is erased says nothing. Questions about a time in which records are erased cannot be
   answered from records alone, and say so.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from typing import Final

from guard.core.answers import Discrepancy, DiscrepancyKind
from guard.core.facts import RECEIPT_RECORDS
from guard.core.fields import Fields
from guard.core.record import LEAST_KEPT, Record, RecordKind

__all__ = ["Ages", "Erasures"]

_LARGEST: Final = 2**53 - 1
_TELLING: Final = frozenset({*RECEIPT_RECORDS, RecordKind.CAPTURE_GRANTED})


class Ages:
    """The times of the records up to the first that is kept, to tell what was erased too early."""

    def __init__(self) -> None:
        self._times = array("d")

    def add(self, time: datetime) -> None:
        """Take note of the next record, which is erased or a trust policy."""
        self._times.append(time.timestamp())

    def too_young(self, end: int, at: datetime) -> int | None:
        """Return the youngest record below ``end`` if it was erased ``at`` before its time."""
        youngest = min(end, len(self._times)) - 1
        if youngest < 0 or at.timestamp() - self._times[youngest] >= LEAST_KEPT.total_seconds():
            return None
        return youngest


class Erasures:
    """Which records of a log are erased; ``count`` of them."""

    def __init__(self) -> None:
        self.count = 0
        self.last_receipt = self.last_grant = self.last_authority = -1
        self.until: datetime | None = None
        self._last, self._recorded = -1, 0
        self._kept: int | None = None
        self._ages = Ages()
        self._wrong: list[Discrepancy] = []

    def erased(self, index: int, kind: str, time: datetime) -> None:
        """Take note that the record at ``index`` is erased."""
        self.count, self._last = self.count + 1, index
        if self._kept is not None:
            self._say(f"record {index} was erased before the older record {self._kept}", index)
        else:
            self._ages.add(time)
        if kind in RECEIPT_RECORDS:
            self.last_receipt = index
        if kind == RecordKind.CAPTURE_GRANTED:
            self.last_grant = index
        if kind == RecordKind.AUTHORITY_REGISTERED:
            self.last_authority = index
        if kind in _TELLING:
            self.until = time

    def kept(self, index: int, record: Record) -> None:
        """Take note of a record that is not erased; raises Refused."""
        if record.kind is RecordKind.TRUST_POLICY_CHANGED:
            if self._kept is None:
                self._ages.add(record.time)
            return
        if self._kept is None:
            self._kept = index
        if record.kind is RecordKind.RECORDS_ERASED:
            fields = Fields(record.body, "the body of records_erased")
            first = fields.integer("first", least=0, most=_LARGEST)
            end = first + fields.integer("count", least=0, most=_LARGEST)
            self._recorded = max(self._recorded, end)
            young = self._ages.too_young(end, record.time)
            if young is not None:
                self._say(f"record {young} was erased before its time, says record {index}", index)

    def discrepancies(self) -> list[Discrepancy]:
        """Return what of the erasing was not as it should be (rule 1)."""
        if self._last < self._recorded:
            return list(self._wrong)
        found = Erasures._discrepancy(
            f"record {self._last} was erased, and no record says so", self._last
        )
        return [*self._wrong, found]

    def since(self, start: datetime) -> list[Discrepancy]:
        """Say whether receipts or grants of ``start`` or later are erased (rule 3)."""
        if self.until is None or self.until < start:
            return []
        return [Erasures._discrepancy("records of that time are erased", None)]

    def _say(self, sentence: str, index: int) -> None:
        self._wrong.append(Erasures._discrepancy(sentence, index))

    @staticmethod
    def _discrepancy(sentence: str, index: int | None) -> Discrepancy:
        return Discrepancy(kind=DiscrepancyKind.RECORDS_ERASED, sentence=sentence, index=index)
