"""What nodes state: verified, chained, on record, and never dropped."""

from __future__ import annotations

import pytest

from guard.app.changes import CaptureRow
from guard.app.denial import MalformedError
from guard.core.lifecycle import CaptureState
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from tests.builders.house import House, NodeHand


async def granted(house: House) -> str:
    return (await house.capture(await house.approved())).row.id


def row(house: House, capture_id: str) -> CaptureRow:
    with house.ledger.reads() as view:
        found = view.capture(capture_id)
    assert found is not None
    return found


async def test_receipts_move_the_capture_and_are_on_record(house: House) -> None:
    """Armed, sealed, disarmed: each becomes its record, and the capture follows."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    receipts = (
        (hand.receipt(grant_id), CaptureState.ARMED),
        (hand.sealed(grant_id, 1, b"x"), CaptureState.ARMED),
        (hand.receipt(grant_id, ReceiptKind.NOTHING_CAPTURED), CaptureState.ARMED),
        (hand.receipt(grant_id, ReceiptKind.DISARMED, reason="expired"), CaptureState.ENDED),
    )
    for number, (envelope, state) in enumerate(receipts, 1):
        assert await house.receipts.take(envelope, hand.identity) == number
        assert row(house, grant_id).state is state
    assert house.kinds()[-4:] == [
        "capture_armed",
        "segment_sealed",
        "nothing_captured",
        "capture_disarmed",
    ]
    assert row(house, grant_id).why == "expired"


async def test_an_incident_is_about_no_grant_and_on_record(house: House) -> None:
    """What was tried without a grant is in the log in the node's own words, once."""
    hand = NodeHand(house.site)
    envelope = hand.receipt(None, ReceiptKind.INCIDENT, what="recording_refused", verb="publish")
    for _ in range(2):
        assert await house.receipts.take(envelope, hand.identity) == 1
    (record,) = [each for each in house.records() if each.kind is RecordKind.INCIDENT]
    assert record.body["details"] == {"what": "recording_refused", "verb": "publish"}
    assert "grant_id" not in record.body


async def test_a_nodes_refusal_says_why(house: House) -> None:
    """A refused grant carries the node's reason."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    refused = hand.receipt(grant_id, ReceiptKind.REFUSED, reason="clock_in_doubt")
    await house.receipts.take(refused, hand.identity)
    found = row(house, grant_id)
    assert (found.state, found.why) == (CaptureState.REFUSED, "clock_in_doubt")


async def test_the_last_receipt_again_is_acknowledged_and_not_recorded_twice(house: House) -> None:
    """An acknowledgement that got lost costs nothing."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    envelope = hand.receipt(grant_id)
    for _ in range(3):
        assert await house.receipts.take(envelope, hand.identity) == 1
    assert house.kinds().count("capture_armed") == 1


async def test_a_receipt_by_another_hand_is_not_taken(house: House) -> None:
    """Another node's key, another node's name, and noise are malformed and leave no record."""
    grant_id = await granted(house)
    here, there = NodeHand(house.site), NodeHand(house.site, "node-2")
    before = house.kinds()
    for envelope in (there.receipt(grant_id), here.receipt(grant_id)[:-1], b"{}"):
        with pytest.raises(MalformedError):
            await house.receipts.take(envelope, here.identity)
    assert house.kinds() == before


async def test_a_receipt_left_out_is_an_incident_and_the_next_is_recorded(house: House) -> None:
    """A gap in a node's chain is on record, and so is the receipt after it."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    hand.receipt(grant_id)  # Never sent.
    assert await house.receipts.take(hand.receipt(grant_id), hand.identity) == 2
    assert house.kinds()[-2:] == ["incident", "capture_armed"]
    assert house.records()[-2].body["what"] == "receipts_broken"


async def test_two_histories_of_a_node_are_an_incident(house: House) -> None:
    """Another receipt under the last number is recorded beside the first."""
    grant_id = await granted(house)
    first, second = NodeHand(house.site), NodeHand(house.site)
    await house.receipts.take(first.receipt(grant_id), first.identity)
    other = second.receipt(grant_id, ReceiptKind.DISARMED, reason="expired")
    await house.receipts.take(other, first.identity)
    assert house.kinds()[-2:] == ["incident", "capture_disarmed"]


@pytest.mark.parametrize("remembered", [0, 1])
async def test_a_node_that_lost_its_memory_begins_again_on_record(
    house: House, remembered: int
) -> None:
    """A lower count at the start of a session is an incident, and its next receipts are taken."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    kept = NodeHand(house.site)
    for number in range(2):
        await house.receipts.take(hand.receipt(grant_id), hand.identity)
        if number < remembered:
            kept.sequence, kept.previous = hand.sequence, hand.previous
    assert await house.receipts.resume(hand.identity, remembered) == remembered
    assert house.records()[-1].body["what"] == "receipts_lost"
    ended = kept.receipt(grant_id, ReceiptKind.DISARMED, reason="expired")
    assert await house.receipts.take(ended, hand.identity) == remembered + 1
    assert house.kinds()[-1] == "capture_disarmed"
    assert house.kinds()[-2] == "incident"


async def test_resuming_names_the_last_receipt_held(house: House) -> None:
    """A node with newer receipts learns from which number on to send."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    await house.receipts.take(hand.receipt(grant_id), hand.identity)
    before = house.kinds()
    assert await house.receipts.resume(hand.identity, 5) == 1
    assert house.kinds() == before


async def test_a_late_armed_does_not_undo_a_stop(house: House) -> None:
    """A capture told to stop stays stopping when the node's receipt crosses the word."""
    grant_id, hand = await granted(house), NodeHand(house.site)
    await house.captures.stop(grant_id, house.site.principal("legal-1"))
    await house.receipts.take(hand.receipt(grant_id), hand.identity)
    assert row(house, grant_id).state is CaptureState.STOPPING
    assert house.kinds()[-1] == "capture_armed"


async def test_a_receipt_about_an_unknown_capture_is_recorded(house: House) -> None:
    """What a node states of a grant that the guard does not have is on record all the same."""
    hand = NodeHand(house.site)
    await house.receipts.take(hand.receipt("0" * 8 + "-0000-4000-8000-000000000000"), hand.identity)
    assert house.kinds()[-1] == "capture_armed"


async def test_a_node_cannot_end_another_nodes_capture(house: House) -> None:
    """A receipt of node-2 about node-1's capture moves nothing."""
    grant_id, hand = await granted(house), NodeHand(house.site, "node-2")
    ended = hand.receipt(grant_id, ReceiptKind.DISARMED, reason="expired")
    await house.receipts.take(ended, hand.identity)
    assert row(house, grant_id).state is CaptureState.GRANTED
