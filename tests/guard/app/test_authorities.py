"""Registering, signing, revoking: who may, and what is on record afterwards."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest

from guard.api.v1.authority_service_pb2 import AUTHORITY_STATE_REVOKED, Authority
from guard.app.denial import Denied, UnknownError
from guard.core import envelope as dsse
from guard.core.instruments import Instrument
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.reasons import Reason
from guard.core.record import encode_body
from guard.core.window import Window
from guard.services.translate import to_authority
from tests.builders.deployment import SUBJECT
from tests.builders.house import House


def reason(denied: pytest.ExceptionInfo[Denied]) -> Reason:
    return denied.value.deny.reason


async def test_a_ticket_is_registered_then_approved_by_a_second_person(house: House) -> None:
    """A ticket waits for its approver, whose signature approves it; both are on record."""
    view = await house.register(house.site.register(house.site.authority()))
    assert (view.row.state, view.signers) == (AuthorityState.REGISTERED, ("operator-1",))
    assert view.missing
    view = await house.sign(view, "lead-1")
    assert (view.row.state, view.missing) == (AuthorityState.APPROVED, "")
    assert view.signers == ("operator-1", "lead-1")
    assert house.kinds()[-2:] == ["authority_registered", "authority_approved"]


async def test_the_record_holds_every_field_but_the_subjects(house: House) -> None:
    """The registration's record has the order's fields, and not the sealed subjects."""
    authority = house.site.authority(Instrument.INTERCEPTION_ORDER)
    await house.register(house.site.register(authority))
    record = house.records()[-1]
    said = record.body["authority"]
    assert said["presenting_officer"] == authority.presenting_officer
    assert said["order_sha256"] == authority.order_sha256
    assert "sealed_subjects" not in said
    assert SUBJECT.encode() not in encode_body(record)


async def test_only_the_registrant_registers(house: House) -> None:
    """Somebody else who hands in a signed ticket is denied, and that is on record by name."""
    envelope = house.site.register(house.site.authority())
    with pytest.raises(Denied) as denied:
        await house.register(envelope, by="lead-1")
    assert reason(denied) is Reason.CALLER_ROLE_WRONG
    record = house.records()[-1]
    assert record.kind == "request_denied"
    assert record.body["principal"] == "lead-1"
    assert record.body["reason"] == "caller_role_wrong"


async def test_a_warrant_is_not_opened_as_a_ticket(house: House) -> None:
    """Each of the two ways in takes only its own instruments."""
    warrant = house.site.register(house.site.authority(Instrument.INTERCEPTION_ORDER))
    with pytest.raises(Denied) as denied:
        await house.authorities.register(warrant, house.site.principal("legal-1"), ticket=True)
    assert reason(denied) is Reason.SIGNER_ROLE_WRONG
    ticket = house.site.register(house.site.authority())
    with pytest.raises(Denied):
        await house.authorities.register(ticket, house.site.principal("operator-1"), ticket=False)


async def test_self_approval_is_denied(house: House) -> None:
    """The registrant cannot add a second signature of the same key."""
    view = await house.register(house.site.register(house.site.authority()))
    again = await house.sign(view, "operator-1")
    assert again.row.state is AuthorityState.REGISTERED
    assert again.missing


async def test_another_persons_signature_cannot_be_handed_in(house: House) -> None:
    """A caller who brings somebody else's signature is denied."""
    view = await house.register(house.site.register(house.site.authority()))
    with pytest.raises(Denied) as denied:
        await house.sign(view, "legal-1", hand="lead-1")
    assert reason(denied) is Reason.CALLER_ROLE_WRONG


async def test_a_signer_of_the_wrong_role_is_denied(house: House) -> None:
    """A lawyer's signature does not approve a ticket, and the envelope stays as it was."""
    view = await house.register(house.site.register(house.site.authority()))
    with pytest.raises(Denied) as denied:
        await house.sign(view, "legal-1")
    assert reason(denied) is Reason.SIGNER_ROLE_WRONG
    assert house.authorities.get(view.row.id, house.auditor).row.envelope == view.row.envelope


