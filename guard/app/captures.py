"""Requesting, stopping, watching, listing and fetching captures.

1. A request is named by its principal and request id. Repeated, it repeats the answer; the same id
   for another request is an error of the caller's, not a decision.
2. Stopping is never denied for want of an authority or a role of the instrument: whoever may stop
   anything may stop everything. It waits for no witness and no node.
3. A capture is fetched by those who may request it, and not while its emergency stands under one
   signature: an embargo counts signatures, so it outlives the emergency's end. Each fetch is on
   record before the first byte leaves.
4. Watching reads what nodes say of themselves and decides nothing.
5. Captures are shown to those who see their authority (`guard.core.sight`). Who stops another is
   told that it stops and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from guard.app.changes import AuthorityRow, CaptureRow, PutCapture, SegmentRow
from guard.app.denial import MalformedError, UnknownError
from guard.app.granting import Granted, grant_capture
from guard.app.office import Office
from guard.app.ports import Plan, Quorum, Reads
from guard.app.presence import Presence, Running
from guard.core import envelope as dsse
from guard.core import lifecycle
from guard.core.decision import CaptureRequest
from guard.core.instruments import Instrument, requester
from guard.core.lifecycle import CaptureEvent, CaptureState
from guard.core.reasons import Reason, Refused
from guard.core.record import RecordKind
from guard.core.sight import Sight, sight
from guard.core.trust import Principal

__all__ = ["OVER", "CaptureView", "Captures"]

OVER = frozenset({CaptureState.ENDED, CaptureState.REFUSED})
_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureView:
    """A capture for display: the row, its authority's reference, what its node last said.

    ``seen`` False: of it only id and state are for the one who asked.
    """

    row: CaptureRow
    reference: str
    running: Running | None
    segments: int
    sealed_bytes: int
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Captures:
    """The use cases around captures."""

    office: Office
    presence: Presence
    quorum: Quorum

    async def request(self, request: CaptureRequest) -> CaptureView:
        """Grant a capture; raises Denied, or MalformedError when the id was another request's.

        Without a quorum of witnesses nothing is granted: a grant that nobody cosigns could not be
        armed, and must not wait for the moment when it can.
        """
        witnessed = await self.quorum.reached()

        def rule(view: Reads, index: int, now: datetime) -> Plan[CaptureView]:
            known = view.capture_by_request(request.principal.name, request.request_id)
            if known is not None:
                return Plan(result=self._view(view, _require_same(known, request)))
            by = request.principal.name
            made = grant_capture(self.office, view, index, now, request=request, started_by=by)
            if not witnessed:
                raise Refused(
                    Reason.WITNESS_QUORUM_MISSING,
                    "nothing new can start: the log's witnesses do not answer, or it cannot be "
                    "published",
                )
            fresh = _fresh(made.result)
            return Plan(result=fresh, records=made.records, changes=made.changes)

        about = {
            "authority_id": request.authority_id,
            "level": str(request.level or ""),
            "method": "request_capture",
            "node": request.node,
            "principal": request.principal.name,
            "request_id": request.request_id,
        }
        return await self.office.decide(rule, about, denial=RecordKind.CAPTURE_DENIED)

    async def stop(self, capture_id: str, caller: Principal) -> CaptureView:
        """Stop a capture for good (rule 2); raises UnknownError when there is none."""

        def plan(view: Reads, index: int) -> Plan[CaptureRow]:
            row = view.capture(capture_id)
            if row is None:
                raise UnknownError("no such capture")
            state = lifecycle.advance(row.state, CaptureEvent.STOP)
            if state is row.state:
                return Plan(result=row)
            body = {
                "authority_id": row.authority_id,
                "by": caller.name,
                "grant_id": row.id,
                "node": row.node,
                "why": "stopped",
            }
            now = self.office.clock.now()
            put = replace(row, state=state, why="stopped", revision=index)
            record = self.office.record(RecordKind.CAPTURE_STOPPED, now, body)
            return Plan(result=put, records=(record,), changes=(PutCapture(put),))

        row = await self.office.execute(plan)
        with self.office.ledger.reads() as view:
            return replace(self._view(view, row), seen=self._is_seen(view, row, caller))

    def page(
        self, viewer: Principal, *, authority_id: str | None, limit: int, before: int | None
    ) -> tuple[list[CaptureView], int | None]:
        """Return captures changed before revision ``before``, newest first, as seen (rule 5).

        And where the next page begins, or None after the last.
        """
        with self.office.ledger.reads() as view:
            rows = view.captures(authority_id=authority_id, limit=limit, before=before)
            seen = [self._view(view, row) for row in rows if self._is_seen(view, row, viewer)]
        return seen, rows[-1].revision if len(rows) == limit else None

    async def watch(self, capture_id: str, viewer: Principal) -> AsyncIterator[CaptureView]:
        """Yield the capture's state about once a second, its end last; raises UnknownError."""
        with self.office.bell.listen(capture_id) as rung:
            while True:
                seen = self._look(capture_id, viewer)
                yield seen
                if seen.row.state in OVER:
                    return
                rung.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BETWEEN_LOOKS):
                        await rung.wait()

    async def fetch(self, capture_id: str, caller: Principal) -> list[SegmentRow]:
        """Return the segments to hand out, in order; raises Denied (rule 3)."""

        def rule(view: Reads, _index: int, now: datetime) -> Plan[list[SegmentRow]]:
            row = view.capture(capture_id)
            authority = view.authority(row.authority_id) if row else None
            if row is None or authority is None:
                raise Refused(Reason.CAPTURE_UNKNOWN, "there is no such capture")
            self._require_fetchable(authority, caller)
            found = [each for each in view.segments(capture_id) if not each.deleted]
            body = {
                "authority_id": row.authority_id,
                "by": caller.name,
                "grant_id": row.id,
                "segments": [each.number for each in found][:_MOST_LISTED],
            }
            record = self.office.record(RecordKind.CAPTURE_FETCHED, now, body)
            return Plan(result=found, records=(record,))

        about = {
            "grant_id": capture_id,
            "method": "fetch_capture",
            "principal": caller.name,
        }
        return await self.office.decide(rule, about)

    def _require_fetchable(self, row: AuthorityRow, caller: Principal) -> None:
        authority = self.office.readings.authority(row.envelope)
        role = requester(authority.instrument)
        if role not in caller.roles:
            raise Refused(Reason.CALLER_ROLE_WRONG, f"the caller does not hold the role {role}")
        signed = len(dsse.parse(row.envelope, dsse.Kind.AUTHORITY).signatures)
        if authority.instrument is Instrument.EMERGENCY and signed < _BOTH:
            raise Refused(Reason.EMBARGOED, "a second person has not signed the emergency")

    def _look(self, capture_id: str, viewer: Principal) -> CaptureView:
        with self.office.ledger.reads() as view:
            row = view.capture(capture_id)
            if row is None or not self._is_seen(view, row, viewer):
                raise UnknownError("no such capture")
            return self._view(view, row)

    def _is_seen(self, view: Reads, row: CaptureRow, viewer: Principal) -> bool:
        """Say whether the viewer may know of a capture: who sees its authority (rule 5)."""
        authority = view.authority(row.authority_id)
        if authority is None:
            return False
        return (
            sight(self.office.readings.authority(authority.envelope), viewer) is not Sight.NOTHING
        )

    def _reference(self, view: Reads, row: CaptureRow) -> str:
        authority = view.authority(row.authority_id)
        return self.office.readings.authority(authority.envelope).reference if authority else ""

    def _view(self, view: Reads, row: CaptureRow) -> CaptureView:
        held = [each for each in view.segments(row.id) if not each.deleted]
        return CaptureView(
            row=row,
            reference=self._reference(view, row),
            running=self.presence.running(row.node, row.id),
            segments=len(held),
            sealed_bytes=sum(each.size for each in held),
        )


_BOTH = 2
_MOST_LISTED = 4096


def _fresh(granted: Granted) -> CaptureView:
    """Describe a capture granted this moment, of which there is nothing to look up."""
    return CaptureView(
        row=granted.row,
        reference=granted.reference,
        running=None,
        segments=0,
        sealed_bytes=0,
    )


def _require_same(known: CaptureRow, request: CaptureRequest) -> CaptureRow:
    same = (known.authority_id, known.node) == (request.authority_id, request.node)
    if not same or request.level not in {None, known.level}:
        raise MalformedError("this request id was used for another request")
    return known
