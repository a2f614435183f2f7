"""Incidents on real ledgers: noted with their records, listed, shown on record, assessed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from guard.app.changes import PutIncident
from guard.app.denial import MalformedError, UnknownError
from guard.app.incidents import IncidentDesk, Judgement
from guard.app.ports import LedgerUnavailable, Plan, Reads
from guard.app.retention import Retention
from guard.core.incidents import Incident
from guard.core.receipt import ReceiptKind
from guard.core.record import Record, RecordKind
from guard.core.reporting import ClockName, Law, Verdict
from tests.builders.deployment import new_id
from tests.builders.house import House, NodeHand

NIS2 = (ClockName.NIS2_EARLY_WARNING, ClockName.NIS2_NOTIFICATION, ClockName.NIS2_FINAL_REPORT)


def desk(house: House, *laws: Law) -> IncidentDesk:
    return IncidentDesk(office=house.office, audit=house.audit, laws=laws or tuple(Law))


async def happen(house: House, hand: NodeHand, what: str = "capture_socket", **more: Any) -> None:
    """Let a node state that something happened."""
    said = hand.receipt(None, ReceiptKind.INCIDENT, what=what, **more)
    await house.receipts.take(said, hand.identity)


def rows(house: House) -> list[Incident]:
    with house.ledger.reads() as view:
        return view.incidents(limit=500, before=None, only_open=False)[::-1]


def of_kind(house: House, kind: RecordKind) -> list[Record]:
    return [each for each in house.records_kept() if each.kind is kind]


def said(verdict: Verdict = Verdict.NOT_REPORTABLE, *clocks: ClockName, **more: Any) -> Judgement:
    return Judgement(verdict=verdict, clocks=frozenset(clocks), words="a planned test", **more)


async def test_an_incident_is_noted_with_its_record(house: House) -> None:
    """Its number is the record's, and it is known since the guard wrote that."""
    hand = NodeHand(house.site)
    house.clock.move(seconds=5)
    await happen(house, hand)
    (row,) = rows(house)

    assert house.records()[row.id].kind is RecordKind.INCIDENT
    assert (row.kind, row.node, row.count) == ("capture_socket", "node-1", 1)
    assert row.first == house.records()[row.id].time == house.clock.now()


