"""The agent's recordings: when they begin, how long the proxy waits, what is seen, how they end."""

from __future__ import annotations

import pytest

from agents.core.ngcodec import Encoding, decode
from agents.core.recordings import HELD
from tests.sim.gate_simulator import MS, SDP, VIDEO, Gate
from tests.sim.relay_simulator import RelaySimulator

CALL = b"call-1"


@pytest.fixture
def gate() -> Gate:
    made = Gate()
    made.find()
    return made


@pytest.fixture
def recording(gate: Gate) -> Gate:
    """Return a gate with an answered call that is being recorded."""
    gate.want(CALL)
    gate.offer(CALL)
    assert gate.accept(CALL) is not None
    assert gate.recorded(CALL)
    return gate


def asked(data: bytes, command: bytes) -> bool:
    body = data.partition(b" ")[2]
    return decode(body, Encoding.BENCODE).get(b"command") == command


def losing(*commands: bytes):
    """Return what loses questions of these kinds on the way to the relay."""
    return lambda data: any(asked(data, each) for each in commands)


# -- beginning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
def test_a_call_is_recorded_when_it_is_wanted_before_or_after_its_answer(gate, early):
    if early:
        gate.want(CALL)
    gate.offer(CALL)
    gate.accept(CALL)
    if not early:
        assert gate.quiet(CALL)
        gate.want(CALL)
    assert gate.recorded(CALL)
    assert gate.reports == []


def test_a_call_that_began_before_the_agent_is_found_on_the_relay(gate):
    gate.relay.ask(command=b"offer", call_id=CALL, from_tag=b"f", sdp=SDP)
    gate.relay.ask(command=b"answer", call_id=CALL, from_tag=b"f", to_tag=b"t", sdp=SDP)
    gate.want(CALL)
    gate.wait(150)
    assert gate.recorded(CALL)


def test_a_call_that_is_not_there_yet_is_looked_for_until_it_is_let_go(gate):
    gate.want(CALL)
    gate.wait(5000)
    assert gate.quiet(CALL)
    gate.offer(CALL)
    gate.accept(CALL)
    assert gate.recorded(CALL)
    gate.release(CALL)
    assert gate.quiet(CALL)
    before = len(gate.relay.served)
    gate.wait(400)
    assert len(gate.relay.served) == before


