"""What happens by itself: warrants begin, authorities and captures end, segments are deleted.

1. An authority whose window is over expires, and its captures stop. An emergency under one
   signature has a window of 48 hours, so this is its end too. The sweep only keeps the books: the
   node's kernel has held the deadline since it armed.
2. A warrant in force begins by itself on every node that it names, once its window has begun. A
   ticket or a test begins when somebody asks.
3. A warrant's capture is granted again on a connected node when its last one there ended because
   the lease did or the agent was stopped, or because the grant was shorter than the authority is
   now (an emergency that a second person has signed since: the first grant holds until its own
   end, the next one follows).
   One that a person stopped, or that the node refused, waits for somebody to ask.
4. A capture that was told to stop, whose grant is over and whose node is away, has ended: nothing
   can arm it any more. The same holds for one whose grant is over in any other way.
5. Nothing begins while no quorum of witnesses answers; what ends, ends all the same.
6. Looking is cheap and decides nothing; what is due is decided anew inside the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from guard.app.authorities import stop_captures
from guard.app.changes import AuthorityRow, CaptureRow, Change, PutAuthority, PutCapture
from guard.app.granting import grant_capture
from guard.app.office import Office
from guard.app.ports import Plan, Quorum, Reads
from guard.app.presence import Presence
from guard.core import lifecycle
from guard.core.approval import require_approved
from guard.core.decision import CaptureRequest
from guard.core.instruments import WARRANTS
from guard.core.lifecycle import AuthorityEvent, AuthorityState, CaptureEvent, CaptureState
from guard.core.reasons import Reason, Refused
from guard.core.record import Record, RecordKind

__all__ = ["Sweep"]

_IN_FORCE = frozenset({AuthorityState.PROVISIONAL, AuthorityState.APPROVED})
_MOST = 500
# The ends that nobody wanted: the guard was away, the agent was restarted, the node was not fit.
_UNWANTED = frozenset({"lease_ended", "agent_stopped", Reason.NODE_NOT_ENFORCING.value})


@dataclass(frozen=True, slots=True)
class Sweep:
    """Looks for what is due and does it."""

    office: Office
    presence: Presence
    guard: str
    quorum: Quorum

    async def run(self) -> int:
        """Do everything that is due now; return how many things that were."""
        now = self.office.clock.now()
        with self.office.ledger.reads() as view:
            ended = [row.id for row in view.unfinished_authorities() if now >= row.window_end]
            over = [row.id for row in view.overdue_captures(now) if self._ending(row) is not None]
            begun = [
                (row.id, node)
                for row in view.unfinished_authorities()
                for node in self._due_nodes(view, row, now)
            ]
        for authority_id in ended:
            await self._expire(authority_id)
        for capture_id in over:
            await self._end(capture_id)
        if begun and not await self.quorum.reached():
            begun = []  # They are due again at the next look.
        for authority_id, node in begun:
            await self._begin(authority_id, node)
        return len(ended) + len(over) + len(begun)

    async def _expire(self, authority_id: str) -> None:
        """Expire an authority and stop its captures (rule 1)."""

        def plan(view: Reads, index: int) -> Plan[None]:
            now = self.office.clock.now()
            row = view.authority(authority_id)
            if row is None or now < row.window_end:
                return Plan(result=None)
            try:
                state = lifecycle.advance(row.state, AuthorityEvent.EXPIRE)
            except Refused:
                return Plan(result=None)
            body = {"authority_id": row.id, "state_before": str(row.state)}
            record = self.office.record(RecordKind.AUTHORITY_EXPIRED, now, body)
            put = replace(row, state=state, revision=index)
            stopped, changes = stop_captures(
                self.office, view, row.id, now, index=index + 1, why="expired"
            )
            return Plan(
                result=None, records=(record, *stopped), changes=(PutAuthority(put), *changes)
            )

        await self.office.execute(plan)

    async def _end(self, capture_id: str) -> None:
        """End a capture whose grant is over (rule 4), telling a connected node first."""

        def plan(view: Reads, index: int) -> Plan[None]:
            now = self.office.clock.now()
            row = view.capture(capture_id)
            if row is None or now < row.not_after:
                return Plan(result=None)
            event = self._ending(row)
            if event is None:
                return Plan(result=None)
            state = lifecycle.advance(row.state, event)
            put = replace(row, state=state, why=row.why or "expired", revision=index)
            records: list[Record] = [self._expired(row, state, now)]
            changes: list[Change] = [PutCapture(put)]
            return Plan(result=None, records=records, changes=changes)

        await self.office.execute(plan)

    def _ending(self, row: CaptureRow) -> CaptureEvent | None:
        if row.state in {CaptureState.GRANTED, CaptureState.ARMED}:
            return CaptureEvent.STOP
        if row.state is CaptureState.STOPPING and not self.presence.connected(row.node):
            return CaptureEvent.END
        return None

    def _expired(self, row: CaptureRow, state: CaptureState, now: datetime) -> Record:
        body = {
            "authority_id": row.authority_id,
            "grant_id": row.id,
            "node": row.node,
            "state": str(state),
        }
        return self.office.record(RecordKind.CAPTURE_EXPIRED, now, body)

    def _due_nodes(self, view: Reads, row: AuthorityRow, now: datetime) -> Iterator[str]:
        """Yield the nodes on which a warrant is to begin, or to begin again (rules 2 and 3)."""
        if row.state not in _IN_FORCE or now >= row.window_end:
            return
        try:
            policy = self.office.require_policy(now)
            signed = self.office.readings.signed(row.envelope, policy)
            approved = require_approved(signed, policy, now=now)
            approved.require_active(now)
        except Refused:
            return  # Whatever its row says: a signer, the policy or the row itself is not right.
        authority = approved.authority
        if authority.instrument not in WARRANTS:
            return
        latest: dict[str, CaptureRow] = {}
        for capture in view.captures(authority_id=row.id, limit=_MOST, before=None):
            known = latest.get(capture.node)
            if known is None or capture.evidence_index > known.evidence_index:
                latest[capture.node] = capture
        for node in authority.nodes:
            if node not in latest or self._again(latest[node], row, now):
                yield node

    def _again(self, last: CaptureRow, row: AuthorityRow, now: datetime) -> bool:
        if last.state is CaptureState.ENDED and last.why in _UNWANTED:
            return self.presence.connected(last.node)
        return last.why == "expired" and last.not_after <= now < row.window_end

    async def _begin(self, authority_id: str, node: str) -> None:
        """Grant a warrant's capture in the registrant's name, as its guard (rule 2)."""

        def plan(view: Reads, index: int) -> Plan[None]:
            now = self.office.clock.now()
            row = view.authority(authority_id)
            if row is None or node not in self._due_nodes(view, row, now):
                return Plan(result=None)
            registrant = self.office.policy.principal(row.registrant)
            if registrant is None:
                return Plan(result=None)
            request = CaptureRequest(
                request_id=self.office.entropy.new_id(),
                principal=registrant,
                authority_id=authority_id,
                node=node,
                level=None,
            )
            try:
                granted = grant_capture(
                    self.office, view, index, now, request=request, started_by=self.guard
                )
            except Refused:
                # Not in force after all. It is looked at again; a refusal on record every second
                # would only bury the others.
                return Plan(result=None)
            return Plan(result=None, records=granted.records, changes=granted.changes)

        await self.office.execute(plan)
