"""Every field that a statute asks for, from a history of real use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guard.app.denial import Denied
from guard.app.filings import Filings
from guard.core import envelope as dsse
from guard.core.fields import encode_base64, format_time
from guard.core.filing import Filing, FilingKind, encode_filing
from guard.core.findings import Finding, FindingKind
from guard.core.instruments import Instrument
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from guard.core.statutes import CERTIFIED, LOGGED, certification, counts, log_entry
from guard.core.uses import Outcome, Use, UseBook
from guard.core.window import Window
from tests.builders.chronicle import Chronicle, dropped
from tests.builders.deployment import SUBJECT, TEST_SUBJECT, sign

HOUR = timedelta(hours=1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Chronicle]:
    """Run use cases with a clock at hand."""
    async with Chronicle(tmp_path) as made:
        yield made


def book(log: Chronicle) -> UseBook:
    made = UseBook(log.site.pinned)
    for index, record in enumerate(log.records()):
        made.apply(index, record)
    return made


def uses(log: Chronicle) -> list[Use]:
    period = Window(not_before=log.site.now - HOUR, not_after=log.now + HOUR)
    return book(log).uses(period)


async def warranted(log: Chronicle) -> str:
    """Run a warrant's capture from its beginning to its end; return the grant."""
    await log.approved(Instrument.INTERCEPTION_ORDER)
    await log.sweep.run()
    (granted,) = [each for each in log.records() if each.kind == "capture_granted"]
    grant_id = str(granted.body["grant_id"])
    await log.run_capture(grant_id)
    return grant_id


async def test_the_certification_has_its_six_fields(log: Chronicle) -> None:
    """47 CFR 1.20004(a)(1) to (6): all but the sealed identifiers and the overseer are there."""
    grant_id = await warranted(log)
    (use,) = book(log).find(grant_id)
    made = certification(use)
    assert list(CERTIFIED) == [
        *("identifiers", "started", "officer", "authorized_by", "type", "overseer")
    ]
    assert made["started"] == format_time(log.site.now)
    assert made["officer"] == "Special Agent K. Lindqvist, Federal Bureau"
    assert made["authorized_by"] == "Judge R. Alvarez, District Court, Eastern District"
    assert made["type"].startswith("interception order (Title III")
    assert (made["identifiers"], made["overseer"]) == (None, None)
    assert made["authorized"] is True
    assert len(made["subjects_commitment"]) == 64
    assert SUBJECT not in str(made)


async def test_an_entry_of_the_log_has_its_six_fields(log: Chronicle) -> None:
    """TKÜV section 16(1) Nr. 1 to 6; number 5 only when it is asked for."""
    await warranted(log)
    (use,) = uses(log)
    made = log_entry(use, persons=True)
    assert set(LOGGED) <= made.keys()
    assert made["reference"] == "CASE-2026-0042"
    assert made["identifier"].startswith("sealed, SHA-256 ")
    assert made["times"] == [{"from": format_time(log.site.now), "to": format_time(log.now)}]
    assert made["delivered_to"] == [log.site.people["legal-1"].recipient]
    assert (made["entered_by"], made["registered_by"]) == ("legal-1", "legal-1")
    assert made["approved_by"] == ["legal-2"]
    assert made["entered_at"] == format_time(log.site.now)
    without = log_entry(use, persons=False)
    assert not {"entered_by", "registered_by", "approved_by", "started_by"} & without.keys()
    assert "legal-" not in str(without)


async def test_the_union_of_fields_is_in_every_entry(log: Chronicle) -> None:
    """What the statutes ask for besides: counts, level, node, equipment, planned end, why."""
    await warranted(log)
    (use,) = uses(log)
    made = log_entry(use, persons=False)
    expected = {
        "instrument": "interception_order",
        "legal_basis": "18 U.S.C. § 2518",
        "issuing_authority": "District Court, Eastern District",
        "outcome": "ran",
        "level": "content",
        "node": "node-1",
        "test": False,
        "abusive_or_faulty": False,
        "segments": 1,
        "packets": 3,
        "bytes": 300,
        "drops": 0,
        "extends": 0,
        "equipment": log.site.nodes["node-1"].signer.public_key.keyid,
        "planned_to": format_time(log.site.now + HOUR),
    }
    assert {name: made[name] for name in expected} == expected
    assert len(made["order_sha256"]) == 64
    assert {each["why"] for each in made["ended"]} == {"stopped"}


async def test_a_disruption_is_told_of_the_captures_that_it_touched(log: Chronicle) -> None:
    """A fault of one capture is not on another's certificate; one of the node is on both."""
    one, other = await log.grant(), await log.grant()
    made = book(log)
    at = len(log.records())
    found = [
        Finding(
            kind=FindingKind.GRANTED_NOT_ARMED,
            since=log.now,
            detail="",
            node="node-1",
            grant_id=one,
        ),
        Finding(kind=FindingKind.NODE_SILENT, since=log.now, detail="", node="node-1"),
        Finding(kind=FindingKind.NODE_SILENT, since=log.now, detail="", node="node-2"),
    ]
    for index, each in enumerate(found, at):
        made.apply(index, log.office.record(RecordKind.FINDING, log.now, each.body()))
    assert [each.what for use in made.find(one) for each in use.disruptions] == [
        "granted_not_armed",
        "node_silent",
    ]
    assert [each.what for use in made.find(other) for each in use.disruptions] == ["node_silent"]
    closed = {"key": found[0].key, "what": found[0].kind.value}
    made.apply(at + len(found), log.office.record(RecordKind.FINDING_CLOSED, log.now, closed))
    (use,), (aside,) = made.find(one), made.find(other)
    assert [each.ended for each in use.disruptions] == [log.now, None]
    assert [each.ended for each in aside.disruptions] == [None]


