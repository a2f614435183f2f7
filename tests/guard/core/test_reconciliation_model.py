"""Random histories: without a fault nothing is found; with one planted, exactly that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.core.receipt import ReceiptKind
from tests.builders.deployment import new_id
from tests.guard.core.logbook import EVERY, LEASE, Hand, Logbook

NAMES = ("node-1", "node-2")
STEPS = ("grant", "later", "arm", "refuse", "stop", "seal", "store", "cut", "back", "guard", "look")
ACTIONS = st.tuples(st.sampled_from(STEPS), st.integers(0, 7), st.sampled_from(NAMES))


@dataclass
class World:
    """A guard and two nodes that do what they should, whatever comes when."""

    log: Logbook = field(default_factory=Logbook)
    hands: dict[str, Hand] = field(default_factory=dict)
    granted: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})
    armed: dict[str, dict[str, float]] = field(default_factory=lambda: {n: {} for n in NAMES})
    due: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: {n: [] for n in NAMES})
    beat_in: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 0.0))
    away: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 0.0))
    mute: set[str] = field(default_factory=set)
    segments: int = 0
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log.policy(*NAMES)
        self.hands = {name: Hand(self.log, name) for name in NAMES}

    def pass_time(self, seconds: int) -> None:
        """Let time pass as it does: what is due happens in it, second by second where needed."""
        for _ in range(seconds // 5):
            self.log.wait(5)
            for name, hand in self.hands.items():
                self._live(name, hand)
            self.found += self.log.found()

    def _live(self, name: str, hand: Hand) -> None:
        if hand.cut:
            self.away[name] += 5
            self._lapse(name, hand)
            if self.away[name] >= 90:
                self.back(name)
        else:
            self._answer(name, hand)
            self._ask(name, hand)
        self.beat_in[name] -= 5
        if self.beat_in[name] <= 0:
            self.beat_in[name] = EVERY
            hand.beat(*self.armed[name])

    def _ask(self, name: str, hand: Hand) -> None:
        """Let the guard ask a challenge when none waits; the next heartbeat answers it."""
        sentry = self.log.books.sentry(name)
        assert sentry is not None
        if not sentry.waiting:
            challenge = f"{len(self.log.entries):064x}"
            sentry.ask(challenge, self.log.now)
            if name not in self.mute:
                hand.health = replace(hand.health, challenge=challenge)

    def hang_up(self, name: str) -> None:
        """End a node's session: the guard expects no answer any more."""
        sentry = self.log.books.sentry(name)
        assert sentry is not None
        sentry.leave()

    def _lapse(self, name: str, hand: Hand) -> None:
        for grant in [g for g, left in self.armed[name].items() if left <= 0]:
            del self.armed[name][grant]
            hand.disarm(grant, "lease_ended")
        for grant in self.armed[name]:
            self.armed[name][grant] -= 5

    def _answer(self, name: str, hand: Hand) -> None:
        """Arm what is offered, disarm what is stopped, bring what is owed: at the next chance."""
        for grant in self.armed[name]:
            self.armed[name][grant] = LEASE
        for grant in self.granted[name]:
            open_ = self.log.books._grants.get(grant)
            if open_ is not None and not open_.ended(self.log.now):
                if grant not in self.armed[name] and self.log.now >= open_.made.not_before:
                    self.armed[name][grant] = LEASE
                    hand.arm(grant)
            elif self.armed[name].pop(grant, None) is not None:
                hand.disarm(grant)
        for grant, number in self.due[name]:
            self.log.store(grant, number)
        self.due[name].clear()

    def back(self, name: str) -> None:
        """Reconnect a node: what it kept first, then what it is asked."""
        self.away[name] = 0
        self.hands[name].deliver()
        self._answer(name, self.hands[name])

    def do(self, step: str, which: int, name: str) -> None:
        """Let one thing happen."""
        hand, log = self.hands[name], self.log
        grants, armed = self.granted[name], sorted(self.armed[name])
        match step:
            case "grant":
                grants.append(log.grant(name, lasts=60 * (1 + which) ** 3))
            case "later":
                grants.append(log.grant(name, after=300, lasts=900))
            case "refuse" if not hand.cut:
                grant = log.grant(name)
                hand.say(ReceiptKind.REFUSED, grant, reason="expired")
            case "stop" if grants:
                log.stop(grants[which % len(grants)], name)
            case "seal" if armed:
                self.segments += 1
                grant = armed[which % len(armed)]
                hand.seal(grant, self.segments)
                self.due[name].append((grant, self.segments))
            case "cut":
                hand.cut = True
                self.hang_up(name)
            case "back":
                self.back(name)
            case "guard":
                log.restart(away=which * 60)
        self.pass_time(5 * which)


