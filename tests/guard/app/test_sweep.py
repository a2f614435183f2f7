"""What happens by itself, and what does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from guard.app.changes import CaptureRow, PutAuthority
from guard.app.ports import Plan, Reads
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.instruments import Instrument
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from guard.core.window import Window
from tests.builders.healths import enforcing
from tests.builders.house import House, NodeHand


def captures(house: House) -> list[CaptureRow]:
    return [
        view.row
        for view in house.captures.page(house.auditor, authority_id=None, limit=99, before=None)[0]
    ]


def window(house: House, **length: float) -> Window:
    return Window(not_before=house.site.now, not_after=house.site.now + timedelta(**length))


async def end(house: House, hand: NodeHand, grant_id: str, reason: str) -> None:
    ended = hand.receipt(grant_id, ReceiptKind.DISARMED, reason=reason)
    await house.receipts.take(ended, hand.identity)


async def test_a_warrant_begins_by_itself_on_every_node(house: House) -> None:
    """At not_before, and not earlier, an approved warrant is granted once on each node it names."""
    begins = house.site.now + timedelta(minutes=5)
    later = Window(not_before=begins, not_after=begins + timedelta(hours=1))
    await house.approved(Instrument.INTERCEPTION_ORDER, window=later, nodes=("node-1", "node-2"))
    assert await house.sweep.run() == 0
    house.clock.move(minutes=5)
    await house.sweep.run()
    assert {row.node for row in captures(house)} == {"node-1", "node-2"}
    record = house.records()[-1]
    assert record.kind == "capture_granted"
    assert (record.body["principal"], record.body["started_by"]) == ("legal-1", "guard-1")
    assert await house.sweep.run() == 0


async def test_nothing_else_begins_by_itself(house: House) -> None:
    """Tickets and tests wait for somebody to ask, a warrant for its second signature."""
    await house.approved()
    await house.approved(Instrument.TEST)
    await house.register(house.site.register(house.site.authority(Instrument.INTERCEPTION_ORDER)))
    assert await house.sweep.run() == 0
    assert captures(house) == []


async def test_at_its_end_an_authority_expires_and_its_captures_stop(house: House) -> None:
    """Expiry is on record for the authority and for each capture."""
    authority_id = await house.approved()
    await house.capture(authority_id)
    house.clock.move(hours=1)
    await house.sweep.run()
    assert house.authorities.get(authority_id, house.auditor).row.state is AuthorityState.EXPIRED
    assert "authority_expired" in house.kinds()
    assert "capture_expired" in house.kinds()
    while await house.sweep.run():
        pass
    assert captures(house)[0].state is CaptureState.ENDED


@pytest.mark.parametrize("why", ["lease_ended", "agent_stopped", "node_not_enforcing"])
async def test_a_capture_whose_lease_ended_is_granted_again_once_the_node_is_back(
    house: House, why: str
) -> None:
    """A warrant goes on after an outage, under a new grant, on a connected node only."""
    await house.approved(Instrument.INTERCEPTION_ORDER)
    await house.sweep.run()
    (first,) = captures(house)
    hand = NodeHand(house.site)
    await end(house, hand, first.id, why)
    await house.sweep.run()
    assert len(captures(house)) == 1
    with house.presence.session("node-1"):
        await house.sweep.run()
        rows = captures(house)
        assert len(rows) == 2
        assert rows[0].grant != first.grant
        assert await house.sweep.run() == 0


async def test_what_a_person_stopped_does_not_begin_again(house: House) -> None:
    """Neither a stop nor a node's refusal is undone by the sweep."""
    await house.approved(Instrument.INTERCEPTION_ORDER, nodes=("node-1", "node-2"))
    await house.sweep.run()
    rows = {row.node: row for row in captures(house)}
    await house.captures.stop(rows["node-1"].id, house.site.principal("legal-1"))
    hand, other = NodeHand(house.site), NodeHand(house.site, "node-2")
    await end(house, hand, rows["node-1"].id, "stopped")
    refused = other.receipt(rows["node-2"].id, ReceiptKind.REFUSED, reason="node_unable")
    await house.receipts.take(refused, other.identity)
    with house.presence.session("node-1"), house.presence.session("node-2"):
        assert await house.sweep.run() == 0


async def test_a_forged_row_starts_nothing_and_stops_nobody(house: House) -> None:
    """A row marked approved, with an unsigned or unreadable envelope, leaves the others going."""
    authority = house.site.authority(Instrument.INTERCEPTION_ORDER)
    view = await house.register(house.site.register(authority))
    other = await house.register(
        house.site.register(house.site.authority(Instrument.INTERCEPTION_ORDER))
    )

    def forge(_view: Reads, index: int) -> Plan[None]:
        approved = AuthorityState.APPROVED
        rows = (
            replace(view.row, state=approved, revision=index),
            replace(other.row, state=approved, revision=index, envelope=b"nothing"),
        )
        record = house.office.record(RecordKind.AUTHORITY_APPROVED, house.clock.now(), {})
        return Plan(result=None, records=(record,), changes=tuple(map(PutAuthority, rows)))

    await house.ledger.execute(forge)
    honest = await house.approved(Instrument.INTERCEPTION_ORDER)
    await house.sweep.run()
    assert [row.authority_id for row in captures(house)] == [honest]


