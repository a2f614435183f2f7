"""Reconciliation at work, on real ledgers: on record when found and when over, and no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from guard.app.ports import Plan, Reads
from guard.app.reconcile import Reconciler
from guard.app.retention import Retention
from guard.core.findings import FindingKind
from guard.core.instruments import Instrument
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from guard.core.untrusted import UNHEARD
from tests.builders.deployment import new_id
from tests.builders.house import House, NodeHand

FOUND, OVER = RecordKind.FINDING, RecordKind.FINDING_CLOSED


async def granted(house: House, instrument: Instrument = Instrument.TICKET) -> str:
    by = "operator-1" if instrument is Instrument.TICKET else "legal-1"
    return (await house.capture(await house.approved(instrument), by=by)).row.id


async def hear(house: House, *hands: NodeHand, armed: tuple[str, ...] = ()) -> None:
    """Let nodes say that they are there; the first one has these armed."""
    for hand, names in zip(hands, (armed, ()), strict=False):
        said = hand.heartbeat(*names, time=house.clock.now())
        await house.receipts.take(said, hand.identity)


def on_record(house: House) -> list[tuple[RecordKind, str]]:
    """Return every finding and every end of one in the log."""
    return [(each.kind, each.body["key"]) for each in house.records() if each.kind in {FOUND, OVER}]


async def test_a_heartbeat_receipt_is_on_record_with_its_list(house: House) -> None:
    """An empty list and a full one, each as its node signed it."""
    grant, hand = await granted(house), NodeHand(house.site)
    await hear(house, hand)
    await hear(house, hand, armed=(grant,))
    records = [each for each in house.records() if each.kind is RecordKind.NODE_HEARTBEAT]

    assert [each.body["armed"] for each in records] == [[], [grant]]
    assert records[0].body["details"] == {"armed": 0, "every": 180, "part": 1, "parts": 1}
    assert records[1].body["previous"] == records[0].body["receipt_digest"]


async def test_what_is_well_leaves_no_record(house: House) -> None:
    """A grant from its beginning to its end, looked at every second: nothing is written."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    await hear(house, *hands)
    grant = await granted(house)
    await house.receipts.take(hands[0].receipt(grant), hands[0].identity)
    for _ in range(20):
        house.clock.move(minutes=3)
        await hear(house, *hands, armed=(grant,))
        assert await house.reconciler.look() == 0
    await house.captures.stop(grant, house.site.principal("operator-1"))
    ended = hands[0].receipt(grant, ReceiptKind.DISARMED, reason="stopped")
    await house.receipts.take(ended, hands[0].identity)
    house.clock.move(minutes=3)
    await hear(house, *hands)

    assert await house.reconciler.look() == 0
    assert on_record(house) == []
    assert await house.reconciler.open(house.site.principal("auditor-1")) == []


async def look_each_second(house: House, seconds: int) -> None:
    for _ in range(seconds):
        house.clock.move(seconds=1)
        await house.reconciler.look()