async def test_refused_requests_and_tests_are_uses_too(log: Chronicle) -> None:
    """A denied request, a denied registration, a grant that the node refused, a test, an incident."""
    with pytest.raises(Denied):
        await log.capture("00000000-0000-4000-8000-000000000000")
    with pytest.raises(Denied):
        await log.register(log.site.register(log.site.authority()), by="lead-1")
    refused = await log.grant()
    await log.node.send(log.node.receipt(refused, ReceiptKind.REFUSED, reason="clock_in_doubt"))
    test = await log.approved(Instrument.TEST)
    await log.run_capture(await log.grant(test))
    await log.node.send(log.node.receipt(None, ReceiptKind.INCIDENT, what="recording_refused"))
    found = uses(log)
    assert [(each.outcome, each.reason) for each in found] == [
        (Outcome.DENIED, "authority_unknown"),
        (Outcome.DENIED, "caller_role_wrong"),
        (Outcome.NEVER_RAN, "clock_in_doubt"),
        (Outcome.RAN, ""),
        (Outcome.INCIDENT, "recording_refused"),
    ]
    assert [each.test for each in found] == [False, False, False, True, False]
    assert [each.under_suspicion for each in found] == [True, True, True, False, True]
    denied = log_entry(found[1], persons=True)
    assert (denied["reference"], denied["entered_by"]) == ("CASE-2026-0042", "lead-1")
    assert denied["identifier"].startswith("sealed")
    told = str([log_entry(each, persons=True) for each in found])
    assert SUBJECT not in told
    assert TEST_SUBJECT not in told


async def test_an_extension_is_counted_by_its_reference(log: Chronicle) -> None:
    """A second warrant of the same reference extends the first."""
    await warranted(log)
    second = await log.approved(Instrument.INTERCEPTION_ORDER)
    await log.sweep.run()
    first, then = uses(log)
    assert (first.extends, then.extends, then.authority_id) == (0, 1, second)


async def test_what_may_be_published(log: Chronicle) -> None:
    """Numbers alone, and small ones only on request."""
    await warranted(log)
    for _ in range(6):
        with pytest.raises(Denied):
            await log.capture("00000000-0000-4000-8000-000000000000")
    period = Window(not_before=log.site.now - HOUR, not_after=log.now + HOUR)
    exact: dict[str, Any] = counts(book(log), period, suppress=False)
    assert exact["authorities"]["interception_order"] == {
        "registered": 1,
        "approved": 1,
        "denied": 0,
        "revoked": 0,
        "expired": 0,
    }
    assert (exact["interceptions"], exact["packets"]) == ({"interception_order": 1}, 3)
    assert (exact["denied"], exact["days_authorized"], exact["days_active"]) == (
        {"authority_unknown": 6},
        1,
        1,
    )
    public = counts(book(log), period, suppress=True)
    assert public["interceptions"] == {"interception_order": "<5"}
    assert public["denied"] == {"authority_unknown": 6}
    assert public["authorities"]["interception_order"]["revoked"] == 0
    assert (public["packets"], public["days_active"]) == ("withheld", "withheld")
    assert "CASE-2026-0042" not in str(public)
    assert "node-1" not in str(public)


async def test_a_use_belongs_to_the_period_in_which_it_was_entered(log: Chronicle) -> None:
    """The period is half-open, and counted by the entry's own time."""
    await warranted(log)
    now = log.site.now
    for start, end, listed in (
        (now, now + HOUR, 1),
        (now - HOUR, now, 0),
        (now + timedelta(microseconds=1), now + HOUR, 0),
    ):
        assert len(book(log).uses(Window(not_before=start, not_after=end))) == listed


async def test_days_count_where_they_lie_in_the_period(log: Chronicle) -> None:
    """Nothing that nobody approved is authorised, nor anything outside the period."""
    await log.register(log.site.register(log.site.authority()))
    await warranted(log)
    now = log.site.now
    hour = Window(not_before=now - HOUR, not_after=now + HOUR)
    told = counts(book(log), hour, suppress=False)
    assert (told["days_authorized"], told["days_active"]) == (1, 1)
    after = Window(not_before=now + 2 * HOUR, not_after=now + 3 * HOUR)
    told = counts(book(log), after, suppress=False)
    assert (told["days_authorized"], told["days_active"]) == (0, 0)


