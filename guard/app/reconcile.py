"""Reconciliation at work: follows the log, puts on record what does not meet, shows what is open.

1. At the start the whole log is read once, page by page and beside everything else; then what is
   new, about once a second. Nothing is found before all of it is read.
2. A finding is put on record when it is found and when it is over (`guard.core.reconciliation`).
   What cannot be written now is found again at the next look.
3. A guard that did not look for a while, because it was down or its machine slept, was not there to
   hear: nodes have their time again from when it is back.
4. How the nodes stand is known to whoever permits something (`Standings`). Each node with a session
   is asked a challenge: at the session's begin, and again `_PACE` after the last at the earliest,
   once that is answered.
5. People see what is open; whoever may not know of a capture sees of a finding about it the kind,
   the node and since when, and no more (`guard.core.sight`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core.fields import parse_time
from guard.core.findings import Finding
from guard.core.reasons import Refused
from guard.core.reconciliation import Reconciliation
from guard.core.record import Entry, RecordKind
from guard.core.sight import Sight, sees_all, sight
from guard.core.trust import NodeIdentity, Principal
from guard.core.untrusted import NodeStanding

__all__ = ["Reconciler"]

_PAGE: Final = 500
_ABSENT: Final = timedelta(seconds=30)
_MOST_AT_ONCE: Final = 100
_PACE: Final = timedelta(minutes=1)
_KEPT_BACK: Final = "it is about a capture that is not shown to you"


@dataclass(slots=True)
class Reconciler:
    """Looks again and again; ``look`` is never called twice at once."""

    office: Office
    _books: Reconciliation = field(default_factory=Reconciliation)
    _next: int = 0
    _looked: datetime | None = None
    _open: list[Finding] = field(default_factory=list)
    _read: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: dict[str, datetime] = field(default_factory=dict)

    async def look(self) -> int:
        """Take in what is new; return how many records that led to. Raises LedgerUnavailable."""
        await self._catch_up()
        now = self.office.clock.now()
        if self._looked is None or now - self._looked > _ABSENT:  # Rule 3.
            self._books.listen_from(now)
        self._looked = now
        made, over = self._books.news(now)
        self._open = self._named(self._books.findings(now))
        self.office.standings.put(self._books.standings(now))
        self._read.set()
        if made or over:
            await self._put_on_record(self._named(made)[:_MOST_AT_ONCE], over)
        return min(len(made), _MOST_AT_ONCE) + len(over)

    async def nodes(self) -> list[tuple[NodeIdentity, NodeStanding]]:
        """Return how each node of the trust policy stands; waits for the first look."""
        await self._read.wait()
        of = self.office.standings.of
        return [(node, of(node.name)) for node in self.office.policy.nodes]

    def challenge(self, node: str, *, begin: bool) -> bytes | None:
        """Return what to ask a node now, None for nothing; ``begin``: of a session (rule 4)."""
        sentry, now = self._books.sentry(node), self.office.clock.now()
        if sentry is None:
            return None  # The log is not read yet.
        last = self._asked.get(node)
        early = last is not None and (sentry.waiting or now - last < _PACE)
        if early and not begin:
            return None
        nonce = self.office.entropy.new_salt()
        sentry.ask(nonce.hex(), now)
        self._asked[node] = now
        return nonce

    def left(self, node: str) -> None:
        """Expect no answer: the node's session is over."""
        sentry = self._books.sentry(node)
        if sentry is not None:
            sentry.leave()

    async def open(self, viewer: Principal) -> list[Finding]:
        """Return what is open as the viewer may see it, oldest first; waits for the first look."""
        await self._read.wait()
        with self.office.ledger.reads() as view:
            return [self._seen(view, finding, viewer) for finding in self._open]

    async def _catch_up(self) -> None:
        # In a thread: reading and parsing a long log would hold up everybody's calls.
        while await asyncio.to_thread(self._take_page):
            pass

    def _take_page(self) -> bool:
        with self.office.ledger.reads() as view:
            page = view.entries(self._next, _PAGE)
        for index, entry in enumerate(page, self._next):
            self._take(index, entry)
        self._next += len(page)
        return len(page) == _PAGE

    def _take(self, index: int, entry: Entry) -> None:
        time = parse_time(entry.time)
        if entry.erased:
            self._books.erased(index, entry.kind, time)
            return
        try:
            record = entry.record()
        except Refused:
            self._books.unreadable(index, time)
        else:
            self._books.apply(index, record)

    async def _put_on_record(self, made: list[Finding], over: dict[str, str]) -> None:
        def plan(_view: Reads, _index: int) -> Plan[None]:
            now = self.office.clock.now()
            records = [
                *(self.office.record(RecordKind.FINDING, now, each.body()) for each in made),
                *(
                    self.office.record(RecordKind.FINDING_CLOSED, now, {"key": key, "what": what})
                    for key, what in over.items()
                ),
            ]
            return Plan(result=None, records=records)

        await self.office.execute(plan)

    def _named(self, findings: list[Finding]) -> list[Finding]:
        """Add the authority where the books have forgotten a grant's and the guard has not."""
        with self.office.ledger.reads() as view:
            return [_with_authority(view, finding) for finding in findings]

    def _seen(self, view: Reads, finding: Finding, viewer: Principal) -> Finding:
        if finding.grant_id is None or sees_all(viewer):
            return finding
        row = view.authority(finding.authority_id) if finding.authority_id else None
        if row is not None:
            authority = self.office.readings.authority(row.envelope)
            if sight(authority, viewer) is not Sight.NOTHING:
                return finding
        return replace(finding, grant_id=None, authority_id=None, number=None, detail=_KEPT_BACK)


def _with_authority(view: Reads, finding: Finding) -> Finding:
    if finding.grant_id is None or finding.authority_id is not None:
        return finding
    row = view.capture(finding.grant_id)
    return finding if row is None else replace(finding, authority_id=row.authority_id)
