"""What goes on the record, and how often."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest

from agents.core import commands as do
from agents.core.incidents import MOST, Incidents
from agents.core.instant import NANOSECONDS, Instant
from guard.core.receipt import ReceiptKind

WALL = datetime(2026, 8, 1, tzinfo=UTC)


def at(seconds: float) -> Instant:
    return Instant(boot_ns=round(seconds * NANOSECONDS), wall=WALL)


def receipts(commands):
    found = [each.draft for each in commands if isinstance(each, do.SendReceipt)]
    assert all(each.kind is ReceiptKind.INCIDENT and each.grant_id is None for each in found)
    return [dict(each.details) for each in found]


ASKED = "recording_refused"  # what a client causes at will


def test_a_finding_is_on_record_at_once_and_the_call_by_its_hash():
    found = Incidents().found("recording_refused", b"call-1", {"verb": "offer"}, at(1))
    assert receipts(found) == [
        {"what": "recording_refused", "call": sha256(b"call-1").hexdigest(), "verb": "offer"}
    ]
    assert isinstance(found[-1], do.Log)
    assert found[-1].warning
    assert "call-1" not in repr(found)


def test_equal_findings_within_a_minute_are_one_receipt_and_a_count():
    record = Incidents()
    said = [record.found(ASKED, b"c", {"who": "udp"}, at(second)) for second in (1, 2, 60.9)]
    assert [len(receipts(each)) for each in said] == [1, 0, 0]
    assert record.next_deadline() == 61 * NANOSECONDS
    assert record.wake_up(at(60.99)) == []
    assert receipts(record.wake_up(at(61))) == [{"what": ASKED, "more": 2}]
    assert record.next_deadline() is None
    assert receipts(record.found(ASKED, b"c", {"who": "udp"}, at(62)))


def test_what_was_counted_is_told_before_what_is_found_late():
    record = Incidents()
    record.found(ASKED, None, {}, at(1))
    record.found(ASKED, None, {}, at(2))
    assert receipts(record.found("y", None, {}, at(100))) == [
        {"what": ASKED, "more": 1},
        {"what": "y"},
    ]


@pytest.mark.parametrize("differs", ["what", "call", "details"])
def test_findings_that_differ_in_anything_are_receipts_of_their_own(differs):
    record = Incidents()
    record.found("x", b"c", {"who": "a"}, at(1))
    other = {
        "what": ("y", b"c", {"who": "a"}),
        "call": ("x", b"d", {"who": "a"}),
        "details": ("x", b"c", {"who": "b"}),
    }[differs]
    assert receipts(record.found(*other, at(2)))


def test_a_flood_is_bounded_and_hides_nothing_of_another_kind():
    record = Incidents()
    for number in range(MOST + 50):
        record.found("x", None, {"who": number}, at(1))
    assert receipts(record.found("y", None, {}, at(1))) == [{"what": "y"}]
    assert receipts(record.wake_up(at(61))) == [{"what": "x", "more": 50}]


def test_what_the_agent_finds_is_told_every_time():
    record = Incidents()
    assert [len(receipts(record.found("fence_breached", None, {}, at(n)))) for n in (1, 2)] == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("said", "kept"),
    [("a\nb\x1b[31m", "a?b?[31m"), ("", "?"), (" \n", "?"), ("x" * 500, "x" * 200), (7, 7)],
)
def test_what_comes_from_outside_is_one_plain_line(said, kept):
    (receipt,) = receipts(Incidents().found("x", None, {"who": said}, at(1)))
    assert receipt["who"] == kept