def history(actions: list[tuple[str, int, str]]) -> World:
    """Let a history happen in a new world."""
    world = World()
    for step, which, name in actions:
        world.do(step, which, name)
    return world


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(actions=st.lists(ACTIONS, max_size=40))
@SETTINGS
def test_without_a_fault_nothing_is_found(actions: list[tuple[str, int, str]]):
    """Whatever comes when: grants, stops, cuts, restarts of the guard, late deliveries."""
    world = history(actions)
    world.pass_time(1500)

    assert world.found == []
    assert world.log.replayed().findings(world.log.now) == []


def never_arm(world: World) -> None:
    """Let a node overlook a grant."""
    world.log.grant("node-1")


def arm_a_ghost(world: World) -> None:
    """Let a node have a grant armed that nobody made."""
    world.hands["node-1"].arm(new_id())


def lose_a_segment(world: World) -> None:
    """Let a node seal a segment and not bring it."""
    grant = world.log.grant("node-1")
    world.granted["node-1"].append(grant)
    world.pass_time(5)
    world.hands["node-1"].seal(grant, 999)


def leave_one_out(world: World) -> None:
    """Let a receipt get lost."""
    hand = world.hands["node-1"]
    hand.cut = True
    hand.beat(*world.armed["node-1"])
    hand.kept.pop()
    hand.deliver()


def lose_the_memory(world: World) -> None:
    """Let a node begin a new chain, and with it a new session."""
    world.hang_up("node-1")
    world.hands["node-1"] = Hand(world.log)
    world.hands["node-1"].beat(*world.armed["node-1"])


def fall_silent(world: World) -> None:
    """Let a node be heard no more."""
    world.hands["node-1"].kept = Deaf()  # type: ignore[assignment]


def change_its_programs(world: World) -> None:
    """Let a node have something else in its kernel than at its start."""
    hand = world.hands["node-1"]
    hand.health = replace(hand.health, programs="cd" * 32)


def lose_a_door(world: World) -> None:
    """Let a door of a node hold less than at its start."""
    hand = world.hands["node-1"]
    hand.health = replace(hand.health, doors=dict(hand.health.doors) | {"raw_socket": "detect"})


def answer_nothing(world: World) -> None:
    """Let a node state its health and answer no challenge."""
    world.mute.add("node-1")


class Deaf(list[object]):
    """Keeps nothing, so that nothing is delivered."""

    def append(self, _each: object) -> None:
        pass


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (never_arm, "granted_not_armed"),
        (arm_a_ghost, "armed_not_granted"),
        (lose_a_segment, "sealed_not_received"),
        (leave_one_out, "chain_broken"),
        (lose_the_memory, "chain_broken"),
        (fall_silent, "node_silent node_untrusted"),
        (change_its_programs, "node_untrusted"),
        (lose_a_door, "node_untrusted"),
        (answer_nothing, "node_untrusted"),
    ],
)
@given(before=st.lists(ACTIONS, max_size=15))
@SETTINGS
def test_a_planted_fault_is_found_and_nothing_else(
    plant: Callable[[World], None], kinds: str, before: list[tuple[str, int, str]]
):
    """Exactly what it leads to, about its node; a restart from the log knows it too."""
    world = history(before)
    world.back("node-1")
    world.back("node-2")
    for grants in world.granted.values():
        for grant in grants:
            world.log.stop(grant)
    world.pass_time(300)
    assert world.found == []

    plant(world)
    world.pass_time(1500)
    assert sorted(world.found) == kinds.split()
    world.log.restart()
    assert world.log.look() == ([], [])
