"""The auditor's questions, asked of a log whose every record was written by the real use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from guard.core import envelope as dsse
from guard.core.answers import Discrepancy, Verdict
from guard.core.ending import ending
from guard.core.envelope import Kind
from guard.core.fields import encode_base64
from guard.core.instruments import Instrument
from guard.core.interceptions import Interceptions, interceptions
from guard.core.receipt import Receipt, ReceiptKind, encode_receipt
from guard.core.record import LEAST_KEPT, Record, RecordKind
from guard.core.silence import Silence, silence
from guard.core.window import Window
from tests.builders.chronicle import (
    EVERY,
    Chronicle,
    Hand,
    added,
    changed,
    dropped,
    first,
    history_of,
    new_grant,
    swapped,
)
from tests.builders.deployment import Deployment, sign
from tests.builders.healths import OBSERVING

HOUR = timedelta(hours=1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Chronicle]:
    """Run a guard's use cases in memory, with nodes at hand."""
    async with Chronicle(tmp_path) as made:
        yield made


def around(log: Chronicle, before: timedelta = HOUR, after: timedelta = HOUR) -> Window:
    return Window(not_before=log.site.now - before, not_after=log.now + after)


def asked(log: Chronicle, records: Sequence[Record] | None = None) -> Interceptions:
    return interceptions(log.history(records), around(log), now=log.now)


def kinds(found: Sequence[Discrepancy]) -> list[str]:
    """Return the kinds found, each once, having seen that every one is a sentence."""
    assert all(each.sentence and "\n" not in each.sentence for each in found)
    return list(dict.fromkeys(each.kind.value for each in found))


# --- interceptions --------------------------------------------------------------------------------


async def test_an_honest_capture_is_told_in_full(log: Chronicle) -> None:
    """Grant, node, level, authority, signers, times, packets and who asked; nothing is amiss."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.beat()
    await log.run_capture(grant_id)
    answer = asked(log)
    assert answer.discrepancies == ()
    (one,) = answer.interceptions
    authority = log.office.readings.authority(log.authorities.get(ticket, log.auditor).row.envelope)
    assert (one.grant_id, one.node, one.authority_id) == (grant_id, "node-1", ticket)
    assert (one.level, one.instrument, one.reference) == (
        authority.level,
        "ticket",
        authority.reference,
    )
    assert [(each.name, each.roles) for each in one.signers] == [
        ("operator-1", ("operator",)),
        ("lead-1", ("approver",)),
    ]
    assert (one.window, one.granted) == (authority.window, log.site.now)
    assert (one.requested_by, one.started_by) == ("operator-1", "operator-1")
    assert one.armed == (log.site.now,)
    assert [(each.why, each.by) for each in one.ended] == [
        ("stopped", "operator-1"),
        ("stopped", "node-1"),
    ]
    counted = one.traffic
    assert (counted.segments, one.stored, counted.packets, counted.bytes) == (1, 1, 3, 300)
    assert (counted.first, counted.last) == (log.site.now, log.now)
    assert (one.begun, one.over) == (log.site.now, log.now)


async def test_a_warrant_that_begins_by_itself_says_who_began_it(log: Chronicle) -> None:
    """The registrant stands for it, the guard began it."""
    await log.approved(Instrument.INTERCEPTION_ORDER)
    await log.sweep.run()
    (one,) = asked(log).interceptions
    assert (one.requested_by, one.started_by) == ("legal-1", "guard-1")
    assert one.legal_basis == "18 U.S.C. § 2518"
    assert (one.armed, one.over) == ((), None)


@pytest.mark.parametrize(
    ("start", "end", "listed"),
    [
        (timedelta(seconds=-10), timedelta(0), False),
        (timedelta(seconds=-10), timedelta(seconds=1), True),
        (timedelta(seconds=20), timedelta(seconds=21), True),
        (timedelta(seconds=60), timedelta(seconds=61), True),
        (timedelta(seconds=61), HOUR, False),
    ],
)
async def test_the_period_is_half_open(
    log: Chronicle, start: timedelta, end: timedelta, listed: bool
) -> None:
    """What begins when the period ends is not in it; what ends when it begins is."""
    await log.run_capture(await log.grant(), seconds=60)
    begun = log.site.now
    period = Window(not_before=begun + start, not_after=begun + end)
    answer = interceptions(log.history(), period, now=log.now)
    assert bool(answer.interceptions) is listed


async def test_a_refused_grant_is_no_interception(log: Chronicle) -> None:
    """The node refused it before it ever ran."""
    grant_id = await log.grant()
    await log.node.send(log.node.receipt(grant_id, ReceiptKind.REFUSED, reason="clock_in_doubt"))
    assert asked(log).interceptions == ()
    assert asked(log).discrepancies == ()


async def test_what_was_wrong_with_a_refused_grant_is_told(log: Chronicle) -> None:
    """A grant that the guard should not have made is named, though it never ran."""
    grant_id = await log.grant()
    await log.node.send(log.node.receipt(grant_id, ReceiptKind.REFUSED, reason="approvals_missing"))
    answer = asked(log, dropped(log.records(), RecordKind.AUTHORITY_APPROVED))
    assert answer.interceptions == ()
    assert kinds(answer.discrepancies) == ["authority_differs", "authority_not_approved"]
    late = Window(not_before=log.now + HOUR, not_after=log.now + 2 * HOUR)
    records = dropped(log.records(), RecordKind.AUTHORITY_APPROVED)
    assert interceptions(log.history(records), late, now=log.now).discrepancies == ()


async def test_what_still_runs_has_no_end(log: Chronicle) -> None:
    """An armed capture runs until its node says otherwise, or its grant is over."""
    grant_id = await log.grant()
    await log.node.arm(grant_id)
    assert asked(log).interceptions[0].over is None
    log.clock.move(hours=3)
    (one,) = asked(log).interceptions
    assert one.over == log.site.now + HOUR


async def test_an_authority_that_nobody_registered(log: Chronicle) -> None:
    """A grant under an authority that the log does not hold."""
    await log.run_capture(await log.grant())
    records = dropped(log.records(), RecordKind.AUTHORITY_APPROVED)
    answer = asked(log, dropped(records, RecordKind.AUTHORITY_REGISTERED))
    assert kinds(answer.discrepancies) == ["authority_unknown"]
    assert answer.interceptions[0].reference is None


async def test_a_forged_authority(log: Chronicle) -> None:
    """Somebody writes an authority in the registrant's name and signs with a key of their own."""
    await log.run_capture(await log.grant())
    stranger = Deployment()
    records = log.records()
    envelope = log.authorities.get(
        log.authority_of(next(iter(log.history().captures))), log.auditor
    ).row.envelope
    payload = dsse.parse(envelope, Kind.AUTHORITY).payload
    forged = dsse.encode(dsse.sign(payload, Kind.AUTHORITY, stranger.people["operator-1"].signer))
    registered = changed(
        records,
        RecordKind.AUTHORITY_REGISTERED,
        envelope=encode_base64(forged),
        authority_digest=dsse.digest(forged),
    )
    approval = records[first(records, RecordKind.AUTHORITY_APPROVED)].body
    signed = dsse.with_signature(
        dsse.parse(forged, Kind.AUTHORITY),
        next(
            each
            for each in dsse.parse(envelope, Kind.AUTHORITY).signatures
            if each.keyid == approval["keyid"]
        ),
    )
    digest = dsse.digest(dsse.encode(signed))
    approved = changed(registered, RecordKind.AUTHORITY_APPROVED, authority_digest=digest)
    granted = changed(approved, RecordKind.CAPTURE_GRANTED, authority_digest=digest)
    answer = asked(log, granted)
    assert kinds(answer.discrepancies) == ["authority_not_approved"]
    assert answer.interceptions[0].signers == ()