async def test_silence_is_found_and_ends(house: House) -> None:
    """After ten minutes by the guard's clock, once per node; a receipt ends it."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    await house.reconciler.look()
    await hear(house, *hands)
    await look_each_second(house, 599)
    assert on_record(house) == []
    await look_each_second(house, 2)
    assert on_record(house) == [
        (FOUND, "node_silent:node-1"),
        (FOUND, "node_silent:node-2"),
        (FOUND, "node_untrusted:node-1"),
        (FOUND, "node_untrusted:node-2"),
    ]
    await hear(house, hands[0])
    await look_each_second(house, 30)
    assert on_record(house)[4:] == [(OVER, "node_silent:node-1")]
    left = await house.reconciler.open(house.site.principal("operator-1"))
    assert [(each.kind.value, each.node) for each in left] == [
        ("node_silent", "node-2"),
        ("node_untrusted", "node-2"),
        ("node_untrusted", "node-1"),
    ]


async def test_a_guard_that_slept_finds_nobody_silent(house: House) -> None:
    """An hour in which nobody looked is an hour in which nobody was heard."""
    await house.reconciler.look()
    house.clock.move(hours=1)
    assert await house.reconciler.look() == 0
    await look_each_second(house, 600)

    assert [kind for kind, _ in on_record(house)] == [FOUND] * 4


async def test_a_restart_repeats_nothing(house: House) -> None:
    """The next start reads the log and knows what is on record as found."""
    hand, ghost = NodeHand(house.site), new_id()
    await house.reconciler.look()
    await house.receipts.take(hand.receipt(ghost), hand.identity)
    await house.reconciler.look()
    before = on_record(house)
    assert before == [(FOUND, f"armed_not_granted:node-1:{ghost}")]

    again = Reconciler(house.office)
    assert await again.look() == 0
    assert [each.grant_id for each in await again.open(house.site.principal("legal-1"))] == [ghost]
    await hear(house, hand)
    assert await again.look() == 1
    assert on_record(house)[1:] == [(OVER, before[0][1])]


async def test_a_segment_that_does_not_come(house: House) -> None:
    """On record with its number, its grant and its authority, and over once it is stored."""
    grant, hand = await granted(house), NodeHand(house.site)
    other = NodeHand(house.site, "node-2")
    await house.reconciler.look()
    await house.receipts.take(hand.receipt(grant), hand.identity)
    receipt = hand.sealed(grant, 1, b"sealed")
    await house.receipts.take(receipt, hand.identity)
    for _ in range(5):
        await look_each_second(house, 130)
        await hear(house, hand, other, armed=(grant,))
    await house.reconciler.look()
    (record,) = [each for each in house.records() if each.kind is FOUND]
    assert (record.body["what"], record.body["number"]) == ("sealed_not_received", 1)
    with house.ledger.reads() as view:
        row = view.capture(grant)
    assert row is not None
    assert (record.body["grant_id"], record.body["authority_id"]) == (grant, row.authority_id)

    incoming = await house.segments.offer(grant, 1, receipt, hand.identity)
    assert incoming is not None
    house.segments.add(incoming, 0, b"sealed")
    assert await house.segments.keep(incoming)
    await house.reconciler.look()
    assert on_record(house)[1:] == [(OVER, record.body["key"])]


async def test_operators_see_of_a_warrants_finding_where_and_since_when(house: House) -> None:
    """No grant, no authority and no sentence that names them; others see all of it."""
    grant = await granted(house, Instrument.INTERCEPTION_ORDER)
    await house.reconciler.look()
    await look_each_second(house, 121)
    (seen,) = await house.reconciler.open(house.site.principal("legal-1"))
    (shown,) = await house.reconciler.open(house.site.principal("operator-1"))

    assert seen.grant_id == grant
    assert (shown.kind, shown.node, shown.since) == (seen.kind, seen.node, seen.since)
    assert (shown.grant_id, shown.authority_id, shown.number) == (None, None, None)
    assert grant not in shown.detail


async def test_operators_see_a_tickets_finding(house: House) -> None:
    """What they may see anyway."""
    grant = await granted(house)
    await house.reconciler.look()
    await look_each_second(house, 121)
    (shown,) = await house.reconciler.open(house.site.principal("operator-1"))

    assert shown.grant_id == grant


async def test_an_operator_does_not_see_whose_grant_a_ghost_is(house: House) -> None:
    """A grant that nobody knows may be a warrant's."""
    hand, ghost = NodeHand(house.site), new_id()
    await house.receipts.take(hand.receipt(ghost), hand.identity)
    await house.reconciler.look()
    (shown,) = await house.reconciler.open(house.site.principal("operator-1"))

    assert (shown.kind, shown.grant_id) == (FindingKind.ARMED_NOT_GRANTED, None)
    assert ghost not in shown.detail


