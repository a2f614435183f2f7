"""What nodes state against what was granted: each fault is found, by its name, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from guard.core.findings import FindingKind
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from tests.builders.deployment import new_id
from tests.guard.core.logbook import AUTHORITY, EVERY, LEASE, Hand, Logbook

NEVER = "granted_not_armed"
GHOST = "armed_not_granted"
LOST = "sealed_not_received"
BROKEN = "chain_broken"
SILENT = "node_silent"
UNTRUSTED = "node_untrusted"


@pytest.fixture
def log() -> Logbook:
    made = Logbook()
    made.policy("node-1")
    return made


@pytest.fixture
def node(log: Logbook) -> Hand:
    """Return node-1, which has been heard."""
    made = Hand(log)
    made.beat()
    return made


def live(log: Logbook, node: Hand, seconds: float, *armed: str) -> list[str]:
    """Let time pass on a node that states what is armed; return what is found meanwhile."""
    found: list[str] = []
    while seconds > 0:
        step = min(seconds, EVERY)
        log.wait(step)
        seconds -= step
        node.beat(*armed)
        found += log.found()
    return found


# -- granted and not armed ---------------------------------------------------------------------------


def test_a_grant_that_nobody_arms_is_found_after_two_minutes(log: Logbook, node: Hand):
    """Found once, with everything that names it, and over once it is armed."""
    grant = log.grant()
    log.wait(119)
    assert log.look() == ([], [])
    log.wait(1)
    ((finding,), _) = log.look()

    assert finding.kind is FindingKind.GRANTED_NOT_ARMED
    assert (finding.node, finding.grant_id, finding.authority_id) == ("node-1", grant, AUTHORITY)
    assert finding.since == log.now - timedelta(minutes=2)
    assert log.look() == ([], []), "once"
    node.arm(grant)
    assert log.look() == ([], [finding.key])
    assert log.books.findings(log.now) == []


def test_the_patience_begins_with_the_grant(log: Logbook, node: Hand):
    """A grant for later is not late before it begins."""
    log.grant(after=400)
    assert live(log, node, 400 + 119) == []
    log.wait(1)
    assert log.found() == [NEVER]


@pytest.mark.parametrize("answer", ["refused", "disarmed", "heartbeat", "stopped"])
def test_any_answer_will_do(log: Logbook, node: Hand, answer: str):
    """Refused, ended, named by a heartbeat, or stopped before: nobody waits any more."""
    grant = log.grant()
    if answer == "refused":
        node.say(ReceiptKind.REFUSED, grant, reason="expired")
    elif answer == "disarmed":
        node.disarm(grant)
    elif answer == "heartbeat":
        node.beat(grant)
    else:
        log.stop(grant)
    log.wait(121)

    assert log.found() == []


def test_another_nodes_answer_will_not(log: Logbook, node: Hand):
    """What node-2 says of node-1's grant is no answer of node-1's."""
    log.policy("node-1", "node-2")
    grant = log.grant()
    Hand(log, "node-2").disarm(grant)
    log.wait(121)

    assert log.found() == [NEVER]


def test_a_grant_that_is_over_is_waited_for_no_more(log: Logbook, node: Hand):
    """The finding is over when the grant is, though it was never armed; it stays on record."""
    grant = log.grant(lasts=200)
    log.wait(130)
    assert log.found() == [NEVER]
    log.wait(70)
    assert log.look() == ([], [f"{NEVER}:node-1:{grant}"])


# -- armed and not granted ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["armed", "heartbeat"])
def test_a_grant_that_the_log_does_not_hold(log: Logbook, node: Hand, how: str):
    """Found at once, from a receipt or a heartbeat, and over when the node names it no more."""
    ghost = new_id()
    node.arm(ghost) if how == "armed" else node.beat(ghost)
    ((finding,), _) = log.look()

    assert (finding.kind, finding.grant_id) == (FindingKind.ARMED_NOT_GRANTED, ghost)
    assert finding.authority_id is None
    node.beat(ghost)
    assert log.look() == ([], [])
    node.beat()
    assert log.look() == ([], [finding.key])


def test_another_nodes_grant(log: Logbook, node: Hand):
    """A grant is armed where it was granted, or found."""
    log.policy("node-1", "node-2")
    grant = log.grant()
    node.arm(grant)
    other = Hand(log, "node-2")
    other.beat(grant)
    ((finding,), _) = log.look()

    assert (finding.kind, finding.node) == (FindingKind.ARMED_NOT_GRANTED, "node-2")
    assert finding.authority_id == AUTHORITY
    assert "granted to node-1" in finding.detail


@pytest.mark.parametrize("how", ["stopped", "expired", "disarmed", "refused"])
def test_a_grant_that_is_long_over(log: Logbook, node: Hand, how: str):
    """Lease and clocks are allowed for, and not a second more."""
    grant = log.grant(lasts=60 if how == "expired" else 86_400)
    node.arm(grant)
    if how == "stopped":
        log.stop(grant)
    elif how == "expired":
        log.wait(60)
    elif how == "disarmed":
        node.disarm(grant)
    else:
        node.say(ReceiptKind.REFUSED, grant, reason="expired")
    log.wait(LEASE + 120)
    node.beat(grant)
    assert log.found() == []
    log.wait(1)
    node.beat(grant)
    assert log.found() == [GHOST]
    node.disarm(grant)
    assert log.look() == ([], [f"{GHOST}:node-1:{grant}"])


def test_what_is_forgotten_is_found_all_the_same(log: Logbook, node: Hand):
    """Memory stays small: a grant long over is not kept, and does not come back unseen."""
    grant = log.grant()
    node.arm(grant)
    node.disarm(grant)
    assert live(log, node, 900) == []
    assert log.books._grants == {}
    node.beat(grant)

    assert log.found() == [GHOST]


def test_what_was_said_while_cut_off_counts_at_its_time(log: Logbook, node: Hand):
    """A node that delivers late said it when the grant was in force."""
    grant = log.grant()
    node.arm(grant)
    node.cut = True
    log.wait(EVERY)
    node.beat(grant)
    log.stop(grant)
    log.wait(LEASE)
    node.disarm(grant, "lease_ended")
    log.wait(300)
    node.beat()
    node.deliver()

    assert log.found() == []


def test_a_clock_that_is_ahead_does_not_make_it_later(log: Logbook, node: Hand):
    """Nothing was said later than it was heard."""
    grant = log.grant(lasts=600)
    log.now += timedelta(days=1)
    node.cut = True
    node.arm(grant)
    log.now -= timedelta(days=1)
    node.deliver()

    assert log.found() == []


def test_what_is_over_before_anybody_looked_is_found_all_the_same(log: Logbook, node: Hand):
    """A claim withdrawn within the second is put on record, and then its end."""
    ghost = new_id()
    node.arm(ghost)
    node.disarm(ghost)
    assert log.found() == [GHOST]
    assert log.look() == ([], [f"{GHOST}:node-1:{ghost}"])
    assert log.look() == ([], [])


def test_only_a_whole_heartbeat_takes_a_claim_back(log: Logbook, node: Hand):
    """A part that does not name it says nothing of it; all parts together do."""
    ghost, grants = new_id(), [log.grant() for _ in range(2)]
    node.beat(ghost)
    assert log.found() == [GHOST]
    node.beat(grants[0], part=1, parts=2, total=2)
    assert log.look() == ([], [])
    node.beat(grants[1], part=2, parts=2, total=2)
    assert log.look() == ([], [f"{GHOST}:node-1:{ghost}"])


# -- sealed and not received -------------------------------------------------------------------------


def test_a_segment_that_does_not_come(log: Logbook, node: Hand):
    """Found after ten minutes in which its node was there, and over when it comes."""
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    assert live(log, node, 599, grant) == []
    log.wait(1)
    ((finding,), _) = log.look()
    assert (finding.kind, finding.number) == (FindingKind.SEALED_NOT_RECEIVED, 1)
    assert (finding.grant_id, finding.authority_id) == (grant, AUTHORITY)
    log.store(grant, 1)

    assert log.look() == ([], [finding.key])


def test_a_segment_that_came_is_not_waited_for(log: Logbook, node: Hand):
    """Whether its receipt came before it or after it."""
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    log.store(grant, 1)
    log.store(grant, 2)
    node.seal(grant, 2)

    assert live(log, node, 1200, grant) == []


def test_a_silent_node_is_one_finding(log: Logbook, node: Hand):
    """And one that is not trusted, however many segments it owes; what was found stays found."""
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    live(log, node, 590, grant)
    for number in range(2, 20):
        node.seal(grant, number)
    log.wait(10)
    assert log.found() == [LOST]
    log.wait(600)
    assert log.found() == [SILENT, UNTRUSTED]
    log.wait(86_400)
    assert log.look() == ([], [])
    assert {each.kind.value for each in log.books.findings(log.now)} == {LOST, SILENT, UNTRUSTED}


def test_a_node_that_is_back_has_its_time(log: Logbook, node: Hand):
    """What it sealed before it was cut off is late only once it has been back for ten minutes."""
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    log.wait(3600)
    assert log.found() == [SILENT, UNTRUSTED]
    node.beat(grant)
    assert log.look() == ([], [f"{SILENT}:node-1"])
    assert live(log, node, 599, grant) == []
    log.wait(1)
    assert log.found() == [LOST]


def test_a_queue_that_moves_is_not_late_and_what_it_passes_is(log: Logbook, node: Hand):
    """A thousand segments take their time; one that is left out is found."""
    grant = log.grant()
    node.arm(grant)
    for number in range(1, 41):
        node.seal(grant, number)
    for number in range(2, 41):
        log.wait(30)
        node.beat(grant)
        log.store(grant, number)
        if number == 2:
            assert log.found() == []
    made, _ = log.look()

    assert [(each.kind.value, each.number) for each in made] == [(LOST, 1)]


def test_nobody_hides_a_segment_that_does_not_come(log: Logbook, node: Hand):
    """Sealed again and again, by its node or by another, it has waited since the first time."""
    log.policy("node-1", "node-2")
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    other = Hand(log, "node-2")
    log.wait(EVERY)
    node.beat(grant)
    other.seal(grant, 1)
    ((finding,), _) = log.look()
    assert (finding.kind, finding.node) == (FindingKind.ARMED_NOT_GRANTED, "node-2")
    assert "granted to node-1" in finding.detail
    other.beat()
    assert log.look() == ([], [finding.key])
    node.seal(grant, 1)
    assert live(log, node, 600 - EVERY, grant)[-1:] == [LOST]
    (found,) = log.books.findings(log.now)
    assert found.node == "node-1"


def test_another_node_takes_no_segments_place(log: Logbook, node: Hand):
    """What came before its receipt is not waited for, whatever another node says that it sealed."""
    log.policy("node-1", "node-2")
    grant = log.grant()
    node.arm(grant)
    other = Hand(log, "node-2")
    log.store(grant, 1)
    other.seal(grant, 1)
    other.beat()
    node.seal(grant, 1)
    for _ in range(5):
        log.wait(EVERY)
        node.beat(grant)
        other.beat()
    assert LOST not in log.found()


# -- the chain ---------------------------------------------------------------------------------------


def test_a_receipt_left_out(log: Logbook, node: Hand):
    """Found with the number that does not continue, once, until the node is named no more."""
    node.cut = True
    node.beat()
    node.kept.clear()
    node.cut = False
    node.beat()
    ((finding,), _) = log.look()

    assert (finding.kind, finding.number) == (FindingKind.CHAIN_BROKEN, 3)
    assert live(log, node, 3600) == []
    log.policy("node-2")
    assert log.look() == ([], [f"{BROKEN}:node-1"])


def test_a_receipt_changed(log: Logbook, node: Hand):
    """The number goes on, the digest does not."""
    node.previous = "a" * 64
    node.beat()

    assert log.found() == [BROKEN]


def test_a_node_that_lost_its_memory(log: Logbook, node: Hand):
    """A chain that begins anew is one that does not continue."""
    live(log, node, 600)
    Hand(log).beat()

    assert log.found() == [BROKEN]


def test_a_chain_that_does_not_begin(log: Logbook):
    """The first receipt of a node is its first."""
    late = Hand(log)
    late.sequence, late.previous = 6, "b" * 64
    late.beat()

    assert log.found() == [BROKEN]


# -- silence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "patience"), [(10, 600), (180, 600), (600, 1800)])
def test_a_silent_node(log: Logbook, node: Hand, every: int, patience: int):
    """Three of its own intervals, ten minutes at least; over when it is heard again."""
    node.beat(every=every)
    log.wait(patience - 1)
    assert log.found() == []
    log.wait(1)
    ((silent, untrusted), _) = log.look()
    assert (silent.kind, silent.node) == (FindingKind.NODE_SILENT, "node-1")
    assert (untrusted.kind, untrusted.node) == (FindingKind.NODE_UNTRUSTED, "node-1")
    assert silent.since == untrusted.since == log.now - timedelta(seconds=patience)
    node.beat(every=every)
    assert log.look() == ([], [silent.key])
    log.wait(1)
    node.answer(every=every)
    assert log.look() == ([], [untrusted.key])


def test_a_node_never_heard_of(log: Logbook):
    """Ten minutes after the trust policy named it; one that is named no more is not missed."""
    log.policy("node-1", "node-2")
    Hand(log, "node-2").beat()
    log.wait(599)
    assert log.found() == []
    Hand(log, "node-2")
    log.wait(1)
    assert sorted(log.found()) == [SILENT, SILENT, UNTRUSTED, UNTRUSTED]
    log.policy("node-2")
    assert log.look() == ([], [f"{SILENT}:node-1", f"{UNTRUSTED}:node-1"])


# -- the guard's own absence ---------------------------------------------------------------------------


def test_a_guard_that_was_away_finds_nobody_late(log: Logbook, node: Hand):
    """Nodes, grants and segments have their time again; then they are found."""
    armed = log.grant()
    log.grant()
    node.arm(armed)
    node.seal(armed, 1)
    log.restart(away=3600)
    assert log.found() == []
    node.beat(armed)
    log.wait(119)
    assert log.found() == []
    log.wait(1)
    assert log.found() == [NEVER]
    node.beat(armed)
    assert live(log, node, 479, armed) == []
    log.wait(1)
    assert log.found() == [LOST]


def test_a_restart_repeats_nothing_and_closes_nothing(log: Logbook, node: Hand):
    """What is on record as found is found, until it is over."""
    grant, ghost = log.grant(), new_id()
    node.arm(grant)
    node.seal(grant, 1)
    log.grant()
    found = live(log, node, 600, grant, ghost)
    log.wait(600)
    found += log.found()
    assert sorted(found) == sorted([NEVER, GHOST, LOST, SILENT, UNTRUSTED])
    stands = log.books.findings(log.now)
    for away in (0, 30, 3600):
        log.restart(away=away)
        assert log.look() == ([], [])
        assert log.books.findings(log.now) == stands


# -- erased and unreadable -----------------------------------------------------------------------------


def test_nothing_is_found_for_want_of_erased_records(log: Logbook, node: Hand):
    """A receipt, a grant, a stored segment and a policy that are gone prove nothing."""
    grant = log.grant()
    node.arm(grant)
    node.seal(grant, 1)
    log.store(grant, 1)
    node.beat(grant)
    for gone in range(len(log.entries)):
        again = Logbook()
        again.now = log.now
        for index, record in enumerate(log.entries):
            assert record is not None
            if index == gone:
                again.books.erased(index, str(record.kind), record.time)
            else:
                again.books.apply(index, record)
        assert again.books.findings(log.now) == []


def test_a_record_that_cannot_be_read_is_a_finding(log: Logbook, node: Hand):
    """One for all: the first, by its number."""
    at = len(log.entries)
    log.write(RecordKind.CAPTURE_GRANTED, grant_id="?")
    log.write(RecordKind.CAPTURE_STOPPED)
    ((finding,), _) = log.look()

    assert (finding.kind, finding.number) == (FindingKind.RECORD_UNREADABLE, at)


def test_the_records_of_a_finding_name_it(log: Logbook, node: Hand):
    """The body holds what identifies it, and leaves out what there is not."""
    grant = log.grant()
    log.wait(120)
    log.look()
    record = log.entries[-1]
    assert record is not None

    assert record.kind is RecordKind.FINDING
    assert record.body == {
        "authority_id": AUTHORITY,
        "detail": f"node-1 has neither armed nor refused grant {grant}",
        "grant_id": grant,
        "key": f"{NEVER}:node-1:{grant}",
        "node": "node-1",
        "since": record.body["since"],
        "what": NEVER,
    }