async def test_denied_orders_are_counted_by_instrument(log: Chronicle) -> None:
    """An order that was refused at its registration is one that was denied."""
    order = log.site.register(log.site.authority(Instrument.INTERCEPTION_ORDER))
    with pytest.raises(Denied):
        await log.register(order, by="legal-2")
    period = Window(not_before=log.site.now - HOUR, not_after=log.now + HOUR)
    told = counts(book(log), period, suppress=False)
    assert told["authorities"]["interception_order"]["denied"] == 1


async def test_what_was_entered_when_is_not_what_was_asked_for_when(log: Chronicle) -> None:
    """The statutes' entry is the registration; the request under it stands beside."""
    ticket = await log.approved()
    log.clock.move(minutes=10)
    await log.grant(ticket)
    (use,) = uses(log)
    made = log_entry(use, persons=True)
    assert made["entered_at"] == format_time(log.site.now)
    assert made["requested_at"] == format_time(log.now)
    assert (made["entered_by"], made["requested_by"]) == ("operator-1", "operator-1")


async def test_an_erased_use_leaves_no_gap(log: Chronicle) -> None:
    """Its entry stays, by its number and time, with the leaf that a sample is drawn from."""
    await warranted(log)
    with log.ledger.reads() as view:
        entries = view.entries(0, view.size())
    whole, erased = UseBook(log.site.pinned), UseBook(log.site.pinned)
    for index, entry in enumerate(entries):
        whole.take(index, entry)
        gone = entry.kind == "capture_granted"
        erased.take(index, entry._replace(salt=None, body=None) if gone else entry)
    period = Window(not_before=log.site.now - HOUR, not_after=log.now + HOUR)
    (before,), (after,) = whole.uses(period), erased.uses(period)
    assert (after.index, after.entered, after.leaf) == (before.index, before.entered, before.leaf)
    assert after.outcome is Outcome.ERASED
    assert log_entry(after, persons=True)["reference"] is None


async def test_a_capture_without_the_signatures_is_certified_as_unauthorized(
    log: Chronicle,
) -> None:
    """The guard's word is not enough: the second person's signature must be on record."""
    grant_id = await warranted(log)
    assert book(log).find(grant_id)[0].authorized
    made = UseBook(log.site.pinned)
    for index, record in enumerate(dropped(log.records(), RecordKind.AUTHORITY_APPROVED)):
        made.apply(index, record)
    (use,) = made.find(grant_id)
    assert (use.authorized, use.under_suspicion) == (False, True)
    draft = certification(use)
    assert draft["authorized"] is False
    assert draft["amiss"]


async def test_what_was_denied_has_a_certification_too(log: Chronicle) -> None:
    """47 CFR 1.20004(a): with or without appropriate authorization, named by its record."""
    with pytest.raises(Denied):
        await log.register(log.site.register(log.site.authority()), by="lead-1")
    (use,) = uses(log)
    (found,) = book(log).find(use.index)
    draft = certification(found)
    assert (draft["authorized"], draft["grant_id"], draft["record"]) == (False, None, use.index)
    assert draft["sealed_subjects"] is not None
    assert await filed(log, record=use.index)
    assert [each.by for each in book(log).find(use.index)[0].certificates] == ["legal-1"]


async def test_a_review_stands_in_every_entry_of_its_period(log: Chronicle) -> None:
    """Who reviewed, with what result; only of the period, and only by the reviewer's own hand."""
    await warranted(log)
    period = Window(not_before=log.site.now - HOUR, not_after=log.now)
    signed = review(log, period, by="auditor-1")
    await Filings(log.office).file(signed, FilingKind.REVIEW, log.auditor)
    (use,) = uses(log)
    assert [(e["by"], e["result"]) for e in log_entry(use, persons=False)["reviews"]] == [
        ("auditor-1", "as ordered")
    ]
    forged = review(log, period, by="auditor-1", hand="operator-1")
    body = {"by": "auditor-1", "document": encode_base64(forged), "document_digest": "ab" * 32}
    planted = log.office.record(RecordKind.REVIEW_FILED, log.now, body)
    made = UseBook(log.site.pinned)
    for index, record in enumerate([*log.records(), planted]):
        made.apply(index, record)
    (use,) = [e for e in made.uses(period) if e.grant_id]
    assert len(use.reviews) == 1
    other = Window(not_before=log.now, not_after=log.now + HOUR)
    assert not book(log).uses(other)


async def filed(log: Chronicle, **about: Any) -> int:
    """File legal-1's certificate and return its record."""
    made = Filing(
        kind=FilingKind.CERTIFICATE, by="legal-1", time=log.now, document="ab" * 32, **about
    )
    envelope = sign(encode_filing(made), dsse.Kind.FILING, [log.site.people["legal-1"].signer])
    legal = log.site.principal("legal-1")
    return await Filings(log.office).file(envelope, FilingKind.CERTIFICATE, legal)


def review(log: Chronicle, period: Window, by: str, hand: str | None = None) -> bytes:
    made = Filing(
        kind=FilingKind.REVIEW,
        by=by,
        time=log.now,
        document="ab" * 32,
        period=period,
        result="as ordered",
    )
    signer = log.site.people[hand or by].signer
    return sign(encode_filing(made), dsse.Kind.FILING, [signer])