async def test_a_long_log_is_read_in_pages_before_anything_is_found(house: House) -> None:
    """More than a page; the findings that are over within it come and go without a record."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    for _ in range(300):
        house.clock.move(minutes=3)
        await hear(house, *hands)

    assert await house.reconciler.look() == 0
    assert house.reconciler._next == len(house.records())


async def test_erased_records_are_passed_over(house: House) -> None:
    """A log whose beginning is erased gives no finding for what is missing."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    grant = await granted(house)
    await house.receipts.take(hands[0].receipt(grant), hands[0].identity)
    ended = hands[0].receipt(grant, ReceiptKind.DISARMED, reason="stopped")
    await house.receipts.take(ended, hands[0].identity)
    await hear(house, *hands)
    house.clock.move(days=400)
    await house.cosign()
    assert await Retention(house.office, timedelta(days=365)).erase() > 0
    await hear(house, *hands)

    assert await house.reconciler.look() == 0


async def test_a_record_that_cannot_be_read_is_found(house: House) -> None:
    """A body that says nothing that the guard knows how to follow."""

    def plan(_view: Reads, _index: int) -> Plan[None]:
        body: dict[str, Any] = {"grant_id": "none"}
        record = house.office.record(RecordKind.CAPTURE_GRANTED, house.clock.now(), body)
        return Plan(result=None, records=(record,))

    await house.office.execute(plan)
    assert await house.reconciler.look() == 1
    (record,) = [each for each in house.records() if each.kind is FOUND]
    assert record.body["what"] == "record_unreadable"


OTHERS = {"programs": "cd" * 32}


async def test_how_nodes_stand_is_known_to_whoever_permits(house: House) -> None:
    """Nothing before the first look; then every node of the trust policy, and its last word."""
    hand = NodeHand(house.site)
    await hear(house, hand)
    assert house.office.standings.of("node-1") is UNHEARD
    await house.reconciler.look()
    known = house.office.standings.of("node-1")
    assert (known.health, known.heard) == (hand.health, house.clock.now())
    assert [node.name for node, _ in await house.reconciler.nodes()] == ["node-1", "node-2"]
    assert house.office.standings.of("node-9") is UNHEARD


async def test_a_node_that_changes_is_untrusted_until_it_is_well(house: House) -> None:
    """On record when it is found and when it is over, and known to a guard that starts anew."""
    hand, key = NodeHand(house.site), "node_untrusted:node-1"
    await house.answer(hand)
    assert on_record(house) == []
    await house.state(hand, **OTHERS)
    assert on_record(house) == [(FOUND, key)]
    (record,) = [each for each in house.records() if each.kind is FOUND]
    assert record.body["detail"].endswith("has other programs in its kernel than at its start")

    house.reconciler = Reconciler(house.office)
    house.office.standings.put({})
    assert await house.reconciler.look() == 0
    flaw = house.office.standings.of("node-1").flaw
    assert flaw is not None
    house.clock.move(seconds=1)
    await house.answer(hand, programs="ab" * 32)
    assert on_record(house) == [(FOUND, key), (OVER, key)]
    assert house.office.standings.of("node-1").flaw is None


async def test_challenges_come_one_by_one(house: House) -> None:
    """At a session's begin, then a minute after the last, and not while one waits."""
    ask = house.reconciler.challenge
    assert ask("node-1", begin=True) is None, "nothing is asked before the log is read"
    await house.reconciler.look()
    assert ask("node-9", begin=True) is None, "nobody of that name"
    first = ask("node-1", begin=False)
    assert first is not None
    assert len(first) == 32
    house.clock.move(minutes=10)
    assert ask("node-1", begin=False) is None, "it waits"
    again = ask("node-1", begin=True)
    assert again not in {None, first}
    house.reconciler.left("node-1")
    assert ask("node-1", begin=False) is None, "it is early"
    house.clock.move(minutes=1)
    assert ask("node-1", begin=False) is not None
    house.reconciler.left("node-9")
