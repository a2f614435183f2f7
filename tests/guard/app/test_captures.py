"""Requests, stops, watching, fetching: what is granted, once, and what is denied."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from guard.api.v1.capture_service_pb2 import CAPTURE_STATE_STOPPING, Capture
from guard.app.denial import Denied, MalformedError, UnknownError
from guard.core import envelope as dsse
from guard.core.enforcement import Enforcement
from guard.core.envelope import Kind
from guard.core.grant import parse_grant
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.lifecycle import CaptureState
from guard.core.reasons import Reason
from guard.core.receipt import ReceiptKind
from guard.core.window import Window
from guard.services.translate import to_capture
from tests.builders.healths import enforcing
from tests.builders.house import House, NodeHand


async def denial(house: House, authority_id: str, **changes: object) -> Reason:
    """Return the reason of a denial and hold it against the record."""
    before = len(house.records())
    with pytest.raises(Denied) as denied:
        await house.capture(authority_id, **changes)
    (record,) = house.records()[before:]
    assert record.kind == "capture_denied"
    assert record.body["reason"] == denied.value.deny.reason
    assert record.body["authority_id"] == authority_id
    return denied.value.deny.reason


async def test_an_approved_ticket_yields_a_signed_grant(house: House) -> None:
    """The grant is signed by the guard, inside the authority, and named in the record."""
    authority_id = await house.approved()
    view = await house.capture(authority_id)
    envelope = dsse.parse(view.row.grant, Kind.GRANT)
    signed = dsse.verified_keyids(envelope, house.site.policy.guard_keys)
    grant = parse_grant(envelope.payload)
    assert signed
    assert (grant.id, grant.node, grant.level) == (view.row.id, "node-1", Level.MEDIA_HEADERS)
    record = house.records()[view.row.evidence_index]
    assert record.body["grant_digest"] == dsse.digest(view.row.grant)
    assert record.body["signers"] == ["operator-1", "lead-1"]
    assert record.body["principal"] == "operator-1"


async def test_nothing_without_an_authority(house: House) -> None:
    """A request under no authority is denied and on record."""
    assert await denial(house, "nothing") is Reason.AUTHORITY_UNKNOWN


async def test_nothing_before_approval(house: House) -> None:
    """A registered ticket yields nothing."""
    view = await house.register(house.site.register(house.site.authority()))
    assert await denial(house, view.row.id) is Reason.APPROVALS_MISSING


async def test_nothing_for_the_wrong_role_node_or_level(house: House) -> None:
    """Each of these is denied by its own reason."""
    authority_id = await house.approved()
    assert await denial(house, authority_id, by="legal-1") is Reason.CALLER_ROLE_WRONG
    assert await denial(house, authority_id, node="node-2") is Reason.NODE_NOT_NAMED
    assert await denial(house, authority_id, node="node-7") is Reason.NODE_UNKNOWN
    assert await denial(house, authority_id, level=Level.CONTENT) is Reason.LEVEL_NOT_PERMITTED


async def test_nothing_outside_the_window(house: House) -> None:
    """Before its beginning and from its end on, an authority yields nothing."""
    now = house.site.now
    window = Window(not_before=now + timedelta(hours=1), not_after=now + timedelta(hours=2))
    authority_id = await house.approved(window=window)
    assert await denial(house, authority_id) is Reason.NOT_YET_VALID
    house.clock.move(hours=2)
    assert await denial(house, authority_id) is Reason.EXPIRED


async def test_nothing_on_a_node_that_is_not_trusted(house: House) -> None:
    """Denied by name and on record until the node is well; what runs there can be stopped."""
    hand = NodeHand(house.site)
    await house.answer(hand)
    running = (await house.capture(await house.approved())).row.id
    authority_id = await house.approved()
    await house.state(hand, programs="cd" * 32)
    assert await denial(house, authority_id) is Reason.NODE_UNTRUSTED
    stopped = await house.captures.stop(running, house.site.principal("operator-1"))
    assert stopped.row.state is CaptureState.STOPPING
    house.clock.move(seconds=1)
    await house.answer(hand, programs="ab" * 32)
    assert (await house.capture(authority_id)).row.state is CaptureState.GRANTED


async def test_nothing_on_a_node_that_enforces_less_than_is_demanded(house: House) -> None:
    """By the node's own last word, which a node that was never heard has not given."""
    authority_id = await house.approved(enforcement=Enforcement.KILL)
    assert await denial(house, authority_id) is Reason.NODE_NOT_ENFORCING
    hand = NodeHand(house.site)
    await house.answer(hand)
    assert await denial(house, authority_id) is Reason.NODE_NOT_ENFORCING
    hand.health = enforcing(Enforcement.KILL)
    house.clock.move(seconds=1)
    await house.answer(hand)
    assert (await house.capture(authority_id)).row.state is CaptureState.GRANTED