async def test_a_flood_is_one_incident_and_every_record_is_there(house: House) -> None:
    """Two kinds on two nodes, many times: four incidents whose counts add up."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    for number in range(60):
        house.clock.move(seconds=1)
        await happen(house, hands[number % 2], ("capture_socket", "xdp")[number // 2 % 2], n=number)
    found = {(row.node, row.kind): row for row in rows(house)}

    assert len(found) == 4
    assert all(row.count == 15 for row in found.values())
    assert len(of_kind(house, RecordKind.INCIDENT)) == 60
    last = found["node-2", "xdp"].last_record
    assert house.records()[last].body["details"] == {"what": "xdp", "n": 59}


async def test_the_next_hour_has_its_own(house: House) -> None:
    """So that it is told of anew, with clocks of its own."""
    hand = NodeHand(house.site)
    for _ in range(3):
        await happen(house, hand)
        house.clock.move(minutes=59)
    assert [row.count for row in rows(house)] == [2, 1]


async def test_several_records_of_one_plan_are_counted(house: House) -> None:
    """Two of a kind in one transaction are one incident, not the last of two."""

    def plan(_view: Reads, _index: int) -> Plan[None]:
        bodies = [{"node": "node-1", "what": what} for what in ("x", "receipts_lost", "x")]
        now = house.clock.now()
        records = [house.office.record(RecordKind.INCIDENT, now, body) for body in bodies]
        return Plan(result=None, records=records)

    await house.office.execute(plan)
    assert [(row.kind, row.count) for row in rows(house)] == [("x", 2), ("chain_broken", 1)]


async def test_a_record_that_is_not_written_leaves_no_incident(house: House) -> None:
    """Neither is there without the other."""

    def plan(view: Reads, index: int) -> Plan[None]:
        body = {"node": "node-1", "what": "capture_socket"}
        record = house.office.record(RecordKind.INCIDENT, house.clock.now(), body)
        bad = {"x": "y" * 600_000}  # too large to be written
        other = house.office.record(RecordKind.INCIDENT, house.clock.now(), bad)
        return Plan(result=None, records=(record, other))

    with pytest.raises(Exception, match="document_malformed"):
        await house.office.execute(plan)
    assert rows(house) == []
    house.ledger.close()
    with pytest.raises(LedgerUnavailable):
        await house.office.execute(lambda _v, _i: Plan(result=None))
    assert rows(house) == []


async def test_findings_of_capture_and_silence_are_incidents(house: House) -> None:
    """A ghost is, and a node that is silent and so untrusted; a grant not armed in time is none."""
    await house.capture(await house.approved())
    hand, ghost = NodeHand(house.site), new_id()
    await house.reconciler.look()
    await house.receipts.take(hand.receipt(ghost), hand.identity)
    await house.reconciler.look()
    for _ in range(601):
        house.clock.move(seconds=1)
        await house.reconciler.look()
    assert {(row.kind, row.node, row.count) for row in rows(house)} == {
        ("armed_not_granted", "node-1", 1),
        ("node_untrusted", "node-1", 2),
        ("node_untrusted", "node-2", 2),
    }


async def test_a_denied_request_is_none(house: House) -> None:
    """It is on record, and nobody is woken."""
    await house.refusals.wrong_role("/m", "operator-1")
    assert of_kind(house, RecordKind.REQUEST_DENIED)
    assert rows(house) == []


async def test_showing_one_is_on_record_first(house: House) -> None:
    """Its reader sees what the node said of it; listing shows none of that and leaves no record."""
    hand, auditor = NodeHand(house.site), house.auditor
    await happen(house, hand, pid=4711, unit="tcpdump.service")
    (row,) = rows(house)
    (listed,) = desk(house).listed(limit=9, before=None, only_open=True)
    assert listed.details is None
    assert of_kind(house, RecordKind.RECORDS_READ) == []

    shown = await desk(house).show(row.id, auditor)
    assert shown.details == {"what": "capture_socket", "pid": 4711, "unit": "tcpdump.service"}
    (read,) = of_kind(house, RecordKind.RECORDS_READ)
    assert (read.body["by"], read.body["start"], read.body["end"]) == (
        "auditor-1",
        row.id,
        row.id + 1,
    )
    with pytest.raises(UnknownError):
        await desk(house).show(row.id + 1, auditor)


async def test_legal_dismisses_an_incident(house: House) -> None:
    """All its clocks stop, on record with the reason, and it is not open any more."""
    await happen(house, NodeHand(house.site))
    (row,) = rows(house)
    shown = await desk(house).assess(row.id, said(), house.site.principal("legal-1"))
    (record,) = of_kind(house, RecordKind.INCIDENT_ASSESSED)

    assert record.body == {
        "by": "legal-1",
        "clocks": [each.value for each in ClockName],
        "incident": row.id,
        "verdict": "not_reportable",
        "why": "a planned test",
    }
    assert all(
        each.stopped and each.stopped.record == len(house.records()) - 1 for each in shown.clocks
    )
    assert desk(house).listed(limit=9, before=None, only_open=True) == []
    assert len(desk(house).listed(limit=9, before=None, only_open=False)) == 1


async def test_what_was_reported_stops_its_own_clock(house: House) -> None:
    """The early warning is out; the notification runs on, and then the month counts from it."""
    await happen(house, NodeHand(house.site))
    (row,) = rows(house)
    office, legal = desk(house, Law.NIS2), house.site.principal("legal-2")
    house.clock.move(hours=2)
    when = {"reported_at": house.clock.now() - timedelta(minutes=5)}
    shown = await office.assess(row.id, said(Verdict.REPORTED, NIS2[0], **when), legal)
    assert [each.stopped is None for each in shown.clocks] == [False, True, True]
    (record,) = of_kind(house, RecordKind.INCIDENT_ASSESSED)
    assert (record.body["to"], record.body["clocks"]) == ("a planned test", [NIS2[0].value])
    assert record.body["reported_at"] == "2026-11-23T23:55:00Z"

    shown = await office.assess(row.id, said(Verdict.REPORTED, NIS2[1], **when), legal)
    final = shown.clocks[2]
    assert final.due == when["reported_at"].replace(month=12)
    assert (final.stopped, rows(house)[0].open) == (None, True)
    await office.assess(row.id, said(Verdict.REPORTED, NIS2[2], **when), legal)
    assert rows(house)[0].open is False


async def test_a_later_assessment_takes_the_place_of_the_former(house: House) -> None:
    """Both are on record."""
    await happen(house, NodeHand(house.site))
    (row,) = rows(house)
    office, legal = desk(house, Law.GDPR), house.site.principal("legal-1")
    await office.assess(row.id, said(), legal)
    late = said(Verdict.REPORTED, ClockName.GDPR_NOTIFICATION, reported_at=house.clock.now())
    shown = await office.assess(row.id, late, legal)
    (clock,) = shown.clocks
    assert clock.stopped is not None
    assert clock.stopped.verdict is Verdict.REPORTED
    assert len(rows(house)[0].assessments) == 1
    assert len(of_kind(house, RecordKind.INCIDENT_ASSESSED)) == 2


async def test_what_comes_after_an_assessment_runs_new_clocks(house: House) -> None:
    """Nobody dismisses in advance."""
    hand = NodeHand(house.site)
    await happen(house, hand)
    await desk(house).assess(rows(house)[0].id, said(), house.site.principal("legal-1"))
    house.clock.move(seconds=1)
    await happen(house, hand)
    assert [(row.open, row.count) for row in rows(house)] == [(False, 1), (True, 1)]


async def test_what_makes_no_sense_is_not_put_on_record(house: House) -> None:
    """An unknown incident, a clock of another law, no clock named, a report of tomorrow."""
    await happen(house, NodeHand(house.site))
    (row,) = rows(house)
    office, legal = desk(house, Law.GDPR), house.site.principal("legal-1")
    now, gdpr = house.clock.now(), ClockName.GDPR_NOTIFICATION
    tomorrow = said(Verdict.REPORTED, gdpr, reported_at=now + timedelta(days=1))
    for wrong in (
        said(Verdict.NOT_REPORTABLE, NIS2[0]),
        said(Verdict.REPORTED, reported_at=now),
        tomorrow,
    ):
        with pytest.raises(MalformedError):
            await office.assess(row.id, wrong, legal)
    with pytest.raises(UnknownError):
        await office.assess(row.id + 1, said(), legal)
    assert of_kind(house, RecordKind.INCIDENT_ASSESSED) == []
    await office.assess(row.id, said(), legal)
    with pytest.raises(MalformedError, match="no clock runs"):
        await office.assess(row.id, said(), legal)


async def test_an_assessed_incident_is_erased_with_its_records(house: House) -> None:
    """One that nobody assessed stays, and says that its record is gone."""
    hand = NodeHand(house.site)
    await happen(house, hand)
    await happen(house, hand, "xdp")
    assessed, left = rows(house)
    await desk(house).assess(assessed.id, said(), house.site.principal("legal-1"))
    house.clock.move(days=401)
    await house.cosign()
    assert await Retention(house.office, timedelta(days=400)).erase() > 0

    assert [row.id for row in rows(house)] == [left.id]
    house.clock.move(hours=1)  # who reads while something is erased has to read again
    assert (await desk(house).show(left.id, house.auditor)).details == {}


async def test_a_change_of_an_incident_has_a_record(house: House) -> None:
    """As every change: a plan that only changes is refused by the ledger."""
    await happen(house, NodeHand(house.site))
    (row,) = rows(house)
    with pytest.raises(ValueError, match="without a record"):
        await house.office.execute(lambda _v, _i: Plan(result=None, changes=(PutIncident(row),)))
