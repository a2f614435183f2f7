"""The contract of every store: what one does, each does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guard.app.changes import (
    AuthorityRow,
    CaptureRow,
    Change,
    EraseBefore,
    PutAuthority,
    PutCapture,
    PutIncident,
    PutReceipt,
    PutSegment,
    PutTrustPolicy,
    SegmentRow,
)
from guard.app.ports import ChangeRefused, LedgerUnavailable, Store
from guard.core.incidents import Hook, Incident
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.record import Entry, Record, RecordKind, entry_of
from guard.core.reporting import Assessment, ClockName, Verdict
from guard.store.memory import MemoryStore
from guard.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 23, 22, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "guard.db")
    yield made
    made.close()


def authority(name: str = "a", **changed) -> AuthorityRow:
    row = AuthorityRow(
        id=name,
        envelope=b"\x00\xffenvelope",
        state=AuthorityState.APPROVED,
        registrant="legal-1",
        revision=1,
        window_end=NOW,
    )
    return replace(row, **changed)


def capture(name: str = "c", **changed) -> CaptureRow:
    row = CaptureRow(
        id=name,
        authority_id="a",
        node="node-1",
        level=Level.MEDIA_HEADERS,
        state=CaptureState.GRANTED,
        why="",
        grant=b"\x00\xffgrant",
        evidence_index=2,
        not_before=NOW,
        not_after=NOW + timedelta(hours=1),
        lease_seconds=30,
        principal="operator-1",
        request_id=f"request of {name}",
        revision=2,
    )
    return replace(row, **changed)


def segment(number: int = 1, **changed) -> SegmentRow:
    row = SegmentRow(
        capture_id="c",
        number=number,
        size=1000,
        sha256="ab" * 32,
        path="c/1",
        receipt=b"\x00\xffreceipt",
        stored_at=NOW,
        deleted=False,
    )
    return replace(row, **changed)


def record(number: int) -> Record:
    return Record(
        kind=RecordKind.CAPTURE_DENIED,
        time=NOW + timedelta(seconds=number),
        body={"number": number, "text": "\u00e9"},
        salt=bytes([number]) * 32,
    )


def entry(number: int) -> Entry:
    return entry_of(record(number))


def commit(store: Store, *changes: Change) -> None:
    transaction = store.begin()
    transaction.apply(changes)
    transaction.commit()


def test_a_new_store_is_empty(store):
    """Nothing is in a new store, and asking for it is no error."""
    with store.read() as view:
        assert view.authority("a") is None
        assert view.capture("c") is None
        assert view.capture_by_request("operator-1", "r") is None
        assert view.authorities(limit=10, before=None) == []
        assert view.captures(authority_id=None, limit=10, before=None) == []
        assert (view.unfinished_authorities(), view.live_captures()) == ([], [])
        assert (view.changes("node-1", 0), view.segments("c"), view.segments_older(NOW)) == (
            [],
            [],
            [],
        )
        assert view.trust_policies(0) == []
        assert view.last_receipt("node-1") == (0, "0" * 64)
        assert (view.entries(0, 10), view.size()) == ([], 0)
        assert view.checkpoint() is None
        assert view.cosigned_checkpoint() is None
    assert list(store.leaves()) == []


def test_rows_come_back_as_they_went(store):
    """Every field of every row survives, times to the microsecond and bytes to the byte."""
    commit(store, PutAuthority(authority()), PutCapture(capture()), PutSegment(segment()))
    commit(store, PutTrustPolicy(1, b"\x00one"), PutReceipt("node-1", 7, "cd" * 32))
    with store.read() as view:
        assert view.authority("a") == authority()
        assert view.capture("c") == capture()
        assert view.segments("c") == [segment()]
        assert view.trust_policies(0) == [b"\x00one"]
        assert view.last_receipt("node-1") == (7, "cd" * 32)


def test_putting_replaces(store):
    """A row put again replaces the one with its key and no other."""
    commit(store, PutAuthority(authority()), PutAuthority(authority("b")))
    commit(store, PutCapture(capture()), PutSegment(segment()), PutReceipt("node-1", 1, "0" * 64))
    ended = capture(state=CaptureState.ENDED, why="stopped by operator", revision=9)
    revoked = authority(state=AuthorityState.REVOKED, revision=8)
    commit(store, PutAuthority(revoked), PutCapture(ended), PutSegment(segment(deleted=True)))
    commit(store, PutReceipt("node-1", 2, "1" * 64))
    with store.read() as view:
        assert (view.authority("a"), view.authority("b")) == (revoked, authority("b"))
        assert view.capture("c") == ended
        assert view.segments("c") == [segment(deleted=True)]
        assert view.last_receipt("node-1") == (2, "1" * 64)


def test_authorities_come_in_pages_newest_first(store):
    """A page holds the newest revisions below the last one seen."""
    commit(store, *(PutAuthority(authority(str(n), revision=n)) for n in range(5)))
    with store.read() as view:
        first = view.authorities(limit=2, before=None)
        assert [row.revision for row in first] == [4, 3]
        rest = view.authorities(limit=9, before=first[-1].revision)
        assert [row.revision for row in rest] == [2, 1, 0]


def test_unfinished_authorities_are_those_that_may_still_permit(store):
    """Registered, provisional and approved are unfinished; revoked and expired are not."""
    commit(store, *(PutAuthority(authority(state.value, state=state)) for state in AuthorityState))
    with store.read() as view:
        found = [row.id for row in view.unfinished_authorities()]
    assert found == ["approved", "provisional", "registered"]


def test_captures_come_in_pages_newest_first(store):
    """Pages go through all captures or through one authority's."""
    commit(store, PutAuthority(authority()), PutAuthority(authority("b")))
    owners = ["a", "b", "a", "b"]
    commit(
        store,
        *(
            PutCapture(capture(str(n), authority_id=owner, revision=n))
            for n, owner in enumerate(owners)
        ),
    )
    with store.read() as view:
        every = view.captures(authority_id=None, limit=3, before=None)
        assert [row.revision for row in every] == [3, 2, 1]
        of_b = view.captures(authority_id="b", limit=3, before=3)
        assert [row.revision for row in of_b] == [1]