async def test_a_revoked_warrant_does_not_begin(house: House) -> None:
    """Revocation before the beginning is the end."""
    authority_id = await house.approved(Instrument.INTERCEPTION_ORDER)
    await house.authorities.revoke(authority_id, "withdrawn", house.site.principal("legal-2"))
    await house.sweep.run()
    assert captures(house) == []


async def test_an_emergency_begins_at_once_and_ends_after_48_hours(house: House) -> None:
    """One signature starts it by itself; without a second it is over after 48 hours."""
    authority = house.site.authority(Instrument.EMERGENCY, window=window(house, days=5))
    view = await house.register(house.site.register(authority))
    await house.sweep.run()
    (row,) = captures(house)
    assert row.not_after == house.site.now + timedelta(hours=48)
    house.clock.move(hours=48)
    while await house.sweep.run():
        pass
    assert house.authorities.get(view.row.id, house.auditor).row.state is AuthorityState.EXPIRED
    assert [row.state for row in captures(house)] == [CaptureState.ENDED]


async def test_an_emergency_signed_by_two_goes_on_under_a_new_grant(house: House) -> None:
    """The first grant holds to its own end; then the sweep grants the rest of the window."""
    authority = house.site.authority(Instrument.EMERGENCY, window=window(house, days=5))
    view = await house.register(house.site.register(authority))
    await house.sweep.run()
    await house.sign(view, "legal-2")
    assert await house.sweep.run() == 0
    house.clock.move(hours=48)
    while await house.sweep.run():
        pass
    newest, oldest = captures(house)
    assert oldest.not_after == house.site.now + timedelta(hours=48)
    assert newest.not_after == house.site.now + timedelta(days=5)
    assert newest.state is CaptureState.GRANTED


async def test_a_stop_without_a_node_ends_with_the_grant(house: House) -> None:
    """A capture that was told to stop and whose node is away has ended when its grant has."""
    view = await house.capture(await house.approved())
    await house.captures.stop(view.row.id, house.site.principal("legal-1"))
    assert await house.sweep.run() == 0
    house.clock.move(hours=1)
    while await house.sweep.run():
        pass
    (row,) = captures(house)
    assert (row.state, row.why) == (CaptureState.ENDED, "stopped")


async def test_no_warrant_begins_without_a_quorum(house: House) -> None:
    """It waits, without a record each second, and begins when the witnesses are back."""
    await house.approved(Instrument.INTERCEPTION_ORDER)
    house.quorum.there = False
    before = house.kinds()
    await house.sweep.run()
    assert house.kinds() == before
    house.quorum.there = True
    await house.sweep.run()
    assert house.kinds()[len(before) :] == ["capture_granted"]


async def test_no_warrant_begins_on_a_node_that_is_not_trusted(house: House) -> None:
    """It begins where it can, and there as soon as the node is well; nothing is on record between."""
    hand = NodeHand(house.site)
    await house.answer(hand)
    await house.state(hand, programs="cd" * 32)
    order = Instrument.INTERCEPTION_ORDER
    await house.approved(order, window=window(house, hours=2), nodes=("node-1", "node-2"))
    before = len(house.records())
    await house.sweep.run()
    await house.sweep.run()
    assert [row.node for row in captures(house)] == ["node-2"]
    assert len(house.records()) == before + 1
    house.clock.move(seconds=1)
    await house.answer(hand, programs="ab" * 32)
    await house.sweep.run()
    assert {row.node for row in captures(house)} == {"node-1", "node-2"}


async def test_a_warrant_waits_for_a_node_that_enforces_enough(house: House) -> None:
    """It begins by itself once the node says that it does, and not on a node that does not."""
    house.site.adopt(
        nodes=tuple(replace(n, sentry=SentryMode.ENFORCE) for n in house.site.policy.nodes)
    )
    house.office.trusted = house.site.trusted
    hand = NodeHand(house.site)
    hand.health = enforcing(Enforcement.KILL)
    await house.answer(hand)
    order = Instrument.INTERCEPTION_ORDER
    both = ("node-1", "node-2")
    await house.approved(order, nodes=both, enforcement=Enforcement.PREVENT)
    await house.sweep.run()
    assert captures(house) == []
    house.clock.move(seconds=1)
    hand.health = enforcing(Enforcement.PREVENT)
    await house.answer(hand)
    await house.sweep.run()
    assert [row.node for row in captures(house)] == ["node-1"]
