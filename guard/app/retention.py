"""Forgetting records whose retention is over.

1. A record is erased by forgetting its salt and its body. Its leaf stays, so the tree and every
   proof stay whole, and nobody can tell any more what it said (`guard.core.record`).
2. With the records go the rows that they were about, once these are over: an authority, its
   captures, its deleted segments. What is still in force keeps everything.
3. Nobody can ask for it: it happens by time alone, the witnesses' time, oldest first, without
   leaving one out, and each time it is itself on record.
4. What was erased is in no file of the store any more: the store is told to see to it, again and
   again until it has.
5. Trust policies are kept for good: what nodes and people signed is verified by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from guard.app.changes import EraseBefore
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core.fields import parse_time
from guard.core.record import RecordKind

__all__ = ["Retention"]

_AT_ONCE: Final = 1000
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Retention:
    """Erases records older than `keep`."""

    office: Office
    keep: timedelta
    scrubbed: bool = False

    async def erase(self) -> int:
        """Erase what is over, at most a thousand records; return how many."""
        with self.office.ledger.reads() as view:
            if not self._span(view)[1]:
                return 0
        erased = await self._erase()
        self.scrubbed = self.scrubbed and not erased
        return erased

    async def scrub(self) -> None:
        """See to it that nothing of what was erased is left, after a start too (rule 4)."""
        if not self.scrubbed:
            self.scrubbed = await self.office.ledger.scrub()

    async def _erase(self) -> int:

        def plan(view: Reads, _index: int) -> Plan[int]:
            first, count = self._span(view)
            if not count:
                return Plan(result=0)
            now = self.office.clock.now()
            body = {"count": count, "first": first}
            record = self.office.record(RecordKind.RECORDS_ERASED, now, body)
            change = EraseBefore(first + count)
            return Plan(result=count, records=(record,), changes=(change,))

        return await self.office.execute(plan)

    def _span(self, view: Reads) -> tuple[int, int]:
        """Return the first record that is not erased, and how many from there on are over."""
        first = view.first_kept()
        needed = min((row.evidence_index for row in view.live_captures()), default=None)
        now = self.office.witnessed_now(view, self.office.clock.now())
        cutoff = now - self.keep if now else _NEVER
        count = 0
        for entry in view.entries(first, _AT_ONCE):
            if first + count == needed or not _is_over(entry.time, cutoff):
                break
            count += 1
        return first, count


def _is_over(time: str, cutoff: datetime) -> bool:
    return parse_time(time) < cutoff