def test_the_answer_waits_for_the_recording_and_no_longer_than_it_may(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.lose = losing(b"subscribe answer")
    cookie = gate.cookie()
    gate.say(cookie=cookie, command=b"answer", call_id=CALL, from_tag=b"f", to_tag=b"t", sdp=SDP)
    assert gate.answer(cookie) is None
    gate.wait(HELD // MS - 1)
    assert gate.answer(cookie) is None
    gate.wait(1)
    assert gate.answer(cookie)[b"result"] == b"ok"


def test_no_answer_waits_longer_because_another_came(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.lose = losing(b"subscribe answer")
    first = gate.cookie()
    gate.say(cookie=first, command=b"answer", call_id=CALL, from_tag=b"f", to_tag=b"t", sdp=SDP)
    gate.wait(200)
    gate.accept(CALL, to=b"t2")
    gate.wait(50)
    assert gate.answer(first) is not None


def test_early_media_and_the_answer_after_it_make_one_subscription(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.accept(CALL)
    gate.accept(CALL)
    made = [each for each in gate.relay.served if each[b"command"] == b"subscribe request"]
    assert len(made) == 1
    assert gate.recorded(CALL)


def test_every_fork_that_answers_is_recorded(recording):
    recording.accept(CALL, to=b"t2")
    assert recording.recorded(CALL)
    recording.wait(3000)
    assert recording.reports == []


def test_a_fork_that_is_offered_later_is_no_merge(recording):
    recording.wait(1500)
    recording.offer(CALL)
    recording.wait(3000)
    assert recording.recorded(CALL)
    recording.accept(CALL, to=b"t3")
    recording.wait(3000)
    assert recording.recorded(CALL)
    assert recording.reports == []


def test_an_offer_that_the_relay_refuses_may_have_made_its_party(recording):
    recording.wait(1500)
    recording.say(command=b"offer", call_id=CALL, from_tag=b"x", sdp=b"garbage")
    recording.relay.merge(CALL, b"x")
    recording.wait(3000)
    assert "call_merged" not in recording.what()


@pytest.mark.parametrize("sender", [b"f", b"t"])
def test_a_call_that_gets_another_stream_is_subscribed_anew(recording, sender):
    other = b"t" if sender == b"f" else b"f"
    before = dict(recording.flows)[CALL].copy()
    recording.offer(CALL, sender, other, SDP + VIDEO)
    recording.accept(CALL, sender, other, SDP + VIDEO)
    assert recording.recorded(CALL)
    assert len(recording.flows[CALL]) == 8
    assert recording.flows[CALL].isdisjoint(before)


def test_a_session_refresh_changes_nothing(recording):
    before = recording.relay.copies(CALL)
    recording.offer(CALL, b"f", b"t")
    assert recording.accept(CALL) is not None
    assert recording.relay.copies(CALL) == before


def test_a_change_while_a_subscription_is_made_is_made_up_for(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.delay = 20 * MS
    gate.accept(CALL)
    gate.wait(50)  # The answer is back, the subscription is on its way.
    gate.offer(CALL, b"f", b"t", SDP + VIDEO)
    gate.accept(CALL, sdp=SDP + VIDEO)
    gate.wait(2000)
    assert gate.recorded(CALL)
    assert len(gate.flows[CALL]) == 8


def test_a_subscription_that_could_not_be_made_anew_is_tried_again(recording):
    recording.lose = losing(b"subscribe request")
    recording.offer(CALL, b"f", b"t", SDP + VIDEO)
    recording.accept(CALL, sdp=SDP + VIDEO)
    recording.wait(3000)
    recording.lose = lambda _: False
    recording.offer(CALL, b"f", b"t", SDP + VIDEO)  # The proxy refreshes; nothing changes.
    recording.wait(3000)
    assert recording.recorded(CALL)
    assert len(recording.flows[CALL]) == 8


def test_a_refused_offer_within_a_call_does_not_stop_the_looking(gate):
    gate.relay.ask(command=b"offer", call_id=CALL, from_tag=b"f", sdp=SDP)
    gate.relay.ask(command=b"answer", call_id=CALL, from_tag=b"f", to_tag=b"t", sdp=SDP)
    gate.want(CALL)
    gate.offer(CALL, b"f", b"t")
    gate.wait(200)
    assert gate.recorded(CALL)


def test_sinks_that_cannot_be_bound_cost_no_call_and_are_tried_again(gate):
    gate.sinks_free = False
    gate.want(CALL)
    gate.offer(CALL)
    assert gate.accept(CALL) is not None
    gate.wait(1600)
    assert gate.what() == ["recording_failed"]
    gate.sinks_free = True
    gate.wait(600)
    assert gate.recorded(CALL)


def test_a_relay_that_gives_a_tag_of_its_own_does_not_record(gate):
    class Wilful(RelaySimulator):
        def _do(self, message):
            asks = message.get(b"command") == b"subscribe request"
            return super()._do(message | {b"to-tag": b"wilful"} if asks else message)

    gate.relay = Wilful()
    gate.want(CALL)
    gate.offer(CALL)
    assert gate.accept(CALL) is not None
    gate.wait(100)
    assert "recording_failed" in gate.what()
    assert not gate.flows.get(CALL)


# -- grants ---------------------------------------------------------------------------------------


def test_two_grants_share_a_subscription_and_the_last_one_ends_it(recording):
    before = recording.relay.copies(CALL)
    recording.want(CALL, "g2")
    assert recording.relay.copies(CALL) == before
    recording.release(CALL, "g1")
    assert recording.recorded(CALL)
    recording.release(CALL, "g2")
    assert recording.quiet(CALL)


def test_a_grant_that_comes_while_a_subscription_is_made_gets_its_flows(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.lose = losing(b"subscribe answer")
    gate.accept(CALL)
    keys = gate.flows.pop(CALL)  # The first grant's.
    gate.want(CALL, "g2")
    assert gate.flows[CALL] == keys


def test_wanting_and_letting_go_in_quick_turns_leaves_what_was_said_last(gate):
    gate.offer(CALL)
    gate.accept(CALL)
    gate.delay = 10 * MS
    for _ in range(5):
        gate.want(CALL)
        gate.wait(15)
        gate.release(CALL)
        gate.wait(1)
    gate.wait(1000)
    assert gate.quiet(CALL)
    gate.want(CALL)
    gate.release(CALL)
    gate.want(CALL)
    gate.wait(1000)
    assert gate.recorded(CALL)
    assert gate.reports == []


def test_a_request_that_is_lost_and_let_go_begins_nothing_late(gate):
    gate.offer(CALL)
    gate.accept(CALL)
    gate.lose = losing(b"subscribe request")
    gate.want(CALL)
    gate.release(CALL)
    gate.lose = lambda _: False
    gate.wait(2000)
    assert gate.quiet(CALL)
    assert gate.reports == []


def test_a_relay_that_answers_after_it_was_given_up_keeps_nothing(gate):
    gate.offer(CALL)
    gate.accept(CALL)
    gate.want(CALL)
    gate.release(CALL)
    gate.wait(100)
    gate.want(CALL)
    gate.delay = 1000 * MS
    gate.release(CALL)
    gate.want(CALL)
    gate.wait(4000)
    gate.delay = 0
    gate.wait(6000)
    assert gate.recorded(CALL)
    assert "foreign_subscription" not in gate.what()


def test_parties_of_a_time_when_nobody_wanted_the_call_are_no_merge(recording):
    recording.wait(1500)
    recording.release(CALL)
    recording.accept(CALL, to=b"t2")
    recording.want(CALL, "g2")
    recording.wait(3000)
    assert recording.recorded(CALL)
    assert recording.reports == []


# -- verifying ------------------------------------------------------------------------------------


def test_a_subscription_that_the_relay_drops_is_made_again_and_reported_once(recording):
    for _ in range(2):
        recording.relay.drop(next(iter(recording.relay.copies(CALL))))
        recording.wait(1100)
        assert recording.recorded(CALL)
    assert recording.what() == ["recording_lost"]


def test_ok_without_effect_is_seen(gate):
    gate.relay.lying = {b"subscribe answer"}
    gate.want(CALL)
    gate.offer(CALL)
    gate.accept(CALL)
    for _ in range(4):
        gate.relay.talk(CALL)  # Media comes in and nothing arrives.
        gate.wait(1000)
    assert gate.what() == ["recording_lost"]


def test_silence_is_no_loss_and_neither_is_talk_that_arrives(recording):
    recording.wait(5000)
    for _ in range(5):
        recording.talk(CALL)
        recording.wait(1000)
    assert recording.reports == []


def test_a_merge_ends_the_recording_and_what_is_wanted_then_is_not_recorded(recording):
    recording.wait(1100)
    recording.relay.merge(CALL, b"x", b"y")
    recording.wait(1100)
    assert recording.what() == ["call_merged"]
    assert recording.quiet(CALL)
    recording.want(CALL, "g2")
    recording.offer(CALL, b"f", b"t", SDP + VIDEO)
    assert recording.accept(CALL, sdp=SDP + VIDEO) is not None
    recording.wait(3000)
    assert recording.quiet(CALL)


def test_somebody_else_who_subscribes_is_ended_and_reported(recording):
    recording.relay.ask(command=b"subscribe request", call_id=CALL, to_tag=b"spy", flags=[b"all"])
    recording.wait(1100)
    assert recording.recorded(CALL)
    assert set(recording.what()) == {"foreign_subscription"}


# -- ending ---------------------------------------------------------------------------------------


def test_an_end_is_proved_before_the_sinks_are_given_up(recording):
    recording.relay.lying = {b"unsubscribe"}
    recording.release(CALL)
    assert not recording.flows[CALL]
    assert recording.sinks
    assert recording.held
    recording.wait(3000)
    assert recording.what() == ["recording_not_stopped"]
    tried = sum(each[b"command"] == b"unsubscribe" for each in recording.relay.served)
    assert tried < 12  # It is told again, and not in a storm.
    recording.relay.lying.clear()
    recording.wait(1100)
    assert recording.quiet(CALL)
    assert not recording.sinks


def test_an_end_is_told_again_when_it_is_lost(recording):
    recording.lose = losing(b"unsubscribe")
    recording.release(CALL)
    recording.wait(4000)
    recording.lose = lambda _: False
    recording.wait(2000)
    assert recording.quiet(CALL)
    assert not recording.sinks


def test_deleting_a_call_ends_its_recording_at_once(recording):
    recording.delete(CALL)
    assert recording.quiet(CALL)
    assert not recording.sinks
    assert recording.reports == []


def test_deleting_one_branch_changes_nothing(recording):
    recording.delete(CALL, b"somebody")
    recording.wait(2000)
    assert recording.recorded(CALL)
    assert recording.reports == []


@pytest.mark.parametrize("lost", [True, False])
def test_a_call_id_that_is_used_again_is_recorded_again(recording, lost):
    if lost:  # The look after `delete` does not come through.
        recording.lose = losing(b"query")
    recording.delete(CALL)
    recording.offer(CALL)
    recording.accept(CALL)
    recording.lose = lambda _: False
    recording.wait(2000)
    assert recording.recorded(CALL)
    assert recording.reports == []


def test_a_relay_that_ends_ends_every_recording_and_new_ones_begin(recording):
    recording.restart()
    assert recording.quiet(CALL)
    assert not recording.sinks
    recording.offer(CALL)
    recording.accept(CALL)
    assert recording.recorded(CALL)


def test_a_relay_that_has_kept_its_calls_is_recorded_again(recording):
    kept = recording.relay.calls
    recording.relay.calls = {}
    recording.do(recording.rules.relay_gone())
    recording.relay.calls = kept
    recording.find()
    recording.wait(1000)
    assert recording.recorded(CALL)
    assert recording.reports == []


def test_a_relay_that_ends_while_an_answer_is_held_gives_it_out(gate):
    gate.want(CALL)
    gate.offer(CALL)
    gate.lose = losing(b"subscribe request")
    cookie = gate.cookie()
    gate.say(cookie=cookie, command=b"answer", call_id=CALL, from_tag=b"f", to_tag=b"t", sdp=SDP)
    assert gate.answer(cookie) is None
    gate.restart()
    assert gate.answer(cookie) is not None


def test_nothing_of_a_call_is_in_any_repr(recording):
    kept: list[object] = []
    perform = recording.do

    def keep(commands):
        kept.extend(commands)
        perform(commands)

    recording.do = keep
    recording.accept(b"call-2", to=b"secret")
    recording.offer(CALL, b"f", b"t", SDP + VIDEO)
    recording.accept(CALL, sdp=SDP + VIDEO)
    recording.delete(CALL)
    said = repr(kept) + repr(list(recording.rules._recordings._calls.values()))
    for secret in ("call-1", "call-2", "40000", "secret", "telephone", "000000000000"):
        assert secret not in said
