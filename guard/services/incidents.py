"""The service of the contract for incidents and their reporting clocks."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from datetime import datetime

from guard.api.v1 import incident_service_pb2 as messages
from guard.api.v1.incident_service_pb2_grpc import IncidentServiceServicer
from guard.app.denial import MalformedError
from guard.app.incidents import IncidentDesk, Judgement, Shown
from guard.core.reporting import Assessment, ClockName, Reading, Verdict
from guard.services.gate import admission
from guard.services.translate import (
    from_timestamp,
    page_size,
    page_token,
    required_text,
    to_timestamp,
)

__all__ = ["IncidentService"]

_VERDICTS = {verdict: messages.Verdict.Value(f"VERDICT_{verdict.name}") for verdict in Verdict}
_CLOCKS = {name.value: name for name in ClockName}
_LARGEST = 2**53 - 1


class IncidentService(IncidentServiceServicer):
    """Translates; ``guard.app.incidents`` shows and takes in."""

    def __init__(self, desk: IncidentDesk) -> None:
        self._desk = desk

    async def ListIncidents(
        self, request: messages.ListIncidentsRequest, _context: object
    ) -> messages.ListIncidentsResponse:
        """List incidents."""
        size = page_size(request.page_size)
        found = self._desk.listed(
            limit=size, before=page_token(request.page_token), only_open=request.only_open
        )
        now = self._desk.office.clock.now()
        full = len(found) == size and found[-1].incident.id > 0
        return messages.ListIncidentsResponse(
            incidents=[_incident(each, now) for each in found],
            next_page_token=str(found[-1].incident.id) if full else "",
            hooks=[
                messages.NoticeHook(name=each.hook.value, failing=trouble.detail if trouble else "")
                for each in self._desk.notifiers
                for trouble in (each.trouble(),)
            ],
        )

    async def GetIncident(
        self, request: messages.GetIncidentRequest, _context: object
    ) -> messages.GetIncidentResponse:
        """Show one incident."""
        shown = await self._desk.show(_id(request), admission().caller.principal)
        details = {name: str(value) for name, value in (shown.details or {}).items()}
        now = self._desk.office.clock.now()
        return messages.GetIncidentResponse(incident=_incident(shown, now), details=details)

    async def AssessIncident(
        self, request: messages.AssessIncidentRequest, _context: object
    ) -> messages.AssessIncidentResponse:
        """Put an assessment on record."""
        shown = await self._desk.assess(
            _id(request), _judgement(request), admission().caller.principal
        )
        return messages.AssessIncidentResponse(
            incident=_incident(shown, self._desk.office.clock.now())
        )


def _id(request: messages.GetIncidentRequest | messages.AssessIncidentRequest) -> int:
    if not request.HasField("id") or request.id > _LARGEST:
        raise MalformedError("id must be an incident's number")
    return request.id


def _judgement(request: messages.AssessIncidentRequest) -> Judgement:
    """Read what is said; what belongs to another verdict is refused, not ignored."""
    verdicts = {value: verdict for verdict, value in _VERDICTS.items()}
    verdict = verdicts.get(request.verdict)
    if verdict is None:
        raise MalformedError("verdict must be named")
    if strange := set(request.clocks) - _CLOCKS.keys():
        raise MalformedError(f"there is no clock {required_text(min(strange), 'a clock')}")
    clocks = frozenset(_CLOCKS[name] for name in request.clocks)
    reported = request.HasField("reported_at")
    if verdict is Verdict.NOT_REPORTABLE:
        if reported or request.reported_to:
            raise MalformedError("what is not reportable was reported to nobody")
        return Judgement(
            verdict=verdict, clocks=clocks, words=required_text(request.reason, "reason")
        )
    if request.reason or not reported:
        raise MalformedError("what was reported has a time and no reason")
    return Judgement(
        verdict=verdict,
        clocks=clocks,
        words=required_text(request.reported_to, "reported_to"),
        reported_at=from_timestamp(request.reported_at),
    )


def _incident(shown: Shown, now: datetime) -> messages.Incident:
    incident = shown.incident
    return messages.Incident(
        id=incident.id,
        kind=incident.kind,
        node=incident.node,
        count=incident.count,
        first=to_timestamp(incident.first),
        last=to_timestamp(incident.last),
        last_record=incident.last_record,
        open=any(each.stopped is None for each in shown.clocks),
        clocks=[_clock(each, now) for each in shown.clocks],
    )


def _clock(reading: Reading, now: datetime) -> messages.Clock:
    clock = reading.clock
    return messages.Clock(
        name=clock.name.value,
        provision=clock.provision,
        to=clock.to,
        due=None if reading.due is None else to_timestamp(reading.due),
        stopped=None if reading.stopped is None else _assessment(reading.stopped),
        overdue=reading.overdue(now),
        late=reading.late,
    )


def _assessment(said: Assessment) -> messages.Assessment:
    reported = said.reported_at
    why = said.verdict is Verdict.NOT_REPORTABLE
    return messages.Assessment(
        verdict=_VERDICTS[said.verdict],
        by=said.by,
        at=to_timestamp(said.at),
        record=said.record,
        reason=said.words if why else "",
        reported_to="" if why else said.words,
        reported_at=None if reported is None else to_timestamp(reported),
    )