async def test_a_missing_approval(log: Chronicle) -> None:
    """The second person never signed, and the grant's record names the envelope without them."""
    await log.run_capture(await log.grant())
    records = log.records()
    digest = records[first(records, RecordKind.AUTHORITY_REGISTERED)].body["authority_digest"]
    records = dropped(records, RecordKind.AUTHORITY_APPROVED)
    records = changed(records, RecordKind.CAPTURE_GRANTED, authority_digest=digest)
    assert kinds(asked(log, records).discrepancies) == ["authority_not_approved"]


async def test_a_grant_of_another_envelope(log: Chronicle) -> None:
    """The digest ties the grant to one set of signatures."""
    await log.run_capture(await log.grant())
    records = changed(log.records(), RecordKind.CAPTURE_GRANTED, authority_digest="0" * 64)
    assert kinds(asked(log, records).discrepancies) == ["authority_differs"]


async def test_a_registration_that_names_another_envelope(log: Chronicle) -> None:
    """The digest beside an envelope is the envelope's."""
    await log.run_capture(await log.grant())
    records = changed(log.records(), RecordKind.AUTHORITY_REGISTERED, authority_digest="0" * 64)
    assert kinds(asked(log, records).discrepancies) == ["authority_differs"]


async def test_an_authority_under_another_id(log: Chronicle) -> None:
    """Records give an authority an id that the people did not sign."""
    await log.run_capture(await log.grant())
    records: Sequence[Record] = log.records()
    other = new_grant()
    for kind in (
        RecordKind.AUTHORITY_REGISTERED,
        RecordKind.AUTHORITY_APPROVED,
        RecordKind.CAPTURE_GRANTED,
    ):
        records = changed(records, kind, authority_id=other)
    assert kinds(asked(log, records).discrepancies) == ["authority_not_approved"]


async def test_an_authority_registered_twice(log: Chronicle) -> None:
    """One id, one authority: a second registration is said and changes nothing."""
    await log.run_capture(await log.grant())
    records = log.records()
    at = first(records, RecordKind.AUTHORITY_REGISTERED)
    answer = asked(log, added(records, records[at], first(records, RecordKind.CAPTURE_GRANTED)))
    assert kinds(answer.discrepancies) == ["authority_differs"]
    assert len(answer.interceptions[0].signers) == 2


async def test_expired_on_record_before_the_grant(log: Chronicle) -> None:
    """The guard had put its end on record already."""
    ticket = await log.approved()
    await log.run_capture(await log.grant(ticket))
    body = {"authority_id": ticket, "state_before": "approved"}
    expired = log.office.record(RecordKind.AUTHORITY_EXPIRED, log.site.now, body)
    records = log.records()
    planted = added(records, expired, first(records, RecordKind.CAPTURE_GRANTED))
    assert kinds(asked(log, planted).discrepancies) == ["authority_ended"]


async def test_a_grant_under_an_expired_policy(tmp_path: Path) -> None:
    """Nothing is permitted once the trust policy is over, whoever has signed."""
    site = Deployment()
    site.adopt(expires_at=site.now + timedelta(minutes=10))
    async with Chronicle(tmp_path, site) as log:
        await log.run_capture(await log.grant())
        records = log.records()
        at = first(records, RecordKind.CAPTURE_GRANTED)
        late = replace(records[at], time=site.now + timedelta(minutes=10))
        found = asked(log, [*records[:at], late, *records[at + 1 :]]).discrepancies
        assert kinds(found) == ["authority_not_approved"]


async def test_revoked_before_the_grant(log: Chronicle) -> None:
    """The revocation stands before the grant in the log."""
    ticket = await log.approved()
    await log.run_capture(await log.grant(ticket), seconds=10)
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    records = log.records()
    revoked = replace(records.pop(), time=log.site.now)
    assert revoked.kind is RecordKind.AUTHORITY_REVOKED
    at = first(records, RecordKind.CAPTURE_GRANTED)
    found = asked(log, added(records, revoked, at)).discrepancies
    assert kinds(found) == ["authority_ended"]
    assert found[0].index == at + 1