async def test_nothing_under_an_expired_trust_policy(house: House) -> None:
    """A policy that expires while the guard runs permits nothing any more."""
    authority_id = await house.approved()
    shorter = replace(house.site.policy, expires_at=house.site.now + timedelta(minutes=1))
    house.office.trusted = house.site.trust(house.site.sign_policy(shorter))
    house.clock.move(minutes=1)
    assert await denial(house, authority_id) is Reason.TRUST_POLICY_EXPIRED


async def test_nothing_by_a_guard_outside_the_trust_policy(house: House) -> None:
    """A guard whose key is not in the policy in force grants nothing."""
    authority_id = await house.approved()
    house.office.signer = house.site.people["auditor-1"].signer
    assert await denial(house, authority_id) is Reason.GRANT_UNTRUSTED


async def test_one_live_capture_per_authority_and_node(house: House) -> None:
    """A second request is denied until the node has ended the first."""
    authority_id = await house.approved()
    first = await house.capture(authority_id)
    assert await denial(house, authority_id) is Reason.ALREADY_RUNNING
    await house.captures.stop(first.row.id, house.site.principal("operator-1"))
    assert await denial(house, authority_id) is Reason.ALREADY_RUNNING
    hand = NodeHand(house.site)
    await house.receipts.take(hand.receipt(first.row.id), hand.identity)
    ended = hand.receipt(first.row.id, ReceiptKind.DISARMED, reason="stopped")
    await house.receipts.take(ended, hand.identity)
    assert (await house.capture(authority_id)).row.state is CaptureState.GRANTED


async def test_a_repeated_request_repeats_the_answer(house: House) -> None:
    """One request id is one grant, however often and however concurrently it is asked."""
    authority_id = await house.approved()
    wish = house.wish(authority_id)
    views = await asyncio.gather(*(house.captures.request(wish) for _ in range(8)))
    assert len({view.row.id for view in views}) == 1
    assert house.kinds().count("capture_granted") == 1
    with pytest.raises(MalformedError):
        await house.captures.request(replace(wish, node="node-2"))


async def test_concurrent_requests_make_one_grant(house: House) -> None:
    """Of many requests at once for one authority and node exactly one is granted."""
    authority_id = await house.approved()
    asked = [house.capture(authority_id) for _ in range(16)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(answer, Denied) for answer in answers) == 1
    assert house.kinds().count("capture_granted") == 1
    assert house.kinds().count("capture_denied") == 15


async def test_stopping_is_never_denied(house: House) -> None:
    """Somebody who may stop stops any capture, once on record; an unknown one is unknown."""
    view = await house.capture(await house.approved())
    for _ in range(2):
        stopped = await house.captures.stop(view.row.id, house.site.principal("legal-1"))
        assert stopped.row.state is CaptureState.STOPPING
    assert house.kinds().count("capture_stopped") == 1
    with pytest.raises(UnknownError):
        await house.captures.stop("nothing", house.site.principal("legal-1"))


async def test_watching_ends_with_the_capture(house: House) -> None:
    """A watcher sees each state at once and the end last."""
    view = await house.capture(await house.approved())
    hand = NodeHand(house.site)
    seen: list[CaptureState] = []
    async for each in house.captures.watch(view.row.id, house.auditor):
        seen.append(each.row.state)
        if each.row.state is CaptureState.GRANTED:
            await house.receipts.take(hand.receipt(view.row.id), hand.identity)
        elif each.row.state is CaptureState.ARMED:
            kind = ReceiptKind.DISARMED
            await house.receipts.take(hand.receipt(view.row.id, kind, reason="x"), hand.identity)
    assert seen == [CaptureState.GRANTED, CaptureState.ARMED, CaptureState.ENDED]
    with pytest.raises(UnknownError):
        await anext(house.captures.watch("nothing", house.auditor))


