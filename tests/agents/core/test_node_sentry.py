"""What the rules of a node make of its sentry: which mode it is told, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Command
from agents.core.health import Health
from guard.core.enforcement import Enforcement, SentryMode, effective
from guard.core.instruments import Instrument
from guard.core.receipt import ReceiptKind
from guard.core.trust import NodeIdentity
from tests.builders.deployment import Deployment
from tests.sim.playbook import Playbook, grant_id, kinds, of, receipts


@pytest.fixture
def play() -> Playbook:
    return Playbook()


def modes(commands: list[Command]) -> list[SentryMode]:
    """Return the modes that these commands set."""
    return [command.mode for command in of(commands, do.SetSentryMode)]


def nodes(made: Deployment, mode: SentryMode, name: str = "node-1") -> tuple[NodeIdentity, ...]:
    """Return the deployment's nodes, one of them in another mode."""
    return tuple(
        replace(each, sentry=mode) if each.name == name else each for each in made.policy.nodes
    )


def test_a_challenge_has_the_doors_proven(play: Playbook):
    """The guard's challenge goes to the sentry as it is, with or without anything armed."""
    play.tell(on.Started())
    commands = play.tell(on.Challenged(challenge="ab" * 32))
    assert commands == [do.ProveDoors("ab" * 32)]


def test_without_a_trust_policy_it_observes():
    """What nobody has signed stops nobody."""
    play = Playbook(trusted=False)
    assert modes(play.tell(on.Started())) == [SentryMode.OBSERVE]


def test_it_is_told_at_the_start_before_anything_is_stated():
    """A policy that is kept counts from the first moment on, with no guard there."""
    made = Deployment()
    made.adopt(nodes=nodes(made, SentryMode.ENFORCE))
    commands = Playbook(made).tell(on.Started())
    assert isinstance(commands[0], do.SetSentryMode)
    assert modes(commands) == [SentryMode.ENFORCE]


def test_a_new_policy_changes_it_and_is_kept(play: Playbook):
    """Told once for each change, in either direction, and taken up again after a restart."""
    play.tell(on.Started())
    enforce = nodes(play.made, SentryMode.ENFORCE)
    assert modes(play.new_policy(nodes=enforce)) == [SentryMode.ENFORCE]
    assert modes(play.new_policy(nodes=enforce)) == []
    play.restart()
    assert modes(play.tell(on.Started())) == [SentryMode.ENFORCE]
    observe = nodes(play.made, SentryMode.OBSERVE)
    assert modes(play.new_policy(nodes=observe)) == [SentryMode.OBSERVE]


def test_only_its_own_entry_counts(play: Playbook):
    """What the policy says of another node is that node's."""
    play.tell(on.Started())
    other = nodes(play.made, SentryMode.ENFORCE, "node-2")
    assert modes(play.new_policy(nodes=other)) == []


def test_an_unsigned_change_changes_nothing(play: Playbook):
    """A policy that the roots did not sign sets no mode, whoever brings it."""
    play.tell(on.Started())
    policy = replace(play.made.policy, version=2, nodes=nodes(play.made, SentryMode.ENFORCE))
    forged = play.made.sign_policy(policy, [play.made.guard.signer])
    assert modes(play.tell(on.TrustArrived(envelopes=(forged,)))) == []


def test_neither_expiry_nor_being_left_out_weakens_it(play: Playbook):
    """A node whose policy has run out, or names it no more, goes on as it was told."""
    play.tell(on.Started())
    play.new_policy(nodes=nodes(play.made, SentryMode.ENFORCE))
    left = tuple(each for each in play.made.policy.nodes if each.name != "node-1")
    assert modes(play.new_policy(nodes=left)) == []
    play.step = timedelta(days=400)
    assert modes(play.wait(60)) == []


def test_an_expired_policy_still_says_enforce(play: Playbook):
    """An agent that starts long after its policy's end still enforces."""
    play.tell(on.Started())
    play.new_policy(nodes=nodes(play.made, SentryMode.ENFORCE))
    play.step = timedelta(days=400)
    play.restart()
    assert modes(play.tell(on.Started())) == [SentryMode.ENFORCE]


# -- what an authority demands ---------------------------------------------------------------------

PROGRAMS = (("rogue", 7, "00" * 8),)


def health(enforcement: Enforcement, mode: SentryMode = SentryMode.ENFORCE) -> Health:
    """Return the health of a sentry that has proven so much at its one door."""
    in_force = effective(mode, enforcement)
    doors = {"packet_socket": enforcement.value}
    return Health(mode.value, in_force.value, doors, PROGRAMS, "")


def looks(play: Playbook, seen: Health) -> list[Command]:
    return play.tell(on.HealthSeen(health=seen))


def test_a_stolen_guard_cannot_have_it_armed(play: Playbook):
    """The guard grants, signs, logs and offers as if the node did prevent; the node knows better."""
    play.tell(on.Started())
    looks(play, health(Enforcement.KILL))
    play.session()
    evidence = play.evidence(Instrument.INTERCEPTION_ORDER, enforcement=Enforcement.PREVENT)
    for revision in (1, 2, 3):
        told = [*play.offer(evidence, revision=revision), *play.wait(5)]
        play.speak()
        assert do.OpenCapture not in kinds(told)
    assert [each for each in play.receipts() if each[0] is ReceiptKind.REFUSED] == [
        (ReceiptKind.REFUSED, "node_not_enforcing")
    ]


def test_a_sentry_that_has_proven_nothing_only_detects(play: Playbook):
    """Before the first proof nothing is armed that demands one; it may be a moment late."""
    play.tell(on.Started())
    play.session()
    evidence = play.evidence(enforcement=Enforcement.KILL)
    assert play.offer(evidence) == []
    assert do.OpenCapture in kinds(looks(play, health(Enforcement.KILL)))


def test_observing_is_no_enforcing(play: Playbook):
    """Whatever its doors have proven: what nobody is stopped by is not enforced."""
    play.tell(on.Started())
    looks(play, health(Enforcement.PREVENT, SentryMode.OBSERVE))
    play.session()
    told = [*play.offer(play.evidence(enforcement=Enforcement.KILL)), *play.wait(5)]
    assert do.OpenCapture not in kinds(told)
    assert (ReceiptKind.REFUSED, "node_not_enforcing") in receipts(told)


def test_what_is_demanded_holds_to_the_end(play: Playbook):
    """A sentry that does less ends what demands more, at once, for good, and nothing else."""
    play.tell(on.Started())
    looks(play, health(Enforcement.PREVENT))
    strict = play.armed(Instrument.INTERCEPTION_ORDER, enforcement=Enforcement.PREVENT)
    lax = play.armed(Instrument.INTERCEPTION_ORDER, enforcement=Enforcement.KILL)
    free = play.armed()
    assert do.EndCapture not in kinds(
        looks(play, replace(health(Enforcement.PREVENT), challenge="ab" * 32))
    )

    told = looks(play, health(Enforcement.KILL))
    assert [each.grant_id for each in of(told, do.EndCapture)] == [grant_id(strict)]
    (stated,) = [each.draft for each in of(told, do.SendReceipt)]
    assert stated.armed == tuple(sorted(map(grant_id, (lax, free))))
    assert receipts(play.close(strict))[-1] == (ReceiptKind.DISARMED, "node_not_enforcing")

    told = looks(play, health(Enforcement.KILL, SentryMode.OBSERVE))
    assert [each.grant_id for each in of(told, do.EndCapture)] == [grant_id(lax)]
    looks(play, health(Enforcement.PREVENT))
    assert receipts(play.offer(strict)) == [(ReceiptKind.REFUSED, "replayed")]