async def test_expired_before_the_grant(log: Chronicle) -> None:
    """The guard put a grant on record after the authority's window."""
    await log.run_capture(await log.grant())
    records = log.records()
    at = first(records, RecordKind.CAPTURE_GRANTED)
    late = replace(records[at], time=log.site.now + HOUR)
    found = asked(log, [*records[:at], late, *records[at + 1 :]]).discrepancies
    assert kinds(found) == ["authority_ended"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"level": "content"}, "grant_beyond_authority"),
        ({"lease_seconds": 61}, "grant_beyond_authority"),
        ({"not_after": "2026-11-24T22:00:00Z"}, "grant_beyond_authority"),
        ({"principal": "lead-1"}, "requester_wrong"),
        ({"signers": ["operator-1"]}, "authority_differs"),
        ({"provisional": True}, "authority_differs"),
    ],
)
async def test_a_grant_that_its_authority_does_not_bear(
    log: Chronicle, body: dict[str, object], kind: str
) -> None:
    """Level, lease, window, requester and signers are the authority's and the rule's."""
    await log.run_capture(await log.grant())
    records = changed(log.records(), RecordKind.CAPTURE_GRANTED, **body)
    assert kinds(asked(log, records).discrepancies) == [kind]


async def test_another_node_than_the_authority_names(log: Chronicle) -> None:
    """A grant for node-2 under an authority for node-1."""
    grant_id = await log.grant()
    await log.hands["node-2"].arm(grant_id)
    records = changed(log.records(), RecordKind.CAPTURE_GRANTED, node="node-2")
    assert kinds(asked(log, records).discrepancies) == ["node_not_named"]


async def test_another_node_than_the_grant_names(log: Chronicle) -> None:
    """node-2 runs what was granted to node-1."""
    grant_id = await log.grant()
    await log.hands["node-2"].arm(grant_id)
    assert kinds(asked(log).discrepancies) == ["another_node"]


async def test_a_grant_put_on_record_twice(log: Chronicle) -> None:
    """One grant, one record."""
    await log.run_capture(await log.grant())
    records = log.records()
    again = records[first(records, RecordKind.CAPTURE_GRANTED)]
    assert kinds(asked(log, added(records, again)).discrepancies) == ["grant_twice"]


async def test_armed_without_a_grant(log: Chronicle) -> None:
    """A node states that it armed what nobody granted: an interception of its own."""
    unknown = new_grant()
    await log.node.arm(unknown)
    await log.node.disarm(unknown)
    answer = asked(log)
    assert kinds(answer.discrepancies) == ["armed_without_grant"]
    (one,) = answer.interceptions
    assert (one.grant_id, one.node, one.granted) == (unknown, "node-1", None)


async def test_armed_before_it_was_granted(log: Chronicle) -> None:
    """On the record first: the receipt stands before the grant."""
    await log.node.arm(await log.grant())
    records = log.records()
    at = first(records, RecordKind.CAPTURE_ARMED)
    answer = asked(log, swapped(records, at, at - 1))
    assert kinds(answer.discrepancies) == ["armed_without_grant"]


async def test_a_segment_without_a_grant(log: Chronicle) -> None:
    """Packets were sealed for a grant that the log does not hold."""
    await log.node.seal(new_grant(), 1, log.now, log.now, store=False)
    assert kinds(asked(log).discrepancies) == ["sealed_without_grant"]


async def test_a_heartbeat_that_lists_an_unknown_grant(log: Chronicle) -> None:
    """What a node says is armed must have been granted."""
    unknown = new_grant()
    await log.node.beat(armed=(unknown,))
    await log.node.beat()
    answer = asked(log)
    assert kinds(answer.discrepancies) == ["listed_without_grant"]
    assert [each.grant_id for each in answer.interceptions] == [unknown]


async def test_a_stored_segment_without_a_receipt(log: Chronicle) -> None:
    """The guard holds a file that no node's receipt on record speaks for."""
    await log.run_capture(await log.grant())
    records = changed(log.records(), RecordKind.SEGMENT_STORED, receipt_digest="0" * 64)
    assert asked(log, records).discrepancies == ()  # Its receipt could still come.
    log.clock.move(minutes=1)
    await log.node.beat()
    records = changed(log.records(), RecordKind.SEGMENT_STORED, receipt_digest="0" * 64)
    assert kinds(asked(log, records).discrepancies) == ["segment_without_receipt"]


async def test_a_stored_segment_that_is_another(log: Chronicle) -> None:
    """Digest and size are the receipt's."""
    await log.run_capture(await log.grant())
    records = changed(log.records(), RecordKind.SEGMENT_STORED, sha256="0" * 64)
    assert kinds(asked(log, records).discrepancies) == ["segment_without_receipt"]


@pytest.mark.parametrize("shift", [timedelta(hours=-2), timedelta(hours=2)])
async def test_armed_outside_the_window(log: Chronicle, shift: timedelta) -> None:
    """A node armed before or after the grant's window."""
    grant_id = await log.grant()
    log.clock.move(seconds=max(shift, timedelta(0)).total_seconds())
    await log.node.arm(grant_id, time=log.site.now + shift)
    assert kinds(asked(log).discrepancies) == ["armed_outside_grant"]


@pytest.mark.parametrize("shift", [timedelta(hours=-1, seconds=-6), timedelta(hours=1, seconds=6)])
async def test_packets_outside_the_authority(log: Chronicle, shift: timedelta) -> None:
    """A packet six seconds outside, where clocks may differ by five."""
    grant_id = await log.grant()
    await log.node.arm(grant_id)
    moments = sorted((log.site.now, log.site.now + shift))
    log.clock.move(hours=2)
    await log.node.seal(grant_id, 1, *moments)
    await log.node.disarm(grant_id)
    assert kinds(asked(log).discrepancies) == ["packet_outside_authority"]


async def test_packets_within_what_clocks_may_differ(log: Chronicle) -> None:
    """A packet at the last tick of the tolerance is nobody's fault."""
    grant_id = await log.grant()
    await log.node.arm(grant_id)
    log.clock.move(hours=1)
    await log.node.seal(grant_id, 1, log.site.now, log.now + timedelta(seconds=5))
    await log.node.disarm(grant_id)
    assert asked(log).discrepancies == ()


async def test_packets_outside_the_grant(log: Chronicle) -> None:
    """An emergency's grant is of 48 hours; a second signature does not lengthen it."""
    emergency = log.site.authority(
        Instrument.EMERGENCY,
        window=Window(not_before=log.now - HOUR, not_after=log.now + timedelta(days=6)),
    )
    view = await log.register(log.site.register(emergency))
    grant_id = await log.grant(view.row.id, by="legal-1")
    await log.node.arm(grant_id)
    log.clock.move(hours=1)
    await log.sign(view, "legal-2")
    log.clock.move(hours=48)
    await log.node.seal(grant_id, 1, log.site.now, log.now)
    await log.node.disarm(grant_id)
    assert kinds(asked(log).discrepancies) == ["packet_outside_grant"]