async def test_a_bad_signature_is_denied(house: House) -> None:
    """Sixty-four wrong bytes under a right key are SIGNATURE_INVALID."""
    view = await house.register(house.site.register(house.site.authority()))
    keyid = house.site.people["lead-1"].signer.public_key.keyid
    with pytest.raises(Denied) as denied:
        await house.authorities.add_signature(
            view.row.id,
            dsse.Signature(keyid=keyid, sig=bytes(64)),
            house.site.principal("lead-1"),
        )
    assert reason(denied) is Reason.SIGNATURE_INVALID


async def test_registering_the_same_again_repeats_the_answer(house: House) -> None:
    """The same envelope again is one registration, also after it was approved."""
    envelope = house.site.register(house.site.authority())
    view = await house.register(envelope)
    approved = await house.sign(view, "lead-1")
    again = await house.register(envelope)
    assert again.row == approved.row
    assert house.kinds().count("authority_registered") == 1
    await house.sign(approved, "lead-1")
    assert house.kinds().count("authority_approved") == 1


async def test_another_authority_under_a_known_id_is_denied(house: House) -> None:
    """An id stands for one document."""
    first = house.site.authority()
    await house.register(house.site.register(first))
    with pytest.raises(Denied) as denied:
        await house.register(house.site.register(house.site.authority(id=first.id)))
    assert reason(denied) is Reason.ALREADY_REGISTERED


async def test_an_authority_whose_window_is_over_is_not_registered(house: House) -> None:
    """What has expired cannot be registered any more."""
    envelope = house.site.register(house.site.authority())
    house.clock.move(hours=1)
    with pytest.raises(Denied) as denied:
        await house.register(envelope)
    assert reason(denied) is Reason.EXPIRED


async def test_a_node_outside_the_trust_policy_is_denied(house: House) -> None:
    """An authority names nodes that exist."""
    with pytest.raises(Denied) as denied:
        await house.register(house.site.register(house.site.authority(nodes=("node-9",))))
    assert reason(denied) is Reason.NODE_UNKNOWN


async def test_an_emergency_is_in_force_provisionally(house: House) -> None:
    """One legal signature makes an emergency provisional for 48 hours from its beginning."""
    now = house.site.now
    window = Window(not_before=now, not_after=now + timedelta(days=5))
    envelope = house.site.register(house.site.authority(Instrument.EMERGENCY, window=window))
    view = await house.register(envelope)
    assert view.row.state is AuthorityState.PROVISIONAL
    assert view.row.window_end == now + timedelta(hours=48)
    view = await house.sign(view, "legal-2")
    assert view.row.state is AuthorityState.APPROVED
    assert view.row.window_end == window.not_after


async def test_a_late_second_signature_does_not_revive_an_emergency(house: House) -> None:
    """After 48 hours the second person is too late, swept or not."""
    now = house.site.now
    window = Window(not_before=now, not_after=now + timedelta(days=5))
    view = await house.register(
        house.site.register(house.site.authority(Instrument.EMERGENCY, window=window))
    )
    house.clock.move(hours=48)
    for _ in range(2):
        with pytest.raises(Denied) as denied:
            await house.sign(view, "legal-2")
        assert reason(denied) is Reason.EXPIRED
        await house.sweep.run()


async def test_revoking_ends_everything_at_once(house: House) -> None:
    """Revocation stops the live captures in the same transaction and is final."""
    authority_id = await house.approved(nodes=("node-1", "node-2"))
    for node in ("node-1", "node-2"):
        await house.capture(authority_id, node=node)
    view = await house.authorities.revoke(
        authority_id, "case closed", house.site.principal("lead-1")
    )
    assert view.row.state is AuthorityState.REVOKED
    states = {
        each.row.state
        for each in house.captures.page(house.auditor, authority_id=None, limit=9, before=None)[0]
    }
    assert states == {CaptureState.STOPPING}
    assert house.kinds()[-3:] == ["authority_revoked", "capture_stopped", "capture_stopped"]
    with pytest.raises(Denied) as denied:
        await house.capture(authority_id)
    assert reason(denied) is Reason.REVOKED