def test_live_captures_are_those_that_may_yield_packets(store):
    """Granted, armed and stopping are live, by node and by authority."""
    commit(store, PutAuthority(authority()), PutAuthority(authority("b")))
    commit(
        store,
        *(
            PutCapture(capture(state.value, state=state, revision=10 - n))
            for n, state in enumerate(CaptureState)
        ),
        PutCapture(capture("x", node="node-2", authority_id="b", revision=1)),
    )
    with store.read() as view:
        assert [row.id for row in view.live_captures()] == ["x", "stopping", "armed", "granted"]
        assert [row.id for row in view.live_captures(node="node-2")] == ["x"]
        assert len(view.live_captures(authority_id="a")) == 3
        assert view.live_captures(node="node-2", authority_id="a") == []
        assert [row.id for row in view.live_captures(node="node-2", authority_id="b")] == ["x"]


def test_overdue_captures_are_live_ones_past_their_grant(store):
    """From `not_after` on, and only while nothing has ended them."""
    commit(store, PutAuthority(authority()))
    commit(
        store,
        PutCapture(capture("ended", state=CaptureState.ENDED, revision=3)),
        PutCapture(capture("armed", state=CaptureState.ARMED, revision=2)),
        PutCapture(capture("granted", state=CaptureState.GRANTED, revision=1)),
    )
    end = capture().not_after
    with store.read() as view:
        assert [row.id for row in view.overdue_captures(end)] == ["granted", "armed"]
        assert view.overdue_captures(end - timedelta(microseconds=1)) == []


def test_changes_of_a_node_follow_its_revision(store):
    """After zero come only live captures; after a revision comes all that changed since."""
    commit(store, PutAuthority(authority()))
    commit(
        store,
        PutCapture(capture("live", revision=2)),
        PutCapture(capture("over", state=CaptureState.ENDED, revision=5)),
        PutCapture(capture("elsewhere", node="node-2", revision=6)),
    )
    with store.read() as view:
        assert [row.id for row in view.changes("node-1", 0)] == ["live"]
        assert [row.id for row in view.changes("node-1", 1)] == ["live", "over"]
        assert [row.id for row in view.changes("node-1", 2)] == ["over"]
        assert view.changes("node-1", 5) == []


def test_a_request_finds_its_capture(store):
    """A principal's request id leads to its capture, another principal's does not."""
    commit(store, PutAuthority(authority()), PutCapture(capture()))
    with store.read() as view:
        assert view.capture_by_request("operator-1", "request of c") == capture()
        assert view.capture_by_request("operator-2", "request of c") is None