async def test_a_capture_that_went_on_after_a_word_to_stop(log: Chronicle) -> None:
    """A lease after the word there may be no packet any more, nor a heartbeat that lists it."""
    grant_id = await log.grant()
    await log.node.arm(grant_id)
    await log.captures.stop(grant_id, log.site.principal("operator-1"))
    log.clock.move(minutes=10)
    await log.node.beat()
    assert kinds(asked(log).discrepancies) == ["listed_after_end"]
    await log.node.seal(grant_id, 1, log.site.now, log.now)
    assert kinds(asked(log).discrepancies) == ["listed_after_end", "packet_after_end"]


async def test_a_missing_receipt(log: Chronicle) -> None:
    """A gap in a node's chain, where the node skips one and where the log lost one."""
    await log.node.beat()
    log.node.receipt(None, ReceiptKind.INCIDENT, what="recording_refused")
    await log.node.beat()
    assert kinds(asked(log).discrepancies) == ["chain_broken"]
    for _ in range(3):
        await log.node.beat()
    complete = [each for each in log.records() if each.kind is RecordKind.NODE_HEARTBEAT][2:]
    policy = log.records()[:1]
    found = asked(log, [*policy, complete[0], complete[2]]).discrepancies
    assert kinds(found) == ["chain_broken"]


async def test_swapped_receipts(log: Chronicle) -> None:
    """Two receipts in each other's place."""
    for _ in range(4):
        await log.node.beat()
    assert kinds(asked(log, swapped(log.records(), 2, 3)).discrepancies) == ["chain_broken"]


async def test_a_break_outside_the_period_is_not_its_business(log: Chronicle) -> None:
    """A gap of before the period does not spoil it."""
    await log.node.beat()
    log.node.receipt(None, ReceiptKind.INCIDENT, what="recording_refused")
    await log.node.beat()
    log.clock.move(hours=2)
    await log.run_capture(new := await log.grant(await log.approved(window=around(log))))
    period = Window(not_before=log.now - HOUR, not_after=log.now + HOUR)
    answer = interceptions(log.history(), period, now=log.now)
    assert ([each.grant_id for each in answer.interceptions], answer.discrepancies) == ([new], ())


@pytest.mark.parametrize("kind", [ReceiptKind.ARMED, ReceiptKind.HEARTBEAT])
async def test_a_receipt_that_another_node_signed(log: Chronicle, kind: ReceiptKind) -> None:
    """node-2's key under node-1's name proves nothing, and what follows continues the chain."""
    grant_id = await log.grant()
    await log.node.beat()
    log.node.signer = log.site.nodes["node-2"].signer
    beat = kind is ReceiptKind.HEARTBEAT
    forged = log.node.heartbeat(time=log.now) if beat else log.node.receipt(grant_id)
    log.node.signer = log.site.nodes["node-1"].signer
    planted = added(log.records(), log.receipt_record(forged, kind))
    last = log.node.heartbeat(time=log.now)
    planted = added(planted, log.receipt_record(last, ReceiptKind.HEARTBEAT))
    answer = asked(log, planted)
    assert kinds(answer.discrepancies) == ["receipt_forged"]
    assert all(one.armed == () for one in answer.interceptions)


async def test_a_receipt_that_nobody_signed(log: Chronicle) -> None:
    """An envelope without a signature is nobody's word."""
    signed = dsse.parse(log.node.heartbeat(time=log.now), Kind.RECEIPT)
    bare = dsse.encode(replace(signed, signatures=()))
    record = log.receipt_record(bare, ReceiptKind.HEARTBEAT)
    assert kinds(asked(log, added(log.records(), record)).discrepancies) == ["receipt_forged"]


async def test_a_receipt_of_a_node_that_nobody_knows(log: Chronicle) -> None:
    """A name that the trust policy does not give."""
    log.site.nodes["node-9"] = Deployment().nodes["node-1"]
    stranger = Hand(log, "node-9")
    record = log.receipt_record(stranger.heartbeat(time=log.now), ReceiptKind.HEARTBEAT)
    found = asked(log, added(log.records(), record)).discrepancies
    assert kinds(found) == ["receipt_forged"]


async def test_a_trust_policy_of_somebody_else(log: Chronicle) -> None:
    """A policy that the pinned roots did not sign changes nothing and is said."""
    await log.run_capture(await log.grant())
    stranger = Deployment()
    record = log.records()[0]
    version = replace(stranger.policy, version=2)
    envelope = stranger.sign_policy(version)
    body = {
        **record.body,
        "envelope": encode_base64(envelope),
        "policy_digest": dsse.digest(envelope),
        "version": 2,
    }
    planted = added(log.records(), replace(record, body=body), 1)
    assert kinds(asked(log, planted).discrepancies) == ["trust_policy_untrusted"]


async def test_without_a_trust_policy_nothing_is_believed(log: Chronicle) -> None:
    """Roots that signed none of it leave nothing verified."""
    await log.run_capture(await log.grant())
    found = interceptions(
        history_of(Deployment(), log.records()), around(log), now=log.now
    ).discrepancies
    assert set(kinds(found)) == {
        "trust_policy_untrusted",
        "authority_not_approved",
        "receipt_forged",
    }


async def test_a_record_that_cannot_be_read(log: Chronicle) -> None:
    """A record of a known kind that says nothing is not passed over."""
    await log.run_capture(await log.grant())
    at = first(log.records(), RecordKind.CAPTURE_STOPPED)
    bad = replace(log.records()[at], body={"grant_id": "x"})
    found = asked(log, added(log.records(), bad)).discrepancies
    assert kinds(found) == ["record_unreadable"]


