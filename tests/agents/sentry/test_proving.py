"""Health is what was proven, with which challenge, and in which mode it holds."""

from __future__ import annotations

import threading
import time

import pytest

from agents.core.health import Health
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from agents.sentry.proving import Proof
from agents.sentry.tiers import Door, Tiers
from guard.core.enforcement import SentryMode
from tests.agents.sentry.place import Place

pytestmark = pytest.mark.privileged

CHALLENGE = "ab" * 32


@pytest.fixture
def told():
    return []


@pytest.fixture
def place(arena, told):
    def doors():
        return Doors(identify, within=arena.inside.number)

    with Place(doors=doors, health=told.append) as made:
        made.proven()
        yield made


def waits(holds):
    until = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_before_the_first_proof_there_is_nothing_to_tell():
    place = Place()
    try:
        assert not place.watch.health().proven
    finally:
        with place:
            place.proven()


def test_what_was_proven_is_in_force_once_the_mode_is_to_enforce(place, told):
    health = place.watch.health()
    assert (health.mode, health.enforcement, health.challenge) == ("observe", "detect", "")
    assert health.doors["packet_socket"] == "kill"
    assert set(health.doors) >= set(Door)
    place.watch.set_mode(SentryMode.ENFORCE)
    waits(lambda: place.watch.health().mode == "enforce")
    assert place.watch.health().enforcement == "kill"
    place.watch.set_mode(SentryMode.OBSERVE)
    waits(lambda: place.watch.health().mode == "observe")
    assert [(each.mode, each.enforcement) for each in told] == [
        ("observe", "detect"),
        ("enforce", "kill"),
        ("observe", "detect"),
    ]
    assert told[-1].stated(), "fit to be put into a receipt"


def test_the_programs_are_named_with_their_digests(place):
    programs = place.watch.health().programs
    assert {name for name, _, _ in programs} >= {"entered"}
    for _, number, tag in programs:
        assert number > 0
        assert len(tag) == 16


def test_a_challenge_is_answered_by_a_new_proof(place, told):
    place.watch.prove(CHALLENGE)
    place.proven(CHALLENGE)
    assert told[-1].challenge == CHALLENGE
    assert told[-1].doors["packet_socket"] == "kill"
    assert told[-1].same_as(told[0])


def test_challenges_and_modes_that_come_together_are_all_followed(place, told):
    for each in ("01" * 32, "02" * 32, "03" * 32):
        place.watch.prove(each)
    place.watch.set_mode(SentryMode.ENFORCE)
    waits(lambda: place.watch.health().mode == "enforce")
    assert place.watch.health().challenge == "03" * 32


def test_a_node_without_doors_answers_too_and_detects():
    with Place() as place:
        place.watch.prove(CHALLENGE)
        place.proven(CHALLENGE)
        health = place.watch.health()
        assert set(health.doors.values()) == {"detect"}
        assert health.enforcement == "detect"


class Stubborn:
    """Doors that are proven at once for the first time, and then when they are let."""

    filenos = ()
    canaries = frozenset()
    lost = 0

    def __init__(self, failure=None):
        self.let = threading.Event()
        self.proofs = 0
        self.failure = failure

    def prove(self):
        self.proofs += 1
        if self.proofs > 1:
            assert self.let.wait(20)
            if self.failure:
                raise self.failure

    def status(self):
        return {"tier": "kill", "doors": {"packet_socket": "kill"}}

    def programs(self):
        return ()

    def close(self):
        pass

    def beat(self, now):
        pass


def test_the_sweeps_go_on_while_a_proof_keeps_still(told):
    doors = Stubborn()
    with Place(doors=lambda: doors, health=told.append) as place:
        place.proven()
        place.watch.prove(CHALLENGE)
        waits(lambda: doors.proofs == 2)
        place.swept(20)
        assert place.watch.health().challenge == ""
        doors.let.set()
        place.proven(CHALLENGE)


def test_a_proof_that_fails_ends_the_sentry_and_one_that_cannot_be_held_does_not():
    doors = Stubborn(OSError("no process"))
    doors.let.set()
    with Place(doors=lambda: doors) as place:
        place.proven()
        place.watch.prove(CHALLENGE)
        place.proven(CHALLENGE)
    broken = Stubborn(ValueError("broken"))
    broken.let.set()
    place = Place(doors=lambda: broken)
    place.watch.start()
    place.proven()
    place.watch.prove(CHALLENGE)
    waits(lambda: place.failures)
    assert isinstance(place.failures.pop(), ValueError)
    place.__exit__()


def test_doors_of_which_no_proof_can_be_held_detect(arena, monkeypatch):
    doors = Doors(identify, within=arena.inside.number)
    try:
        proof = Proof(doors, lambda: None)
        proof.hold()
        assert proof.health(SentryMode.ENFORCE, ()).enforcement == "kill"

        def refuse(_):
            raise OSError

        monkeypatch.setattr(Tiers, "prove", refuse)
        proof.begin(CHALLENGE)
        assert proof.finish(wait=True)
        health = proof.health(SentryMode.ENFORCE, ())
        assert isinstance(health, Health)
        assert (health.enforcement, health.challenge) == ("detect", CHALLENGE)
    finally:
        doors.close()
