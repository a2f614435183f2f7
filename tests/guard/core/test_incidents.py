"""What of the log is an incident, and which records are one incident."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.incidents import MOST_KINDS, WINDOW, Hook, Incident, Seen, grown, seen_in
from guard.core.record import Record, RecordKind
from guard.core.reporting import Assessment, ClockName, Verdict

NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
SAID = Assessment(
    clock=ClockName.CALEA_REPORT,
    verdict=Verdict.NOT_REPORTABLE,
    by="legal-1",
    at=NOW,
    record=1,
    words="a test",
)


def record(kind: RecordKind, body: dict[str, Any]) -> Record:
    return Record(kind=kind, time=NOW, body=body, salt=bytes(32))


def incident(what: object, **details: object) -> Record:
    body = {"details": {"what": what, **details}, "node": "node-1", "receipt": "x"}
    return record(RecordKind.INCIDENT, body)


def seen(kind: str = "capture_socket", node: str = "node-1", weight: int = 1) -> Seen:
    return Seen(node=node, kind=kind, weight=weight)


def test_what_a_node_states_is_an_incident() -> None:
    """Whatever its word, also one that this release has never heard of."""
    assert seen_in(incident("capture_socket")) == seen()
    assert seen_in(incident("a_word_of_next_year")) == seen("a_word_of_next_year")


@pytest.mark.parametrize(
    "what",
    [
        *("recording_permitted", "operator_asked", "recording_trimmed", "message_refused"),
        *("recording_failed", "recording_lost", "recording_partial"),
    ],
)
def test_regular_work_is_none(what: str) -> None:
    """A notice of a lawful capture that failed would tell that there is one."""
    assert seen_in(incident(what)) is None


@pytest.mark.parametrize("what", ["recording_refused", "recording_denied", "call_merged"])
def test_a_recording_without_a_grant_is_one(what: str) -> None:
    """Somebody told a recorder to record what nobody granted, or more than was granted."""
    assert seen_in(incident(what)) == seen(what)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("armed_not_granted", "armed_not_granted"),
        ("chain_broken", "chain_broken"),
        ("node_untrusted", "node_untrusted"),
        ("node_silent", "node_untrusted"),
        ("record_unreadable", "record_unreadable"),
        ("granted_not_armed", None),
        ("sealed_not_received", None),
    ],
)
def test_findings_that_mean_capture_or_silence_are_incidents(what: str, kind: str | None) -> None:
    """One that only says that something is late is not; a silent node has one notice, not two."""
    found = seen_in(record(RecordKind.FINDING, {"what": what, "node": "node-1", "key": "k"}))
    assert found == (seen(kind) if kind else None)


def test_a_finding_about_no_node_has_none() -> None:
    """The log itself has no name among the nodes."""
    found = seen_in(record(RecordKind.FINDING, {"what": "record_unreadable", "number": 3}))
    assert found == seen("record_unreadable", node="")


@pytest.mark.parametrize("what", ["receipts_broken", "receipts_lost"])
def test_a_broken_chain_has_one_word(what: str) -> None:
    """The guard's own incident and the finding that follows it are about one thing."""
    body = {"node": "node-1", "what": what, "last": 7, "given": 3}
    assert seen_in(record(RecordKind.INCIDENT, body)) == seen("chain_broken")


@pytest.mark.parametrize(
    "kind", sorted(set(RecordKind) - {RecordKind.INCIDENT, RecordKind.FINDING})
)
def test_no_other_record_is_one(kind: RecordKind) -> None:
    """Denials least of all: they are on record, and nothing came of them."""
    assert seen_in(record(kind, {"what": "capture_socket", "node": "node-1"})) is None


@pytest.mark.parametrize(
    ("more", "weight"), [(41, 41), (0, 1), (-3, 1), (2**60, 1), ("9", 1), (True, 1), (None, 1)]
)
def test_what_was_not_told_one_by_one_counts(more: object, weight: int) -> None:
    """A receipt that stands for others counts as many as it says, within reason."""
    assert seen_in(incident("capture_socket", more=more)) == seen(weight=weight)