async def test_what_a_later_policy_says_does_not_judge_what_came_before(log: Chronicle) -> None:
    """An approver who has left since was an approver then; a node's new key signs from then on."""
    await log.run_capture(await log.grant())
    gone = [each for each in log.site.policy.principals if each.name != "lead-1"]
    newer = replace(log.site.policy, version=2, principals=tuple(gone))
    await log.trust.publish(log.site.sign_policy(newer), "auditor-1")
    await log.node.beat()
    answer = asked(log)
    assert answer.discrepancies == ()
    assert answer.interceptions[0].signers[1].name == "lead-1"


def erasing(log: Chronicle, count: int, *, after: timedelta = LEAST_KEPT) -> Record:
    """Return the record that so many were erased, the last of them after its time."""
    at = log.site.now + after
    return log.office.record(RecordKind.RECORDS_ERASED, at, {"first": 0, "count": count})


async def test_what_is_erased_before_its_time_is_said(log: Chronicle) -> None:
    """A guard may forget what is over, and cannot have forgotten this week."""
    await log.node.beat()
    records = log.records()
    later = Window(not_before=log.now + HOUR, not_after=log.now + 2 * HOUR)
    for early in (timedelta(days=7), LEAST_KEPT - timedelta(seconds=1)):
        told: list[Record | None] = [records[0], None, erasing(log, 2, after=early)]
        found = interceptions(history_of(log.site, told), later, now=log.now).discrepancies
        assert kinds(found) == ["records_erased"]
        assert "before its time" in found[0].sentence
    told = [records[0], None, erasing(log, 2)]
    assert interceptions(history_of(log.site, told), later, now=log.now).discrepancies == ()


async def test_an_erased_time_cannot_be_answered_for(log: Chronicle) -> None:
    """Where receipts or grants are erased, the answer says so; later it is whole again."""
    await log.node.beat()
    await log.node.beat()
    records = log.records()
    erasure = erasing(log, 2)
    told: list[Record | None] = [records[0], None, records[2], erasure]
    answer = interceptions(history_of(log.site, told), around(log), now=log.now)
    assert kinds(answer.discrepancies) == ["records_erased"]
    later = Window(not_before=log.now + HOUR, not_after=log.now + 2 * HOUR)
    assert interceptions(history_of(log.site, told), later, now=log.now).discrepancies == ()


@pytest.mark.parametrize("place", ["unsaid", "middle"])
async def test_an_erasure_against_the_rules(log: Chronicle, place: str) -> None:
    """Erased without a record that says so, or one in the midst of others that are kept."""
    for _ in range(3):
        await log.node.beat()
    records = log.records()
    erasure = erasing(log, 3)
    unsaid: list[Record | None] = [records[0], None, *records[2:]]
    middle: list[Record | None] = [*records[:2], None, records[3], erasure]
    told = unsaid if place == "unsaid" else middle
    later = Window(not_before=log.now + HOUR, not_after=log.now + 2 * HOUR)
    found = interceptions(history_of(log.site, told), later, now=log.now).discrepancies
    assert kinds(found) == ["records_erased"]


# --- ending ---------------------------------------------------------------------------------------


async def test_an_authority_that_ended_with_its_window(log: Chronicle) -> None:
    """Disarmed at the end of the window: shown."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.node.beats(HOUR)
    await log.node.seal(grant_id, 1, log.site.now, log.now - timedelta(seconds=1))
    await log.node.disarm(grant_id, "expired")
    await log.sweep.run()
    answer = ending(log.history(), ticket, now=log.now)
    assert (answer.verdict, answer.discrepancies) == (Verdict.SHOWN, ())
    assert (answer.end, answer.why) == (log.site.now + HOUR, "the end of its window")
    (one,) = answer.captures
    assert (one.grant_id, one.ended, one.why) == (grant_id, log.now, "expired")
    assert one.last_packet == log.now - timedelta(seconds=1)


async def test_an_authority_in_force_has_not_ended(log: Chronicle) -> None:
    """Too early to tell, and said so."""
    ticket = await log.approved()
    await log.run_capture(await log.grant(ticket))
    answer = ending(log.history(), ticket, now=log.now)
    assert answer.verdict is Verdict.STILL_RUNNING
    assert (answer.discrepancies, answer.tellable) == ((), answer.end)


async def test_an_authority_that_nobody_knows_is_not_shown(log: Chronicle) -> None:
    """An id that the log does not hold."""
    answer = ending(log.history(), new_grant(), now=log.now)
    assert answer.verdict is Verdict.NOT_SHOWN
    assert kinds(answer.discrepancies) == ["authority_unknown"]


async def revoked(log: Chronicle, *, late: float) -> tuple[str, str]:
    """Revoke an authority; its node, cut off, has its last packet ``late`` seconds after."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    log.clock.move(seconds=late)
    await log.node.seal(grant_id, 1, log.site.now, log.now)
    await log.node.disarm(grant_id, "revoked")
    return ticket, grant_id


async def test_a_revoked_authority_ends_within_a_lease(log: Chronicle) -> None:
    """A node that is cut off has its lease, and clocks may differ a little."""
    ticket, _ = await revoked(log, late=35)
    answer = ending(log.history(), ticket, now=log.now)
    assert (answer.verdict, answer.why) == (Verdict.SHOWN, "revoked by lead-1")
    assert answer.end == log.site.now


async def test_a_packet_after_the_end(log: Chronicle) -> None:
    """One second more than the lease allows."""
    ticket, _ = await revoked(log, late=36)
    answer = ending(log.history(), ticket, now=log.now)
    assert answer.verdict is Verdict.NOT_SHOWN
    assert kinds(answer.discrepancies) == ["packet_after_end"]


async def test_a_capture_armed_after_the_end(log: Chronicle) -> None:
    """The node armed again what was revoked."""
    ticket, grant_id = await revoked(log, late=1)
    log.clock.move(minutes=5)
    await log.node.arm(grant_id)
    await log.node.disarm(grant_id)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["armed_after_end"]


async def test_a_heartbeat_that_lists_it_after_the_end(log: Chronicle) -> None:
    """Disarmed, says the receipt; still armed, says the heartbeat after it."""
    ticket, grant_id = await revoked(log, late=1)
    log.clock.move(minutes=5)
    await log.node.beat(armed=(grant_id,))
    await log.node.beat()
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["listed_after_end"]


