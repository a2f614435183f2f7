"""Evidence that is early or comes in a moment of doubt waits, briefly."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agents.core.instant import NANOSECONDS, Instant
from agents.core.waiting import MOST, PATIENCE, Waiting
from guard.core.evidence import Evidence
from guard.core.grant import Grant
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.window import Window
from tests.builders.deployment import NOW as WALL
from tests.builders.deployment import new_id

NOW = Instant(boot_ns=100 * NANOSECONDS, wall=WALL)
EVIDENCE = Evidence(authority=b"a", grant=b"g", proof=b"p")
DOUBT = Refused(Reason.CLOCK_IN_DOUBT, "for the test")
EARLY = Refused(Reason.NOT_YET_VALID, "for the test")
GRANT = Grant(
    id=new_id(),
    authority_id=new_id(),
    authority_digest="0" * 64,
    node="node-1",
    level=Level.SIGNALLING,
    window=Window(not_before=WALL, not_after=WALL + timedelta(hours=1)),
    lease=timedelta(seconds=30),
    issued_at=WALL,
)


def starting_in(seconds: int) -> Grant:
    begin = WALL + timedelta(seconds=seconds)
    window = Window(not_before=begin, not_after=begin + timedelta(hours=1))
    return replace(GRANT, window=window)


def test_only_the_nearly_good_waits():
    """A few seconds early or a moment of doubt; any other refusal, and hours early, at once."""
    waiting = Waiting()

    assert not waiting.hold(GRANT, EVIDENCE, Refused(Reason.GRANT_UNTRUSTED, "no"), NOW)
    assert not waiting.hold(starting_in(3600), EVIDENCE, EARLY, NOW)
    assert waiting.next_deadline() is None
    assert waiting.hold(starting_in(2), EVIDENCE, EARLY, NOW)
    assert waiting.hold(GRANT, EVIDENCE, DOUBT, NOW)


def test_waiting_ends():
    """It is tried again soon, and from the end of the patience on it is refused."""
    waiting = Waiting()
    waiting.hold(GRANT, EVIDENCE, DOUBT, NOW)
    retry = waiting.next_deadline()
    assert retry is not None
    assert waiting.due(retry - 1) == []
    assert waiting.due(retry) == [EVIDENCE]

    tries = 0
    while waiting.hold(GRANT, EVIDENCE, DOUBT, Instant(boot_ns=retry, wall=WALL)):
        retry = waiting.next_deadline()
        assert retry is not None
        tries += 1
    assert tries > 1
    assert NOW.boot_ns + PATIENCE <= retry < NOW.boot_ns + 2 * PATIENCE

    waiting.drop(GRANT.id)
    assert waiting.next_deadline() is None


def test_a_flood_does_not_wait():
    """No more than so many wait at once."""
    waiting = Waiting()
    held = [
        waiting.hold(replace(GRANT, id=new_id()), EVIDENCE, DOUBT, NOW) for _ in range(MOST + 5)
    ]

    assert held.count(True) == MOST


def test_the_same_refusal_is_told_once():
    """Another reason is told again; memory is bounded."""
    waiting = Waiting()

    assert waiting.first_told("g", Reason.REPLAYED)
    assert not waiting.first_told("g", Reason.REPLAYED)
    assert waiting.first_told("g", Reason.REVOKED)
    for number in range(5000):
        waiting.first_told(str(number), Reason.REPLAYED)
    assert waiting.first_told("g", Reason.REPLAYED)
