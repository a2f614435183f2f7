"""What records say, as facts: read from records that the use cases really write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guard.core.facts import (
    AuthorityApproved,
    AuthorityRegistered,
    AuthorityRevoked,
    Denied,
    Granted,
    PolicyChanged,
    ReceiptTaken,
    Stopped,
    read_fact,
)
from guard.core.reasons import Reason
from guard.core.record import Record, RecordKind
from tests.builders.deployment import NOW
from tests.builders.house import House, NodeHand
from tests.guard.core.refusals import refuses


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Run a guard's use cases in memory."""
    async with House(tmp_path) as made:
        yield made


async def test_a_captures_story_reads_back(house: House) -> None:
    """Registering, approving, granting, arming, stopping: each is a fact with its ids."""
    ticket = await house.approved()
    view = await house.capture(ticket)
    hand = NodeHand(house.site)
    await house.receipts.take(hand.receipt(view.row.id), hand.identity)
    await house.receipts.take(
        hand.heartbeat(),
        hand.identity,
    )
    await house.captures.stop(view.row.id, house.site.principal("operator-1"))
    await house.authorities.revoke(ticket, "done", house.site.principal("lead-1"))
    facts = [read_fact(index, each) for index, each in enumerate(house.records())]
    kinds = [type(fact) for fact in facts]
    assert kinds == [
        PolicyChanged,
        AuthorityRegistered,
        AuthorityApproved,
        Granted,
        ReceiptTaken,
        ReceiptTaken,
        Stopped,
        AuthorityRevoked,
    ]
    granted = facts[3]
    assert isinstance(granted, Granted)
    assert (granted.grant_id, granted.authority_id) == (view.row.id, ticket)
    assert (granted.not_before, granted.not_after) == (view.row.not_before, view.row.not_after)
    assert [fact.index for fact in facts if fact] == list(range(8))


def record(kind: RecordKind, body: Mapping[str, Any]) -> Record:
    return Record(kind=kind, time=NOW, body=body, salt=bytes(32))


def test_a_record_that_contradicts_its_receipt_is_refused(house: House) -> None:
    """Node, number, digest and kind beside a receipt are those of the receipt."""
    hand = NodeHand(house.site)
    from guard.app.receipts import verified_receipt

    envelope = hand.receipt("00000000-0000-4000-8000-000000000001")
    receipt = verified_receipt(envelope, hand.identity)
    made = house.receipts._record(NOW, receipt, envelope, None)
    assert isinstance(read_fact(0, made), ReceiptTaken)
    for change in ({"node": "node-2"}, {"sequence": 2}, {"receipt_digest": "ab" * 32}):
        with refuses(Reason.DOCUMENT_MALFORMED):
            read_fact(0, replace(made, body={**made.body, **change}))
    with refuses(Reason.DOCUMENT_MALFORMED):
        read_fact(0, replace(made, kind=RecordKind.CAPTURE_DISARMED))


def test_denials_and_policies(house: House) -> None:
    """A denial keeps what it was about; a policy's record keeps the policy."""
    body = {"method": "m", "principal": "p", "reason": "r", "sentence": "s", "node": "node-1"}
    denied = read_fact(4, record(RecordKind.CAPTURE_DENIED, body))
    assert isinstance(denied, Denied)
    assert (denied.index, dict(denied.about)) == (4, {"node": "node-1"})
    made = house.trust._changed(house.office.trusted, NOW, "configuration").records[0]
    changed = read_fact(0, made)
    assert isinstance(changed, PolicyChanged)
    assert changed.envelope == house.office.trusted.envelope


def test_what_nobody_follows_gives_no_fact() -> None:
    """Readings, fetches, the guard's own incidents: nothing."""
    for kind in (RecordKind.RECORDS_READ, RecordKind.CAPTURE_FETCHED, RecordKind.INCIDENT):
        assert read_fact(0, record(kind, {})) is None


@pytest.mark.parametrize(
    "kind",
    [
        RecordKind.AUTHORITY_REGISTERED,
        RecordKind.CAPTURE_GRANTED,
        RecordKind.CAPTURE_STOPPED,
        RecordKind.SEGMENT_STORED,
        RecordKind.TRUST_POLICY_CHANGED,
        RecordKind.FINDING,
        RecordKind.FINDING_CLOSED,
    ],
)
def test_a_body_without_its_fields_is_refused(kind: RecordKind) -> None:
    """A record that does not say what its kind says is malformed, never guessed."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        read_fact(0, record(kind, {"by": "x"}))
