"""Heartbeat receipts: made by the boot clock, whatever else happens, and complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Command
from agents.core.health import Health, unproven
from agents.core.heartbeats import Heartbeats
from agents.core.instant import NANOSECONDS
from guard.core.enforcement import SentryMode
from guard.core.envelope import Kind
from guard.core.nodehealth import NodeHealth
from guard.core.reasons import Reason
from guard.core.receipt import MAX_RECEIPT, ReceiptKind, encode_receipt, parse_receipt
from tests.builders.deployment import Deployment, new_id, sign
from tests.sim.playbook import Playbook, grant_id, of

EVERY = 180
MADE = Deployment()


@pytest.fixture
def play() -> Playbook:
    return Playbook()


def heartbeats(commands: list[Command]) -> list[tuple[str, ...]]:
    """Return what each heartbeat receipt of these commands names."""
    drafts = [command.draft for command in of(commands, do.SendReceipt)]
    return [draft.armed for draft in drafts if draft.kind is ReceiptKind.HEARTBEAT]


def test_the_start_is_stated_with_an_empty_list(play: Playbook):
    """A node that has never heard from its guard states that nothing is armed."""
    commands = play.tell(on.Started())

    (command,) = of(commands, do.SendReceipt)
    assert command.draft.kind is ReceiptKind.HEARTBEAT
    assert command.draft.armed == ()
    assert command.draft.grant_id is None
    assert command.draft.time == play.now.wall
    details = {"every": EVERY, "armed": 0, "part": 1, "parts": 1, "at": "start"}
    assert command.draft.details == details
    assert command.draft.health == unproven(SentryMode.OBSERVE).stated()


def test_nothing_is_stated_before_the_start(play: Playbook):
    """Rules that were only made have not begun: nobody would carry out what they command."""
    assert heartbeats(play.wait(3 * EVERY)) == []
    assert heartbeats(play.tell(on.Shutdown())) == []


def test_they_come_at_their_time_without_a_guard(play: Playbook):
    """One every so many seconds, with no session at all; each is another link of the chain."""
    play.tell(on.Started())

    assert heartbeats(play.wait(EVERY - 1)) == []
    commands = play.wait(1)
    assert heartbeats(commands) == [()]
    assert "at" not in of(commands, do.SendReceipt)[0].draft.details
    assert heartbeats(play.wait(10 * EVERY)) == [()] * 10
    assert play.chain.sequence == 12


def test_they_name_every_armed_grant_in_order(play: Playbook):
    """What is armed is named while it is armed, and not after."""
    play.tell(on.Started())
    first, second = play.armed(), play.armed()
    play.wait(5)
    both = tuple(sorted((grant_id(first), grant_id(second))))
    while not (stated := heartbeats(play.wait(5))):
        play.speak()
        play.renew(first, second)
    assert stated == [both]

    gone = on.Withdrawal(grant_id=grant_id(first), reason=Reason.STATE_NOT_PERMITTED)
    play.tell(on.StateDelta(revision=2, withdrawn=(gone,)))
    while not (stated := heartbeats(play.wait(5))):
        play.speak()
        play.renew(second)
    assert stated == [(grant_id(second),)]


def test_what_lapses_at_the_same_moment_is_not_named(play: Playbook):
    """The ends that are due come first: the list is what is armed after them."""
    play.tell(on.Started())
    play.armed()
    stated = heartbeats(play.wait(2 * EVERY))

    assert stated == [(), ()]


def test_the_wall_clock_has_no_say(play: Playbook):
    """Setting the wall clock back or ahead brings none and holds none up."""
    play.tell(on.Started())
    play.step = timedelta(hours=-5)
    assert heartbeats(play.wait(EVERY)) == [()]
    play.step = timedelta(days=3)
    assert heartbeats(play.wait(EVERY - 1)) == []


def test_what_was_slept_through_is_not_made_up_for(play: Playbook):
    """A machine that was suspended for an hour states once what is armed now."""
    play.tell(on.Started())
    play.boot_ns += 3600 * NANOSECONDS

    assert heartbeats(play.tell(on.WakeUp())) == [()]
    assert heartbeats(play.wait(EVERY - 1)) == []
    assert heartbeats(play.wait(1)) == [()]


def test_the_stop_is_stated_after_the_kernel_was_told(play: Playbook):
    """The last one says that nothing is armed any more, and none follows."""
    play.tell(on.Started())
    play.armed()
    commands = play.tell(on.Shutdown())

    assert heartbeats(commands) == [()]
    last = commands[-1]
    assert isinstance(last, do.SendReceipt)
    assert last.draft.details["at"] == "stop"
    assert of(commands, do.EndCapture)
    assert heartbeats(play.wait(3 * EVERY)) == []


PROVEN = Health("observe", "detect", {"packet_socket": "kill"}, (("rogue", 7, "00" * 8),), "")
WEAKER = replace(PROVEN, doors={"packet_socket": "detect"})


def healths(commands: list[Command]) -> list[NodeHealth | None]:
    """Return what each heartbeat receipt of these commands says of the sentry."""
    drafts = [command.draft for command in of(commands, do.SendReceipt)]
    return [draft.health for draft in drafts if draft.kind is ReceiptKind.HEARTBEAT]


def test_a_change_of_health_is_stated_at_once(play: Playbook):
    """Whatever it is, for better or worse; the next regular one is a whole interval later."""
    play.tell(on.Started())
    play.wait(EVERY - 1)
    assert healths(play.tell(on.HealthSeen(health=PROVEN))) == [PROVEN.stated()]
    assert healths(play.tell(on.HealthSeen(health=WEAKER))) == [WEAKER.stated()]
    assert healths(play.tell(on.HealthSeen(health=WEAKER))) == []
    assert healths(play.wait(EVERY - 1)) == []
    assert healths(play.wait(1)) == [WEAKER.stated()]


def test_an_answer_goes_with_the_next(play: Playbook):
    """A challenge that was answered, and nothing else, makes none by itself."""
    play.tell(on.Started())
    play.tell(on.HealthSeen(health=PROVEN))
    answered = replace(PROVEN, challenge="ab" * 32)
    assert healths(play.tell(on.HealthSeen(health=answered))) == []
    assert healths(play.wait(EVERY)) == [answered.stated()]
    assert healths(play.tell(on.Shutdown())) == [answered.stated()]


def test_health_before_the_start_is_not_stated(play: Playbook):
    """Rules that nobody carries out yet state nothing; the first one says what was seen."""
    assert healths(play.tell(on.HealthSeen(health=PROVEN))) == []
    assert healths(play.tell(on.Started())) == [PROVEN.stated()]


@given(count=st.sampled_from([0, 1, 499, 500, 501, 1000, 1203]))
def test_no_list_is_too_long(count: int):
    """Parts hold every grant once, in order, and each part is a receipt that can be read again."""
    grants = [new_id() for _ in range(count)]
    play = Playbook(MADE)
    commands = Heartbeats(EVERY).start(grants, play.now)
    drafts = [command.draft for command in of(commands, do.SendReceipt)]

    assert [grant for draft in drafts for grant in draft.armed] == sorted(grants)
    assert [draft.details["part"] for draft in drafts] == list(range(1, len(drafts) + 1))
    assert {draft.details["parts"] for draft in drafts} == {len(drafts)}
    assert {draft.details["armed"] for draft in drafts} == {count}
    assert {draft.time for draft in drafts} == {play.now.wall}
    for draft in drafts:
        payload = encode_receipt(play.chain.next(draft))
        assert len(payload) <= MAX_RECEIPT
        assert parse_receipt(payload).armed == draft.armed
        play.chain.add(sign(payload, Kind.RECEIPT, [MADE.nodes["node-1"].signer]))