def test_old_segments_are_found_until_they_are_deleted(store):
    """Retention finds what was stored before a time, oldest first, and not what is gone."""
    commit(store, PutAuthority(authority()), PutCapture(capture()))
    commit(
        store,
        PutSegment(segment(1, stored_at=NOW - timedelta(days=1))),
        PutSegment(segment(2, stored_at=NOW - timedelta(days=2))),
        PutSegment(segment(3, stored_at=NOW - timedelta(days=3), deleted=True)),
        PutSegment(segment(4)),
    )
    with store.read() as view:
        assert [row.number for row in view.segments_older(NOW)] == [2, 1]
        assert [row.number for row in view.segments("c")] == [1, 2, 3, 4]


def test_trust_policies_come_in_order(store):
    """The versions above a known one come oldest first."""
    commit(store, PutTrustPolicy(2, b"two"), PutTrustPolicy(1, b"one"), PutTrustPolicy(3, b"three"))
    with store.read() as view:
        assert view.trust_policies(0) == [b"one", b"two", b"three"]
        assert view.trust_policies(2) == [b"three"]


@pytest.mark.parametrize(
    "broken",
    [
        PutCapture(capture("other", request_id="request of c")),
        PutCapture(capture("orphan", authority_id="nobody")),
        PutSegment(segment(capture_id="nothing")),
        PutTrustPolicy(1, b"another"),
    ],
)
def test_a_broken_rule_leaves_none_of_its_changes(store, broken):
    """A refused change takes the changes beside it along, and nothing before them."""
    commit(store, PutAuthority(authority()), PutCapture(capture()), PutTrustPolicy(1, b"one"))
    transaction = store.begin()
    transaction.apply([PutAuthority(authority("kept"))])
    with pytest.raises(ChangeRefused):
        transaction.apply([PutAuthority(authority("lost")), broken])
    transaction.apply([PutAuthority(authority("after"))])
    transaction.commit()
    with store.read() as view:
        assert view.authority("lost") is None
        assert view.authority("kept") is not None
        assert view.authority("after") is not None
        assert view.trust_policies(0) == [b"one"]


def test_records_come_back_with_their_leaves(store):
    """Records are read as written, in order, and their leaves are those that were hashed."""
    transaction = store.begin()
    transaction.append(0, [entry(0), entry(1)])
    transaction.append(2, [entry(2)])
    transaction.commit()
    with store.read() as view:
        assert view.size() == 3
        assert view.entries(0, 10) == [entry(0), entry(1), entry(2)]
        assert view.entries(1, 1) == [entry(1)]
        assert view.entries(3, 10) == []
    assert list(store.leaves()) == [entry(n).leaf() for n in range(3)]


def test_a_transaction_sees_itself_and_nobody_else_does(store):
    """Rows, records and heads are seen inside at once and outside only after the commit."""
    transaction = store.begin()
    transaction.apply([PutAuthority(authority())])
    transaction.append(0, [entry(0)])
    transaction.put_checkpoint(b"head", size=1, previous=None)
    assert transaction.authority("a") == authority()
    assert (transaction.size(), transaction.entries(0, 9)) == (1, [entry(0)])
    assert transaction.checkpoint() == b"head"
    with store.read() as view:
        assert (view.authority("a"), view.size(), view.checkpoint()) == (None, 0, None)
    transaction.commit()
    with store.read() as view:
        assert (view.authority("a"), view.size()) == (authority(), 1)
        assert view.checkpoint() == b"head"


def test_a_rolled_back_transaction_leaves_nothing(store):
    """After a rollback the next transaction finds what was there before."""
    transaction = store.begin()
    transaction.apply([PutAuthority(authority())])
    transaction.append(0, [entry(0)])
    transaction.put_checkpoint(b"head", size=1, previous=None)
    transaction.rollback()
    transaction.rollback()
    transaction = store.begin()
    assert (transaction.authority("a"), transaction.size()) == (None, 0)
    transaction.commit()
    transaction.rollback()
    assert list(store.leaves()) == []


def test_a_view_stays_as_it_was(store):
    """What is committed meanwhile does not enter a view that was opened before."""
    commit(store, PutAuthority(authority()))
    with store.read() as view:
        assert view.authority("a") == authority()
        commit(store, PutAuthority(authority(revision=5)), PutAuthority(authority("b")))
        assert (view.authority("a"), view.authority("b")) == (authority(), None)


