"""Incidents over the wire: pages, what is shown, and what is refused before it is put on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1 import incident_service_pb2 as messages
from guard.api.v1 import node_service_pb2 as node_messages
from guard.api.v1.incident_service_pb2_grpc import IncidentServiceStub
from guard.core.receipt import ReceiptKind
from guard.core.reporting import ClockName, Verdict
from guard.services.incidents import _VERDICTS, IncidentService
from tests.builders.house import House, NodeHand
from tests.builders.serving import Serving
from tests.guard.app.test_incidents import desk
from tests.guard.app.test_incidents import happen as state
from tests.guard.services.test_nodes import NodeSession


def stub(served: Serving, by: str = "legal-1") -> IncidentServiceStub:
    return IncidentServiceStub(served.channel(by))


async def happen(served: Serving, *what: str) -> list[Any]:
    """Let node-1 state these, one kind each, and return them as they are listed, newest first."""
    hand = NodeHand(served.site)
    async with NodeSession(served) as node:
        for each in what:
            envelope = hand.receipt(None, ReceiptKind.INCIDENT, what=each, pid=7)
            await node.send(receipt=node_messages.Receipt(envelope=envelope))
            while (await node.until("receipt_accepted")).sequence < hand.sequence:
                pass
    return list((await listed(served)).incidents)


async def listed(served: Serving, by: str = "legal-1", **asked: Any) -> Any:
    return await stub(served, by).ListIncidents(messages.ListIncidentsRequest(**asked))


def at(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def test_every_verdict_has_its_value() -> None:
    """The contract names what the rules do, and nothing that it does not say."""
    assert set(_VERDICTS) == set(Verdict)
    assert set(messages.Verdict.values()) == {0, *_VERDICTS.values()}


async def test_incidents_come_in_pages_with_their_clocks(served: Serving) -> None:
    """Newest first; auditor and legal see the same; without a hook none is named."""
    found = await happen(served, "a", "b", "c")
    assert [each.kind for each in found] == ["c", "b", "a"]
    assert [clock.name for clock in found[0].clocks] == [each.value for each in ClockName]
    assert not found[0].clocks[-1].HasField("due")
    assert found[0].clocks[0].due.ToDatetime(UTC) == found[0].first.ToDatetime(UTC) + timedelta(
        hours=72
    )

    first = await listed(served, "auditor-1", page_size=2)
    assert list(first.incidents) == found[:2]
    rest = await listed(served, "auditor-1", page_size=2, page_token=first.next_page_token)
    assert (list(rest.incidents), rest.next_page_token) == (found[2:], "")
    assert list(rest.hooks) == []


async def test_one_is_shown_with_what_its_node_said(served: Serving) -> None:
    """Numbers are written out; one that is not there is not found."""
    (found,) = await happen(served, "capture_socket")
    answer = await stub(served, "auditor-1").GetIncident(messages.GetIncidentRequest(id=found.id))
    assert answer.incident == found
    assert dict(answer.details) == {"what": "capture_socket", "pid": "7"}
    for wrong, code in (
        ({"id": found.id + 1}, grpc.StatusCode.NOT_FOUND),
        ({"id": 2**63}, grpc.StatusCode.INVALID_ARGUMENT),
        ({}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub(served).GetIncident(messages.GetIncidentRequest(**wrong))
        assert failed.value.code() is code


async def test_an_assessment_comes_back_as_it_was_said(served: Serving) -> None:
    """Verdict, words, time, who and which record; then nothing is open."""
    (found,) = await happen(served, "capture_socket")
    now = served.clock.now().replace(microsecond=0)
    request = messages.AssessIncidentRequest(
        id=found.id,
        verdict=messages.VERDICT_REPORTED,
        clocks=["gdpr_notification"],
        reported_to="BfDI",
        reported_at=at(now),
    )
    said = (await stub(served).AssessIncident(request)).incident.clocks[0].stopped
    assert (said.verdict, said.by, said.reported_to, said.reason) == (
        messages.VERDICT_REPORTED,
        "legal-1",
        "BfDI",
        "",
    )
    assert said.reported_at == at(now)
    rest = messages.AssessIncidentRequest(
        id=found.id, verdict=messages.VERDICT_NOT_REPORTABLE, reason="a test"
    )
    shown = (await stub(served).AssessIncident(rest)).incident
    assert not shown.open
    assert [each.stopped.reason for each in shown.clocks] == ["", *["a test"] * 4]
    assert list((await listed(served, only_open=True)).incidents) == []
    assert len((await listed(served)).incidents) == 1


NOW = {"reported_at": at(datetime(2026, 11, 23, tzinfo=UTC))}
TO = {"verdict": messages.VERDICT_REPORTED, "reported_to": "BSI"}
WHY = {"verdict": messages.VERDICT_NOT_REPORTABLE, "reason": "a test"}


WRONG: list[dict[str, Any]] = [
    {"reason": "no verdict"},
    {"verdict": 3, "reason": "x"},
    WHY | {"reason": ""},
    WHY | {"reason": "two\nlines"},
    WHY | {"reason": "x" * 513},
    WHY | {"clocks": ["hipaa"]},
    WHY | {"reported_to": "BSI"},
    WHY | NOW,
    TO | NOW,
    TO | {"clocks": ["nis2_notification"]},
    TO | NOW | {"clocks": ["nis2_notification"], "reported_to": " "},
    TO | NOW | {"clocks": ["nis2_notification"], "reason": "x"},
    TO | {"clocks": ["nis2_notification"], "reported_at": Timestamp(seconds=2**40)},
]


async def test_half_an_assessment_is_none(served: Serving) -> None:
    """What is missing, too much or of another verdict is refused; the clocks run on."""
    (found,) = await happen(served, "capture_socket")
    for wrong in WRONG:
        request = messages.AssessIncidentRequest(id=found.id, **wrong)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub(served).AssessIncident(request)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT, wrong
    assert list((await listed(served)).incidents) == [found]


async def test_an_overdue_clock_is_said_to_be(tmp_path: Path) -> None:
    """By the guard's own clock, from the moment at which it ends."""
    async with House(tmp_path) as house:
        await state(house, NodeHand(house.site))
        service = IncidentService(desk(house))
        house.clock.move(hours=72, microseconds=-1)
        found = []
        for _ in range(2):
            answer = await service.ListIncidents(messages.ListIncidentsRequest(), None)
            found.append([each.name for each in answer.incidents[0].clocks if each.overdue])
            house.clock.move(microseconds=1)
    assert found == [
        ["nis2_early_warning"],
        ["gdpr_notification", "nis2_early_warning", "nis2_notification"],
    ]
