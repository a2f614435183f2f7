"""What auditor and legal do with incidents: list them, look at one, assess one.

1. Looking at one shows what its first record says, and is itself on record first, as every reading
   of a record (`guard.app.audit`). Listing shows nothing of it but kind, node, count and times.
2. Legal assesses, clock by clock: `not_reportable` with a reason, or `reported` to whom and when.
   Each assessment is a record. A later one of the same clock takes the place of the former.
3. An assessment that names no clock is of all that run; `reported` always names them.
4. Nobody reports in the future, by more than clocks may differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from guard.app.audit import Audit, Reading
from guard.app.changes import PutIncident
from guard.app.denial import MalformedError, UnknownError
from guard.app.notify import Notifier
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core.fields import format_time
from guard.core.incidents import Incident
from guard.core.reasons import Refused
from guard.core.record import Entry, RecordKind
from guard.core.reporting import Assessment, ClockName, Law, Verdict, read_clocks
from guard.core.reporting import Reading as ClockReading
from guard.core.trust import Principal

__all__ = ["IncidentDesk", "Judgement", "Shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What legal says: of these clocks, or of all that run (rule 3).

    ``words``: why it is not reportable, or to whom it was reported.
    """

    verdict: Verdict
    clocks: frozenset[ClockName]
    words: str
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An incident with its clocks; ``details`` is what its first record says, where it is asked."""

    incident: Incident
    clocks: tuple[ClockReading, ...]
    details: Mapping[str, str | int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDesk:
    """The use cases; ``laws`` are those whose clocks run at this carrier."""

    office: Office
    audit: Audit
    laws: tuple[Law, ...]
    notifiers: tuple[Notifier, ...] = ()

    def listed(self, *, limit: int, before: int | None, only_open: bool) -> list[Shown]:
        """Return incidents below `before`, newest first."""
        with self.office.ledger.reads() as view:
            found = view.incidents(limit=limit, before=before, only_open=only_open)
        return [self._shown(each) for each in found]

    async def show(self, incident_id: int, reader: Principal) -> Shown:
        """Return one incident and what its first record says (rule 1); raises UnknownError."""
        with self.office.ledger.reads() as view:
            incident = _known(view, incident_id)
        reading = Reading(
            reader=reader, start=incident_id, end=incident_id + 1, purpose="incidents show"
        )
        (pages,) = [page async for page in self.audit.read(reading)]
        return replace(self._shown(incident), details=_details(pages[1][0]))

    async def assess(self, incident_id: int, judgement: Judgement, by: Principal) -> Shown:
        """Put an assessment on record (rule 2); raises UnknownError or MalformedError."""

        def plan(view: Reads, index: int) -> Plan[Shown]:
            now = self.office.clock.now()
            incident = _known(view, incident_id)
            clocks = self._clocks(incident, judgement)
            self._require_past(judgement, now)
            said = [_assessment(name, judgement, by.name, now, index) for name in clocks]
            kept = [each for each in incident.assessments if each.clock not in clocks]
            put = replace(incident, assessments=(*kept, *said), revision=index)
            shown = self._shown(put)
            put = replace(put, open=any(each.stopped is None for each in shown.clocks))
            record = self.office.record(
                RecordKind.INCIDENT_ASSESSED, now, _body(incident_id, clocks, judgement, by.name)
            )
            result = replace(shown, incident=put)
            return Plan(result=result, records=(record,), changes=(PutIncident(put),))

        return await self.office.execute(plan)

    def _shown(self, incident: Incident) -> Shown:
        clocks = read_clocks(incident.first, incident.assessments, self.laws)
        return Shown(incident=incident, clocks=clocks)

    def _clocks(self, incident: Incident, judgement: Judgement) -> list[ClockName]:
        """Return the clocks that a judgement is of, in the table's order (rule 3)."""
        readings = self._shown(incident).clocks
        if strange := judgement.clocks - {each.clock.name for each in readings}:
            raise MalformedError(f"the clock {min(strange)} does not run at this guard")
        if judgement.clocks:
            return [e.clock.name for e in readings if e.clock.name in judgement.clocks]
        if judgement.verdict is Verdict.REPORTED:
            raise MalformedError("name the clocks for which it was reported")
        running = [each.clock.name for each in readings if each.stopped is None]
        if not running:
            raise MalformedError("no clock runs; name one to assess it anew")
        return running

    def _require_past(self, judgement: Judgement, now: datetime) -> None:
        reported = judgement.reported_at
        if reported is not None and reported > now + self.office.policy.clock_tolerance:
            raise MalformedError("nothing can have been reported in the future")


def _known(view: Reads, incident_id: int) -> Incident:
    incident = view.incident(incident_id)
    if incident is None:
        raise UnknownError("no such incident")
    return incident


def _assessment(
    clock: ClockName, judgement: Judgement, by: str, now: datetime, index: int
) -> Assessment:
    return Assessment(
        clock=clock,
        verdict=judgement.verdict,
        by=by,
        at=now,
        record=index,
        words=judgement.words,
        reported_at=judgement.reported_at,
    )


def _body(
    incident_id: int, clocks: list[ClockName], judgement: Judgement, by: str
) -> dict[str, Any]:
    reported = judgement.reported_at
    words = "why" if judgement.verdict is Verdict.NOT_REPORTABLE else "to"
    return {
        "by": by,
        "clocks": [each.value for each in clocks],
        "incident": incident_id,
        "verdict": judgement.verdict.value,
        words: judgement.words,
        **({"reported_at": format_time(reported)} if reported else {}),
    }


def _details(entry: Entry) -> dict[str, str | int]:
    try:
        body = entry.record().body
    except Refused:
        return {}  # Erased, or unreadable, which is a finding of its own.
    stated = body.get("details")
    said = stated if isinstance(stated, Mapping) else body
    return {name: value for name, value in said.items() if isinstance(value, (str, int))}