async def test_revoking_twice_is_one_record(house: House) -> None:
    """A word to stop may be repeated."""
    authority_id = await house.approved()
    for _ in range(2):
        await house.authorities.revoke(authority_id, "again", house.site.principal("lead-1"))
    assert house.kinds().count("authority_revoked") == 1


async def test_what_is_not_there_is_said_to_be_unknown(house: House) -> None:
    """Reading an unknown authority is UnknownError; revoking one is a recorded denial."""
    with pytest.raises(UnknownError):
        house.authorities.get("0" * 8 + "-0000-4000-8000-000000000000", house.auditor)
    with pytest.raises(Denied) as denied:
        await house.authorities.revoke("nothing", "x", house.site.principal("lead-1"))
    assert reason(denied) is Reason.AUTHORITY_UNKNOWN
    assert house.kinds()[-1] == "request_denied"


async def test_pages_are_newest_first_and_without_gaps(house: House) -> None:
    """Walking pages of two by the last revision yields every authority once."""
    ids = [
        (await house.register(house.site.register(house.site.authority()))).row.id for _ in range(5)
    ]
    found: list[str] = []
    before = None
    while True:
        page, before = house.authorities.page(house.auditor, limit=2, before=before)
        found += [view.row.id for view in page]
        if before is None:
            break
    assert found == ids[::-1]


async def test_an_operator_sees_neither_warrants_nor_who_entered_others_tickets(
    house: House,
) -> None:
    """Who implements captures learns of no warrant, and not who opened or approved a ticket."""
    warrant = await house.approved(Instrument.INTERCEPTION_ORDER)
    ticket = await house.approved()
    mine = house.site.principal("operator-1")
    colleague = replace(mine, name="operator-2")
    for viewer in (mine, colleague):
        listed, _ = house.authorities.page(viewer, limit=9, before=None)
        assert [view.row.id for view in listed] == [ticket]
        with pytest.raises(UnknownError):
            house.authorities.get(warrant, viewer)
    assert house.authorities.get(ticket, mine).signers == ("operator-1", "lead-1")
    seen = house.authorities.get(ticket, colleague)
    assert (seen.signers, seen.row.envelope) == ((), b"")
    assert len(house.authorities.page(house.auditor, limit=9, before=None)[0]) == 2
    revoked = to_authority(await house.authorities.revoke(warrant, "wrong", mine))
    assert revoked == Authority(id=warrant, state=AUTHORITY_STATE_REVOKED)
    known = to_authority(await house.authorities.revoke(ticket, "wrong", colleague))
    assert (known.reference != "", list(known.signers)) == (True, [])


async def test_a_page_of_warrants_alone_does_not_end_an_operators_list(house: House) -> None:
    """What is left out is skipped, and what comes after it is found."""
    ticket = await house.approved()
    for _ in range(3):
        await house.approved(Instrument.INTERCEPTION_ORDER)
    operator, before, found = house.site.principal("operator-1"), None, []
    while True:
        page, before = house.authorities.page(operator, limit=2, before=before)
        found += [view.row.id for view in page]
        if before is None:
            break
    assert found == [ticket]


async def test_a_denied_registration_is_on_record_as_it_was_offered(house: House) -> None:
    """What was tried stands in the denial: its signed fields and the envelope, subjects sealed."""
    envelope = house.site.register(house.site.authority())
    with pytest.raises(Denied):
        await house.register(envelope, by="lead-1")
    (body,) = [each.body for each in house.records() if each.kind == "request_denied"]
    assert body["authority"]["reference"]
    assert "sealed_subjects" not in body["authority"]
    assert base64.b64decode(body["envelope"]) == envelope
    with pytest.raises(Denied):
        await house.authorities.register(b"{}", house.site.principal("legal-1"), ticket=False)
    last = house.records()[-1].body
    assert set(last) == {"envelope_digest", "method", "principal", "reason", "sentence"}