async def test_a_capture_that_was_never_disarmed(log: Chronicle) -> None:
    """Armed, and nothing more is heard: first too early to tell, then not shown."""
    ticket = await log.approved()
    await log.node.arm(await log.grant(ticket))
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    early = ending(log.history(), ticket, now=log.now)
    assert (early.verdict, early.discrepancies) == (Verdict.TOO_EARLY, ())
    assert early.tellable == log.now + timedelta(seconds=35)
    log.clock.move(minutes=5)
    answer = ending(log.history(), ticket, now=log.now)
    assert answer.verdict is Verdict.NOT_SHOWN
    assert kinds(answer.discrepancies) == ["not_disarmed"]


async def test_a_heartbeat_that_is_due_after_the_end_is_waited_for(log: Chronicle) -> None:
    """Never armed, and the node promised to speak: it is too early until it has had to."""
    await log.node.beat()
    ticket = await log.approved()
    await log.grant(ticket)
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    due = log.now + timedelta(seconds=35 + EVERY + 30)
    log.clock.move(seconds=60)
    early = ending(log.history(), ticket, now=log.now)
    assert (early.verdict, early.tellable) == (Verdict.TOO_EARLY, due)
    late = ending(log.history(), ticket, now=due + timedelta(seconds=1))
    assert (kinds(late.discrepancies), late.tellable) == (["not_heard"], None)
    await log.node.beat()
    assert ending(log.history(), ticket, now=log.now).verdict is Verdict.SHOWN


async def test_an_agent_that_lost_its_capture_shows_its_end_by_heartbeats(log: Chronicle) -> None:
    """After a crash there is no disarmed receipt; the next list without it shows the end."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    log.node.armed.clear()
    log.clock.move(minutes=3)
    await log.node.beat(at="start")
    log.clock.move(hours=1)
    answer = ending(log.history(), ticket, now=log.now)
    assert answer.verdict is Verdict.SHOWN
    assert answer.captures[0].why == "not armed any more"


async def test_a_grant_that_its_node_never_answered(log: Chronicle) -> None:
    """Only when the node is heard after the end, without the grant, is it known not to run."""
    ticket = await log.approved()
    await log.grant(ticket)
    await log.node.beat()
    log.clock.move(hours=2)
    assert kinds(ending(log.history(), ticket, now=log.now).discrepancies) == ["not_heard"]
    await log.node.beat()
    assert ending(log.history(), ticket, now=log.now).verdict is Verdict.SHOWN


async def test_a_receipt_missing_before_the_end_leaves_it_open(log: Chronicle) -> None:
    """What the missing receipt said may have been a packet."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    log.node.receipt(grant_id, ReceiptKind.NOTHING_CAPTURED)
    await log.node.disarm(grant_id)
    log.clock.move(hours=2)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["chain_broken"]


async def test_an_emergency_under_one_signature_ends_after_48_hours(log: Chronicle) -> None:
    """Its window is of a week; it ends after two days, unless somebody else has signed."""
    window = Window(not_before=log.now, not_after=log.now + timedelta(days=6))
    emergency = log.site.authority(Instrument.EMERGENCY, window=window)
    view = await log.register(log.site.register(emergency))
    answer = ending(log.history(), view.row.id, now=log.now + timedelta(hours=48))
    assert (answer.end, answer.verdict) == (log.now + timedelta(hours=48), Verdict.SHOWN)
    assert answer.why == "48 hours under one signature"
    await log.sign(view, "legal-2")
    answer = ending(log.history(), view.row.id, now=log.now + timedelta(hours=48))
    assert (answer.end, answer.verdict) == (window.not_after, Verdict.STILL_RUNNING)


async def test_a_signature_after_48_hours_is_too_late(log: Chronicle) -> None:
    """What was over is not brought back by a second person."""
    window = Window(not_before=log.now, not_after=log.now + timedelta(days=6))
    view = await log.register(
        log.site.register(log.site.authority(Instrument.EMERGENCY, window=window))
    )
    await log.sign(view, "legal-2")
    records = log.records()
    late = replace(records[-1], time=log.now + timedelta(hours=48))
    answer = ending(log.history([*records[:-1], late]), view.row.id, now=late.time)
    assert answer.end == log.now + timedelta(hours=48)


async def test_a_packet_after_the_window(log: Chronicle) -> None:
    """At the end of a window there is no lease to go on with."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    log.clock.move(hours=1, seconds=6)
    await log.node.seal(grant_id, 1, log.site.now, log.now)
    await log.node.disarm(grant_id)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["packet_after_end"]


async def test_a_second_revocation_gives_no_more_time(log: Chronicle) -> None:
    """The first word to stop counts."""
    ticket, _ = await revoked(log, late=36)
    records = log.records()
    again = replace(records[first(records, RecordKind.AUTHORITY_REVOKED)], time=log.now)
    answer = ending(log.history(added(records, again)), ticket, now=log.now)
    assert answer.end == log.site.now
    assert kinds(answer.discrepancies) == ["packet_after_end"]


async def test_another_node_cannot_say_that_it_is_over(log: Chronicle) -> None:
    """Only the node that ran it knows."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.hands["node-2"].disarm(grant_id)
    log.clock.move(hours=2)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["another_node", "not_disarmed"]


async def test_a_capture_armed_again_is_not_over(log: Chronicle) -> None:
    """The end that counts is after the last time it was armed."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.node.disarm(grant_id, "agent_stopped")
    await log.node.arm(grant_id)
    log.clock.move(hours=2)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert kinds(found) == ["not_disarmed"]


@pytest.mark.parametrize(("hours", "open_"), [(0, True), (2, False)])
async def test_a_receipt_missing_after_its_end(log: Chronicle, hours: int, open_: bool) -> None:
    """While the authority was in force it could have been armed again; afterwards not."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.node.disarm(grant_id)
    log.clock.move(hours=hours)
    await log.node.beat()
    log.node.heartbeat()  # Never sent.
    await log.node.beat()
    answer = ending(log.history(), ticket, now=log.now + 2 * HOUR)
    assert kinds(answer.discrepancies) == (["chain_broken"] if open_ else [])