@pytest.mark.parametrize("what", ["", "x" * 65, "Call +1555", "a\nb", 7, None, ["x"]])
def test_a_node_chooses_no_free_words(what: object) -> None:
    """What is no word of a vocabulary is told as `other`: a kind goes to strangers' systems."""
    assert seen_in(incident(what)) == seen("other")


def test_records_of_an_hour_are_one_incident() -> None:
    """The first names it; the hour begins with the first, not anew with each."""
    first = grown([], seen(), 5, NOW)
    assert (first.id, first.count, first.first, first.last_record) == (5, 1, NOW, 5)
    last = NOW + WINDOW - timedelta(microseconds=1)
    second = grown([first], seen(weight=40), 9, last)
    assert (second.id, second.count, second.first, second.last) == (5, 41, NOW, last)
    assert (second.last_record, second.revision) == (9, 9)
    assert grown([second], seen(), 11, NOW + WINDOW).id == 11


def test_another_kind_is_another_incident() -> None:
    """However soon after."""
    first = grown([], seen(), 5, NOW)
    assert grown([first], seen("xdp"), 6, NOW).id == 6


def test_nothing_joins_what_was_assessed() -> None:
    """Legal spoke of what there was; what comes after it runs clocks of its own."""
    assessed = replace(grown([], seen(), 5, NOW), assessments=(SAID,))
    later = grown([assessed], seen(), 8, NOW + timedelta(seconds=1))
    assert (later.id, later.count, later.assessments) == (8, 1, ())


def test_a_node_that_invents_kinds_gets_one_more_and_no_others() -> None:
    """The bound holds for new kinds only, and for an hour."""
    found: dict[int, Incident] = {}
    for number in range(500):
        made = grown(found.values(), seen(f"kind_{number}"), number, NOW)
        found[made.id] = made
    assert len(found) == MOST_KINDS + 1
    assert sum(each.count for each in found.values()) == 500
    assert found[MOST_KINDS].kind == "other"
    assert grown(found.values(), seen("kind_3"), 501, NOW).id == 3
    assert grown(found.values(), seen("new"), 502, NOW + WINDOW).kind == "new"


def test_a_count_has_an_end() -> None:
    """It stays a number that every reader of JSON reads."""
    first = grown([], seen(weight=2**53 - 2), 5, NOW)
    assert grown([first], seen(weight=9), 6, NOW).count == 2**53 - 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4000)), max_size=60))
def test_no_record_is_lost_and_no_hour_has_two_of_a_kind(steps: list[tuple[str, int]]) -> None:
    """Counts add up, and two incidents of a kind begin an hour apart at least."""
    found: dict[int, Incident] = {}
    time = NOW
    for index, (kind, wait) in enumerate(steps):
        time += timedelta(seconds=wait)
        made = grown(found.values(), seen(kind), index, time)
        found[made.id] = made
    assert sum(each.count for each in found.values()) == len(steps)
    for kind in "abc":
        begun = sorted(each.first for each in found.values() if each.kind == kind)
        assert all(b - a >= WINDOW for a, b in pairwise(begun))


def test_a_hook_is_told_at_once_and_when_the_hour_is_over() -> None:
    """In between it is left alone, and nothing new is nothing to tell."""
    row = grown([grown([], seen(), 5, NOW)], seen(), 6, NOW)
    hook = Hook.WEBHOOK
    assert row.due(hook, NOW)
    told = replace(row, told={**row.told, hook: 1})
    assert not told.due(hook, NOW + WINDOW - timedelta(microseconds=1))
    assert told.due(hook, NOW + WINDOW)
    assert replace(told, assessments=(SAID,)).due(hook, NOW)
    assert told.due(Hook.COMMAND, NOW)
    assert not replace(row, told={**row.told, hook: 2}).due(hook, NOW + WINDOW)
