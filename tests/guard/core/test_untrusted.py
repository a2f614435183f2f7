"""When a node is not trusted: each rule broken alone, and what makes it well again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.core.enforcement import Enforcement, SentryMode
from guard.core.nodehealth import NodeHealth
from guard.core.receipt import ReceiptKind
from guard.core.untrusted import GRACE, PROVING, NodeStanding
from tests.builders.healths import OBSERVING, enforcing
from tests.guard.core.logbook import EVERY, Hand, Logbook

UNTRUSTED = "node_untrusted"
KEY = f"{UNTRUSTED}:node-1"
GOOD = enforcing(Enforcement.KILL)


@pytest.fixture
def log() -> Logbook:
    made = Logbook()
    made.policy("node-1", sentry=SentryMode.ENFORCE)
    return made


@pytest.fixture
def node(log: Logbook) -> Hand:
    """Return node-1, whose agent has started and proven its doors."""
    made = Hand(log)
    made.health = GOOD
    made.beat(at="start")
    return made


def standing(log: Logbook) -> NodeStanding:
    return log.books.standings(log.now)["node-1"]


def words(log: Logbook) -> str:
    flaw = standing(log).flaw
    return "" if flaw is None else flaw.words


def live(log: Logbook, node: Hand, seconds: int) -> list[str]:
    """Let time pass on a node that answers with every heartbeat; return what is found."""
    found: list[str] = []
    for _ in range(seconds // EVERY):
        log.wait(EVERY)
        node.answer()
        found += log.found()
    return found


def test_a_node_that_answers_is_trusted(log: Logbook, node: Hand):
    """For days, with nothing on record; and its standing is its last word."""
    assert live(log, node, 2 * 86_400) == []
    found = standing(log)
    assert (found.health, found.heard, found.answered) == (node.health, log.now, log.now)
    assert found.enforcement is Enforcement.KILL


def test_of_a_node_never_heard_nothing_is_expected(log: Logbook):
    """It has its ten minutes, and enforces nothing that anybody could count on."""
    assert standing(log).flaw is None
    assert standing(log).enforcement is Enforcement.DETECT
    assert "node-2" not in log.books.standings(log.now)


FALLS: dict[str, tuple[Callable[[NodeHealth], NodeHealth], str]] = {
    "a weaker door": (
        lambda h: replace(h, doors=dict(h.doors) | {"raw_socket": "detect"}),
        "has a weaker door: raw_socket was kill and is detect",
    ),
    "a door told of no more": (
        lambda h: replace(h, doors={"packet_socket": "kill", "xdp_socket": "absent"}),
        "has a weaker door: raw_socket was kill and is told of no more",
    ),
    "no doors at all": (
        lambda h: replace(h, doors={}, enforcement=Enforcement.DETECT),
        "has a weaker door: packet_socket was kill and is told of no more",
    ),
    "less enforcement": (
        lambda h: replace(h, enforcement=Enforcement.DETECT),
        "enforces less: detect, and kill at its start",
    ),
    "other programs": (
        lambda h: replace(h, programs="cd" * 32),
        "has other programs in its kernel than at its start",
    ),
}


@pytest.mark.parametrize("fall", FALLS)
def test_less_than_at_its_start(log: Logbook, node: Hand, fall: str):
    """Found with the first heartbeat that says so; over once it is as before, and has answered."""
    change, why = FALLS[fall]
    node.health = change(GOOD)
    log.wait(1)
    node.beat()
    assert log.found() == [UNTRUSTED]
    assert words(log) == why
    begun = log.now
    assert live(log, node, EVERY) == []  # An answer alone does not heal it.
    flaw = standing(log).flaw
    assert flaw is not None
    assert flaw.since == begun
    node.health = GOOD
    node.beat()
    assert log.look() == ([], []), "its word alone is not enough"
    log.wait(1)
    node.answer()
    assert log.look() == ([], [KEY])


@pytest.mark.parametrize(
    "health",
    [
        enforcing(Enforcement.PREVENT),
        replace(GOOD, doors=dict(GOOD.doors) | {"more": "detect"}),
        replace(GOOD, doors=dict(GOOD.doors) | {"raw_socket": "absent"}),
        replace(GOOD, doors=dict(GOOD.doors) | {"xdp_socket": "detect"}),
    ],
    ids=["prevent", "one more door", "a door that is gone", "a door that was not there"],
)
def test_more_than_at_its_start(log: Logbook, node: Hand, health: NodeHealth):
    """A stronger door, one more, or one that nobody can use any more, is no flaw."""
    node.health = health
    assert live(log, node, 1200) == []


def test_a_new_start_is_a_new_beginning(log: Logbook, node: Hand):
    """After a start the agent is measured by what it proves then."""
    weaker = replace(enforcing(Enforcement.KILL, raw_socket="detect"), programs="cd" * 32)
    log.wait(EVERY)
    node.health = replace(GOOD, doors={}, enforcement=Enforcement.DETECT)
    node.beat(at="start")
    node.health = weaker
    node.beat()
    assert log.found() == []
    assert live(log, node, 1200) == []
    node.health = replace(weaker, doors=dict(weaker.doors) | {"packet_socket": "detect"})
    node.beat()
    assert log.found() == [UNTRUSTED]


def test_the_mode_is_the_trust_policys(log: Logbook, node: Hand):
    """A node has its time to follow; then it is not trusted until it does."""
    assert live(log, node, 600) == []
    log.policy("node-1", sentry=SentryMode.OBSERVE)
    log.wait(1)
    node.answer()
    log.wait(GRACE.total_seconds() - 1)
    assert log.found() == []
    log.wait(1)
    assert log.found() == [UNTRUSTED]
    assert "observe" in words(log)
    node.health = replace(GOOD, mode=SentryMode.OBSERVE, enforcement=Enforcement.DETECT)
    log.wait(1)
    node.answer()
    assert log.look() == ([], [KEY])


def test_another_mode_is_another_inventory(log: Logbook, node: Hand):
    """What is in the kernel may change with the mode, and is held to in each."""
    log.policy("node-1", sentry=SentryMode.OBSERVE)
    observing = replace(
        GOOD, mode=SentryMode.OBSERVE, enforcement=Enforcement.DETECT, programs="cd" * 32
    )
    node.health = observing
    assert live(log, node, 1200) == []
    node.health = replace(observing, programs="ef" * 32)
    node.beat()
    assert log.found() == [UNTRUSTED]


def ask(log: Logbook, challenge: str = "12" * 32) -> None:
    sentry = log.books.sentry("node-1")
    assert sentry is not None
    sentry.ask(challenge, log.now)


def test_an_unanswered_challenge(log: Logbook, node: Hand):
    """One heartbeat and a while after it was asked, however lively the node is otherwise."""
    ask(log)
    left = (timedelta(seconds=EVERY) + PROVING).total_seconds()
    log.wait(EVERY)
    node.beat()
    log.wait(left - EVERY - 1)
    assert log.found() == []
    log.wait(1)
    assert log.found() == [UNTRUSTED]
    assert words(log) == "has not answered a challenge"
    node.health = replace(GOOD, challenge="34" * 32)
    node.beat()
    assert log.look() == ([], []), "an answer to something else"
    log.wait(1)
    node.health = replace(GOOD, challenge="12" * 32)
    node.beat()
    assert log.look() == ([], [KEY])


def test_a_replayed_answer_does_not_count(log: Logbook, node: Hand):
    """The answer to the challenge before is none to this one."""
    assert live(log, node, 600) == []
    ask(log)
    for _ in range(2):
        log.wait(EVERY)
        node.beat()  # It still names the challenge before.
    assert log.found() == [UNTRUSTED]


def test_a_broken_session_is_no_refusal(log: Logbook, node: Hand):
    """Whoever has no session is not asked; but sessions that break forever do not hide it."""
    begun = log.now
    found: list[str] = []
    while not found and log.now - begun < timedelta(hours=2):
        ask(log, "56" * 32)
        log.wait(EVERY)
        node.beat()
        sentry = log.books.sentry("node-1")
        assert sentry is not None
        assert sentry.waiting
        sentry.leave()
        found = log.found()
    assert found == [UNTRUSTED]
    assert timedelta(minutes=20) <= log.now - begun < timedelta(minutes=24)


def test_silence(log: Logbook, node: Hand):
    """A node that is silent is not trusted, and being heard again is not enough."""
    log.wait(600)
    assert log.found() == ["node_silent", UNTRUSTED]
    assert words(log) == "has not been heard of"
    log.wait(1)
    node.beat()
    assert log.look() == ([], ["node_silent:node-1"])
    assert words(log) == "was not trusted, and has not answered a challenge since"
    node.answer()
    assert log.look() == ([], [KEY])
    assert words(log) == ""


def test_a_restart_of_the_guard_trusts_nobody_again(log: Logbook, node: Hand):
    """What is on record stays so until the node has answered the guard that is there now."""
    node.health = replace(GOOD, programs="cd" * 32)
    node.beat()
    assert log.found() == [UNTRUSTED]
    log.restart(away=3600)
    assert words(log) == "has other programs in its kernel than at its start"
    node.health = GOOD
    node.beat()
    log.restart()
    assert log.look() == ([], [])
    assert words(log) == "was not trusted, and has not answered a challenge since"
    log.wait(1)
    node.answer()
    assert log.look() == ([], [KEY])
    log.restart()
    assert words(log) == ""


def test_a_restart_of_the_guard_knows_the_health(log: Logbook, node: Hand):
    """The last word of a node is rebuilt from the log, and what it began with."""
    live(log, node, 600)
    before = standing(log)
    log.restart(away=30)
    assert standing(log) == replace(before, answered=None)
    node.health = replace(GOOD, programs="cd" * 32)
    node.beat()
    assert log.found() == [UNTRUSTED]


def test_a_guard_that_was_away_has_not_asked(log: Logbook, node: Hand):
    """What was asked before it slept counts from when it is back."""
    ask(log)
    log.wait(3600)
    log.books.listen_from(log.now)
    node.beat()
    assert log.found() == []
    log.wait((timedelta(seconds=EVERY) + PROVING).total_seconds())
    assert log.found() == [UNTRUSTED]


def test_a_node_that_is_named_no_more(log: Logbook, node: Hand):
    """Nobody has to trust it, and nothing stays open about it."""
    node.health = replace(GOOD, programs="cd" * 32)
    node.beat()
    assert log.found() == [UNTRUSTED]
    log.policy("node-2")
    assert log.look() == ([], [KEY])
    assert "node-1" not in log.books.standings(log.now)


def test_only_heartbeats_tell_of_health(log: Logbook, node: Hand):
    """Another receipt keeps a node from being silent, and says nothing of its sentry."""
    for _ in range(10):
        log.wait(300)
        node.say(ReceiptKind.INCIDENT, what="xdp")
    assert standing(log).heard == log.now - timedelta(seconds=3000)


HEALTHS = [
    GOOD,
    enforcing(Enforcement.PREVENT),
    enforcing(Enforcement.KILL, raw_socket="detect"),
    replace(GOOD, programs="cd" * 32),
    OBSERVING,
    replace(OBSERVING, doors={}),
]
STEPS = st.tuples(
    st.sampled_from(["beat", "answer", "start", "wait", "guard", "ask", "leave"]),
    st.integers(0, len(HEALTHS) - 1),
)


@given(steps=st.lists(STEPS, max_size=30))
@settings(max_examples=80, deadline=None)
def test_it_always_can_be_well_again(steps: list[tuple[str, int]]):
    """An agent that starts anew, follows and answers is; a restart of the guard heals nobody."""
    log = Logbook()
    log.policy("node-1", sentry=SentryMode.ENFORCE)
    node = Hand(log)
    for step, which in steps:
        match step:
            case "wait":
                log.wait(100 * which)
            case "guard":
                stands = set(log.books._recorded)
                log.restart(away=which)
                assert set(log.books._recorded) == stands
                assert {key for key in stands if key == KEY} <= {
                    each.key for each in log.books.findings(log.now)
                }
            case "ask":
                ask(log)
            case "leave" if (sentry := log.books.sentry("node-1")) is not None:
                sentry.leave()
            case "beat" | "start" | "answer":
                node.health = replace(HEALTHS[which], challenge=node.health.challenge)
                about = {"at": "start"} if step == "start" else {}
                node.answer() if step == "answer" else node.beat(**about)
        log.look()
    node.health = GOOD
    log.wait(1)
    node.beat(at="start")
    log.wait(1)
    node.answer()
    log.look()
    assert words(log) == ""
    assert KEY not in log.books._recorded
    assert live(log, node, 3600) == []