async def test_fetching_is_for_those_who_may_request(house: House) -> None:
    """A ticket's capture is its operators', and each fetch or refusal is on record."""
    view = await house.capture(await house.approved())
    assert await house.captures.fetch(view.row.id, house.site.principal("operator-1")) == []
    assert house.kinds()[-1] == "capture_fetched"
    with pytest.raises(Denied) as denied:
        await house.captures.fetch(view.row.id, house.site.principal("legal-1"))
    assert denied.value.deny.reason is Reason.CALLER_ROLE_WRONG
    with pytest.raises(Denied) as denied:
        await house.captures.fetch("nothing", house.site.principal("legal-1"))
    assert denied.value.deny.reason is Reason.CAPTURE_UNKNOWN
    assert house.kinds()[-2:] == ["request_denied", "request_denied"]


async def test_an_emergency_is_under_embargo_until_a_second_person_signs(house: House) -> None:
    """Its segments cannot be fetched under one signature, not even after its end."""
    now = house.site.now
    window = Window(not_before=now, not_after=now + timedelta(days=5))
    legal = house.site.principal("legal-1")
    ids = []
    for _ in range(2):
        authority = house.site.authority(Instrument.EMERGENCY, window=window)
        view = await house.register(house.site.register(authority))
        ids.append((view, (await house.capture(view.row.id, by="legal-1")).row.id))
    (signed, first), (_unsigned, second) = ids
    with pytest.raises(Denied) as denied:
        await house.captures.fetch(first, legal)
    assert denied.value.deny.reason is Reason.EMBARGOED
    await house.sign(signed, "legal-2")
    assert await house.captures.fetch(first, legal) == []
    house.clock.move(hours=49)
    await house.sweep.run()
    with pytest.raises(Denied) as denied:
        await house.captures.fetch(second, legal)
    assert denied.value.deny.reason is Reason.EMBARGOED


async def test_without_a_quorum_nothing_is_granted_and_everything_ends(house: House) -> None:
    """No witness: a request is denied on record; stop and revoke go through; later it is granted."""
    first, second = await house.approved(), await house.approved()
    running = await house.capture(first)
    house.quorum.there = False
    assert await denial(house, second) is Reason.WITNESS_QUORUM_MISSING
    assert await denial(house, "nothing") is Reason.AUTHORITY_UNKNOWN
    stopped = await house.captures.stop(running.row.id, house.site.principal("operator-1"))
    assert stopped.row.state is CaptureState.STOPPING
    await house.authorities.revoke(first, "over", house.site.principal("lead-1"))
    house.quorum.there = True
    assert (await house.capture(second)).row.state is CaptureState.GRANTED


async def test_a_repeated_request_needs_no_quorum(house: House) -> None:
    """What was granted is answered again, witnesses or not."""
    wish = house.wish(await house.approved())
    granted = await house.captures.request(wish)
    house.quorum.there = False
    assert (await house.captures.request(wish)).row.id == granted.row.id


async def test_an_operator_sees_no_capture_of_a_warrant(house: House) -> None:
    """It is not listed, and watching it says that there is none."""
    await house.approved(Instrument.INTERCEPTION_ORDER)
    await house.sweep.run()
    ticket = await house.capture(await house.approved())
    operator = house.site.principal("operator-1")
    shown, _ = house.captures.page(operator, authority_id=None, limit=9, before=None)
    assert [view.row.id for view in shown] == [ticket.row.id]
    every, _ = house.captures.page(house.auditor, authority_id=None, limit=9, before=None)
    (hidden,) = [view.row.id for view in every if view.row.id != ticket.row.id]
    with pytest.raises(UnknownError):
        await anext(house.captures.watch(hidden, operator))
    stopped = to_capture(await house.captures.stop(hidden, operator))
    assert stopped == Capture(id=hidden, state=CAPTURE_STATE_STOPPING)
    mine = to_capture(await house.captures.stop(ticket.row.id, operator))
    assert (mine.node, mine.reference != "") == ("node-1", True)


async def test_a_clock_set_back_permits_nothing_and_stops_everything(house: House) -> None:
    """Behind its own log by more than the tolerance the guard denies; it still stops."""
    running = await house.capture(await house.approved())
    ready = await house.approved()
    house.clock.move(hours=2)
    with pytest.raises(Denied):
        await house.capture("nothing")  # Dates the log two hours on.
    house.clock.move(hours=-2)
    assert await denial(house, ready) is Reason.CLOCK_IN_DOUBT
    stopped = await house.captures.stop(running.row.id, house.site.principal("operator-1"))
    assert stopped.row.state is CaptureState.STOPPING
    times = [record.time for record in house.records()]
    assert times == sorted(times)
    house.clock.move(hours=2)
    assert await denial(house, ready) is Reason.EXPIRED