def test_a_checkpoint_replaces_only_its_predecessor(store):
    """A checkpoint built on another than the stored one is refused, down to the last byte."""
    transaction = store.begin()
    with pytest.raises(LedgerUnavailable):
        transaction.put_checkpoint(b"three", size=3, previous=b"two")
    transaction.rollback()
    transaction = store.begin()
    transaction.put_checkpoint(b"three", size=3, previous=None)
    transaction.commit()
    for wrong in (None, b"", b"another three", b"three\x00"):
        transaction = store.begin()
        with pytest.raises(LedgerUnavailable):
            transaction.put_checkpoint(b"five", size=5, previous=wrong)
        transaction.rollback()
    transaction = store.begin()
    transaction.put_checkpoint(b"five", size=5, previous=b"three")
    transaction.commit()
    with store.read() as view:
        assert view.checkpoint() == b"five"


def test_the_cosigned_checkpoint_never_shrinks(store):
    """A cosigned checkpoint is replaced by one of its size or larger, not by an older one."""
    for size, data in ((3, b"three"), (3, b"three again"), (5, b"five"), (4, b"four")):
        transaction = store.begin()
        transaction.put_cosigned(data, size=size)
        transaction.commit()
    with store.read() as view:
        assert view.cosigned_checkpoint() == b"five"
        assert view.checkpoint() is None


def test_there_is_one_writer(store):
    """A second transaction beside the first is refused."""
    transaction = store.begin()
    with pytest.raises(LedgerUnavailable):
        store.begin()
    transaction.rollback()
    store.begin().rollback()


def test_missing_records_are_noticed(tmp_path):
    """A record taken out of the file by hand is missed, not skipped."""
    store = SqliteStore(tmp_path / "guard.db")
    transaction = store.begin()
    transaction.append(0, [entry(0), entry(1), entry(2)])
    transaction.commit()
    with sqlite3.connect(tmp_path / "guard.db") as thief:
        thief.execute("DELETE FROM entries WHERE position = 1")
    with pytest.raises(LedgerUnavailable, match="record 1 is missing"):
        list(store.leaves())
    store.close()


def test_erasing_forgets_what_was_said_and_no_leaf(store):
    """Salt and body go, oldest first; leaves, trust policies and later records stay."""
    entries = [entry(0), entry_of(replace(record(1), kind=RecordKind.TRUST_POLICY_CHANGED))]
    entries += [entry(2), entry(3)]
    transaction = store.begin()
    transaction.append(0, entries)
    assert transaction.first_kept() == 0
    transaction.apply([EraseBefore(3)])
    assert transaction.first_kept() == 3
    transaction.commit()
    erased = [each._replace(salt=None, body=None) for each in entries]
    with store.read() as view:
        assert view.entries(0, 9) == [erased[0], entries[1], erased[2], entries[3]]
        assert (view.first_kept(), view.size()) == (3, 4)
    assert list(store.leaves()) == [each.leaf() for each in entries]
    commit(store, EraseBefore(4))
    with store.read() as view:
        assert view.first_kept() == 4
        assert view.entries(1, 1) == [entries[1]]


def test_erasing_takes_the_rows_that_are_over_and_no_others(store):
    """An authority goes with its captures and segments, once all of them are over."""
    over = {"state": CaptureState.ENDED, "revision": 5}
    rows = [
        PutAuthority(authority("old", state=AuthorityState.EXPIRED, revision=4)),
        PutAuthority(authority("held", state=AuthorityState.EXPIRED, revision=4)),
        PutAuthority(authority("live", state=AuthorityState.APPROVED, revision=4)),
        PutAuthority(authority("late", state=AuthorityState.REVOKED, revision=11)),
        PutCapture(capture("gone", authority_id="old", **over)),
        PutCapture(capture("runs", authority_id="live", revision=5)),
        PutCapture(capture("keeps", authority_id="held", **over)),
        PutSegment(segment(1, capture_id="gone", deleted=True)),
        PutSegment(segment(1, capture_id="keeps", deleted=True)),
        PutSegment(segment(2, capture_id="keeps", deleted=False)),
    ]
    commit(store, *rows)
    commit(store, EraseBefore(10))
    with store.read() as view:
        assert [view.authority(name) is None for name in ("old", "held", "live", "late")] == [
            *(True, False, False, False)
        ]
        assert [view.capture(name) is None for name in ("gone", "runs", "keeps")] == [
            *(True, False, False)
        ]
        assert view.segments("gone") == []
        assert [row.number for row in view.segments("keeps")] == [2]