async def test_a_grant_after_the_end(log: Chronicle) -> None:
    """Granted again after the revocation, run and ended at once: it had ended before."""
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id)
    await log.node.disarm(grant_id)
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    records = log.records()
    at = first(records, RecordKind.AUTHORITY_REVOKED)
    planted = added(records, records[at], first(records, RecordKind.CAPTURE_GRANTED))
    found = ending(log.history(planted), ticket, now=log.now).discrepancies
    assert kinds(found) == ["authority_ended"]


# --- silence --------------------------------------------------------------------------------------


def quiet(
    log: Chronicle, start: datetime, end: datetime, records: Sequence[Record] | None = None
) -> Silence:
    period = Window(not_before=start, not_after=end)
    return silence(log.history(records), "node-1", period)


async def test_a_node_that_captured_nothing(log: Chronicle) -> None:
    """Heartbeats around and through the period, all of them empty."""
    await log.node.beat(at="start")
    await log.node.beats(HOUR)
    answer = quiet(log, log.site.now, log.now)
    assert (answer.verdict, answer.discrepancies) == (Verdict.SHOWN, ())
    assert (answer.heartbeats, answer.since, answer.until) == (21, log.site.now, log.now)


@pytest.mark.parametrize("edge", ["before", "after", "never"])
async def test_a_node_that_is_not_heard_around_the_period(log: Chronicle, edge: str) -> None:
    """A second before its first heartbeat, or after its last, nobody knows."""
    if edge != "never":
        await log.node.beat()
        await log.node.beats(HOUR)
    tick = timedelta(seconds=1)
    start = log.site.now - tick * (edge == "before")
    end = max(log.now + tick * (edge == "after"), start + tick)
    answer = quiet(log, start, end)
    assert answer.verdict is Verdict.NOT_SHOWN
    assert kinds(answer.discrepancies) == ["not_heard"]


async def test_a_heartbeat_missing_for_an_hour(log: Chronicle) -> None:
    """The chain is whole, and yet the node said nothing for an hour."""
    await log.node.beats(HOUR)
    log.clock.move(hours=1)
    await log.node.beat()
    await log.node.beats(HOUR)
    answer = quiet(log, log.site.now + timedelta(seconds=EVERY), log.now)
    assert kinds(answer.discrepancies) == ["heartbeat_missing"]


async def test_an_agent_that_did_not_run_is_said(log: Chronicle) -> None:
    """It signed that it stopped and that it started again: it captured nothing in between."""
    await log.node.beat(at="start")
    await log.node.beats(HOUR)
    await log.node.beat(at="stop")
    stopped = log.now
    log.clock.move(hours=5)
    await log.node.beat(at="start")
    await log.node.beats(HOUR)
    answer = quiet(log, log.site.now, log.now)
    assert answer.verdict is Verdict.SHOWN
    assert [(each.stopped, each.started) for each in answer.pauses] == [
        (stopped, stopped + 5 * HOUR)
    ]


async def test_an_agent_that_was_killed_did_not_say_so(log: Chronicle) -> None:
    """Without the heartbeat of its stop, the time until its start is not accounted for."""
    await log.node.beat(at="start")
    await log.node.beats(HOUR)
    log.clock.move(hours=5)
    await log.node.beat(at="start")
    assert kinds(quiet(log, log.site.now, log.now).discrepancies) == ["heartbeat_missing"]


async def test_an_agent_that_stopped_and_went_on_talking(log: Chronicle) -> None:
    """After a stop comes a start; anything else leaves the time between open."""
    await log.node.beat(at="start")
    await log.node.beat(at="stop")
    log.clock.move(hours=5)
    await log.node.beat()
    assert kinds(quiet(log, log.site.now, log.now).discrepancies) == ["heartbeat_missing"]


async def test_a_heartbeat_that_names_fewer_than_it_counts(log: Chronicle) -> None:
    """It says that one is armed and names none: it does not stand for an empty list."""
    await log.node.beat()
    log.clock.move(seconds=EVERY)
    made = Receipt(
        node="node-1",
        sequence=2,
        previous=log.node.previous,
        kind=ReceiptKind.HEARTBEAT,
        time=log.now,
        grant_id=None,
        details={"every": EVERY, "armed": 1, "part": 1, "parts": 1},
        health=OBSERVING,
    )
    await log.node.send(sign(encode_receipt(made), Kind.RECEIPT, [log.node.signer]))
    assert kinds(quiet(log, log.site.now, log.now).discrepancies) == ["not_heard"]


async def test_a_capture_in_the_period_is_no_silence(log: Chronicle) -> None:
    """Armed and with packets: both are said; the hours before and after are silent."""
    await log.node.beat()
    await log.node.beats(HOUR)
    begun = log.now
    await log.run_capture(await log.grant(await log.approved(window=around(log))), seconds=20)
    over = log.now
    await log.node.beats(HOUR)
    answer = quiet(log, log.site.now, log.now)
    assert kinds(answer.discrepancies) == ["captured"]
    assert len(answer.discrepancies) == 2
    assert quiet(log, log.site.now, begun).verdict is Verdict.SHOWN
    after = quiet(log, over + timedelta(seconds=1), log.now)
    assert after.verdict is Verdict.SHOWN


async def test_a_heartbeat_that_lists_a_grant_is_no_silence(log: Chronicle) -> None:
    """What is listed was armed, whoever granted it."""
    await log.node.beat()
    log.clock.move(seconds=EVERY)
    await log.node.beat(armed=(new_grant(),))
    await log.node.beats(HOUR)
    assert kinds(quiet(log, log.site.now, log.now).discrepancies) == ["captured"]


async def test_a_list_that_is_not_whole_is_no_silence(log: Chronicle) -> None:
    """A part whose others never came names what was armed, and does not stand for a heartbeat."""
    await log.node.beat()
    log.clock.move(seconds=EVERY)
    unknown = new_grant()
    part = log.node.receipt(
        None, ReceiptKind.HEARTBEAT, armed=(unknown,), every=EVERY, part=1, parts=2
    )
    await log.node.send(part)
    log.clock.move(seconds=EVERY)
    await log.node.beat()
    answer = quiet(log, log.site.now, log.now)
    assert set(kinds(answer.discrepancies)) == {"captured", "heartbeat_missing"}


async def test_packets_sealed_afterwards_are_no_silence(log: Chronicle) -> None:
    """A segment that comes long after the period holds packets of it."""
    await log.node.beat()
    await log.node.beats(HOUR)
    until = log.now
    await log.node.beats(HOUR)
    await log.node.seal(new_grant(), 1, until - HOUR / 2, until - HOUR / 2, store=False)
    assert kinds(quiet(log, log.site.now, until).discrepancies) == ["captured"]
    assert quiet(log, until, log.now).verdict is Verdict.SHOWN
    edge = until - HOUR / 2
    assert kinds(quiet(log, edge, until).discrepancies) == ["captured"]
    assert quiet(log, log.site.now, edge).verdict is Verdict.SHOWN


async def test_a_receipt_missing_in_the_period(log: Chronicle) -> None:
    """A chain with a gap shows nothing, a gap before it does not matter."""
    await log.node.beat()
    await log.node.beats(HOUR)
    log.node.receipt(new_grant())  # Never sent.
    await log.node.beats(HOUR)
    broken = log.site.now + HOUR
    assert kinds(quiet(log, log.site.now, log.now).discrepancies) == ["chain_broken"]
    later = broken + timedelta(seconds=EVERY)
    assert quiet(log, later, log.now).verdict is Verdict.SHOWN


async def test_a_forged_receipt_in_the_period(log: Chronicle) -> None:
    """A heartbeat by another hand does not count, and is said."""
    await log.node.beat()
    log.clock.move(seconds=EVERY)
    log.node.signer = log.site.nodes["node-2"].signer
    forged = log.receipt_record(log.node.heartbeat(time=log.now), ReceiptKind.HEARTBEAT)
    log.node.signer = log.site.nodes["node-1"].signer
    last = log.receipt_record(log.node.heartbeat(time=log.now), ReceiptKind.HEARTBEAT)
    planted = [*log.records(), forged, last]
    assert kinds(quiet(log, log.site.now, log.now, planted).discrepancies) == ["receipt_forged"]


async def test_a_clock_that_went_back(log: Chronicle) -> None:
    """A node that lives through an hour twice shows neither."""
    await log.node.beat()
    await log.node.beats(HOUR)
    until = log.now
    await log.node.beat(time=until - HOUR / 2)
    log.clock.move(seconds=EVERY)
    await log.node.beat()
    found = quiet(log, log.site.now, log.now).discrepancies
    assert "clock_went_back" in kinds(found)


SET_BACK = HOUR / 2


async def captured_with_its_clock_set_back(log: Chronicle) -> tuple[datetime, datetime]:
    """Capture for ten minutes on a node half an hour behind, which slowly comes right again.

    Return from when to when it captured in truth.
    """
    await log.node.beat()
    await log.node.beats(HOUR)
    grant_id = await log.grant(await log.approved(window=around(log)))
    begun, behind = log.now, SET_BACK
    await log.node.arm(grant_id, time=log.now - behind)
    for _ in range(3):
        log.clock.move(seconds=EVERY)
        await log.node.beat(time=log.now - behind)
    over = log.now
    log.node.armed.clear()
    disarmed = log.node.receipt(
        grant_id, ReceiptKind.DISARMED, reason="stopped", time=over - behind
    )
    await log.node.send(disarmed)
    while behind:
        log.clock.move(seconds=EVERY)
        behind = max(behind - timedelta(seconds=25), timedelta(0))
        await log.node.beat(time=log.now - behind)
    return begun, over


async def test_a_clock_set_back_hides_no_capture(log: Chronicle) -> None:
    """What was said in another hour than it was may have been said as late as the guard had it."""
    begun, over = await captured_with_its_clock_set_back(log)
    assert "clock_went_back" in kinds(quiet(log, begun, over).discrepancies)
    period = Window(not_before=begun + timedelta(seconds=1), not_after=over)
    assert len(interceptions(log.history(), period, now=log.now).interceptions) == 1
    right = log.now
    await log.node.beats(HOUR)
    assert quiet(log, right, log.now).verdict is Verdict.SHOWN
    assert quiet(log, log.site.now, begun - SET_BACK).verdict is Verdict.SHOWN


@pytest.mark.parametrize(("late", "shown"), [(30, True), (600, False)])
async def test_a_clock_set_back_dates_no_end(log: Chronicle, late: int, *, shown: bool) -> None:
    """Of what its node says that it ended in time, only what the guard had in time is known."""
    await log.node.beat()
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.node.arm(grant_id, time=log.now - SET_BACK)
    await log.authorities.revoke(ticket, "done", log.site.principal("lead-1"))
    log.clock.move(seconds=late)
    log.node.armed.clear()
    over = log.now - SET_BACK
    envelope = log.node.receipt(grant_id, ReceiptKind.DISARMED, reason="revoked", time=over)
    await log.node.send(envelope)
    found = ending(log.history(), ticket, now=log.now).discrepancies
    assert ("clock_went_back" not in kinds(found)) is shown


async def test_heartbeats_dated_ahead_do_not_cover_what_has_not_been(log: Chronicle) -> None:
    """Nothing was said later than it was heard."""
    await log.node.beat()
    for number in range(1, 21):
        ahead = log.site.now + number * timedelta(seconds=EVERY)
        await log.node.beat(time=ahead)
    assert kinds(quiet(log, log.site.now, log.site.now + HOUR).discrepancies) == ["not_heard"]


async def test_silence_over_erased_receipts_is_not_shown(log: Chronicle) -> None:
    """Where receipts are erased the chain cannot be followed."""
    await log.node.beat()
    await log.node.beats(HOUR)
    records = log.records()
    erasure = erasing(log, 4)
    told: list[Record | None] = [records[0], None, None, None, *records[4:], erasure]
    history = history_of(log.site, told)
    begun = log.site.now
    early = silence(history, "node-1", Window(not_before=begun, not_after=log.now))
    assert early.verdict is Verdict.NOT_SHOWN
    late = Window(not_before=begun + HOUR / 2, not_after=log.now)
    assert silence(history, "node-1", late).verdict is Verdict.SHOWN