SAID = Assessment(
    clock=ClockName.NIS2_NOTIFICATION,
    verdict=Verdict.REPORTED,
    by="legal-1",
    at=NOW,
    record=90,
    words="the authority, \u00e9",
    reported_at=NOW - timedelta(microseconds=1),
)


def incident(number: int = 7, **changed) -> Incident:
    row = Incident(
        id=number,
        node="node-1",
        kind="capture_socket",
        first=NOW,
        last=NOW + timedelta(seconds=1),
        last_record=number + 2,
        count=3,
        told={Hook.COMMAND: 0, Hook.WEBHOOK: 0},
        revision=number + 2,
    )
    return replace(row, **changed)


def test_incidents_come_back_as_they_went(store):
    """Every field survives, assessments too; one put again replaces itself and no other."""
    whole = incident(told={Hook.COMMAND: 1, Hook.WEBHOOK: 2}, assessments=(SAID,), open=False)
    commit(store, PutIncident(incident()), PutIncident(incident(8, node="", count=2**53 - 1)))
    commit(store, PutIncident(whole))
    with store.read() as view:
        assert view.incident(7) == whole
        assert view.incident(8) == incident(8, node="", count=2**53 - 1)
        assert view.incident(9) is None


def test_incidents_come_in_pages_newest_first(store):
    """All of them, or those for which a clock runs."""
    commit(store, *(PutIncident(incident(n, open=n % 2 == 0)) for n in range(6)))
    with store.read() as view:
        first = view.incidents(limit=2, before=None, only_open=False)
        assert [row.id for row in first] == [5, 4]
        rest = view.incidents(limit=9, before=4, only_open=False)
        assert [row.id for row in rest] == [3, 2, 1, 0]
        running = view.incidents(limit=9, before=4, only_open=True)
        assert [row.id for row in running] == [2, 0]


def test_incidents_of_a_node_are_those_that_began_after_a_time(store):
    """Oldest first; no node has its own."""
    hour = timedelta(hours=1)
    commit(
        store,
        PutIncident(incident(1, first=NOW - hour)),
        PutIncident(incident(2, first=NOW - hour + timedelta(microseconds=1))),
        PutIncident(incident(3)),
        PutIncident(incident(4, node="node-2")),
        PutIncident(incident(5, node="")),
    )
    with store.read() as view:
        assert [row.id for row in view.incidents_of("node-1", NOW - hour)] == [2, 3]
        assert [row.id for row in view.incidents_of("", NOW - hour)] == [5]


@pytest.mark.parametrize("hook", Hook)
def test_what_a_hook_is_to_be_told(store, hook):
    """At once, and again when more has come and the hour is over or nothing joins any more."""
    over = timedelta(hours=1)
    told = {hook: 2, **{each: 99 for each in Hook if each is not hook}}
    rows = [
        incident(1),
        incident(2, told={**dict.fromkeys(Hook, 0), hook: 3}),
        incident(3, told=told),
        incident(4, told=told, assessments=(SAID,)),
        incident(5, told=told, first=NOW - over),
        incident(6, told=told, first=NOW - over + timedelta(microseconds=1)),
    ]
    commit(store, *map(PutIncident, rows))
    with store.read() as view:
        due = [row.id for row in view.untold(hook, NOW, limit=9)]
        assert due == [1, 4, 5] == [row.id for row in rows if row.due(hook, NOW)]
        assert [row.id for row in view.untold(hook, NOW, limit=2)] == [1, 4]
        later = view.untold(hook, NOW + over, limit=9)
        assert [row.id for row in later] == [1, 3, 4, 5, 6]


def test_erasing_takes_the_incidents_for_which_no_clock_runs(store):
    """Those whose last change is before the end; one that nobody has assessed stays."""
    commit(
        store,
        PutIncident(incident(1, open=False, revision=5)),
        PutIncident(incident(2, open=False, revision=10)),
        PutIncident(incident(3, open=True, revision=5)),
    )
    commit(store, EraseBefore(10))
    with store.read() as view:
        left = view.incidents(limit=9, before=None, only_open=False)
    assert [row.id for row in left] == [3, 2]
