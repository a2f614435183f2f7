"""The parts of the gate together: questions by cookies, answers to who asked, all on record."""

from __future__ import annotations

from agents.core.nggate import ToAsker
from agents.core.relay import Relay
from agents.core.relaycommands import OperatorTold
from tests.sim.gate_simulator import PROXY, SDP, Gate


def gate():
    made = Gate()
    made.find()
    return made


def test_an_operator_is_answered_and_told_when_there_is_no_answer():
    it = gate()
    it.do(it.rules.operator({b"command": b"list"}, 7, it.now))
    it.settle()
    assert it.told == [OperatorTold(7, {b"calls": [], b"result": b"ok"})]
    it.relay.silent = True
    it.do(it.rules.operator({b"command": b"ping"}, 8, it.now))
    it.wait(2000)
    assert it.told[1] == OperatorTold(8, None)
    it.do(it.rules.operator({b"command": b"ping"}, 9, it.now))
    it.do(it.rules.relay_gone())
    assert it.told[2] == OperatorTold(9, None)


def test_what_is_refused_and_what_is_taken_out_is_reported_with_verb_call_and_asker():
    it = gate()
    it.say(command=b"start recording", call_id=b"c")
    it.say(command=b"offer", call_id=b"c", from_tag=b"f", sdp=SDP, record_call=b"yes")
    it.say(command=b"dance")
    said = [(each.what, each.call_id, dict(each.details)) for each in it.reports]
    who = {"who": "udp 127.0.0.1:5000"}
    assert said == [
        (
            "recording_refused",
            b"c",
            who | {"verb": "start recording", "why": "no live authority covers this call"},
        ),
        ("recording_trimmed", b"c", who | {"verb": "offer", "name": "record-call"}),
        ("message_refused", None, who | {"why": "the table does not know the command"}),
    ]


def test_a_recording_is_granted_for_as_long_as_the_last_grant_wants_the_call():
    it = gate()

    def start():
        return it.say(command=b"start recording", call_id=b"c")[b"result"]

    it.want(b"c", "g1")
    it.want(b"c", "g2")
    assert start() == b"error"  # There is nothing to record yet, and it is not said that there is.
    it.offer(b"c")
    it.accept(b"c")
    it.release(b"c", "g1")
    assert start() == b"ok"
    it.release(b"c", "g2")
    assert start() == b"error"
    it.release(b"c", "g2")  # Once more does no harm.
    assert it.rules.recordings == 0


def test_recordings_that_stand_are_counted():
    it = gate()
    for call in (b"c", b"d"):
        it.want(call)
        it.offer(call)
    it.accept(b"c")
    assert it.rules.recordings == 1


def test_a_relay_that_is_gone_makes_the_gate_close():
    it = gate()
    assert it.rules.ready
    it.restart(found=False)
    assert not it.rules.ready
    assert it.offer(b"c") is None
    it.find()
    assert it.rules.ready


def test_what_answers_nothing_is_dropped():
    it = gate()
    for data in (b"", b" ", b"x", b"x d6:result2:oke", b"\xff\xff"):
        assert it.rules.answered(data, it.now) == []


def test_where_content_is_taken_off_the_wire_the_relay_is_asked_for_none_of_it():
    """The grant covers the call all the same: who asks for a recording is told that there is one."""
    rules = Relay(lambda: b"word", through=False)
    question = b"1 d7:call-id1:c7:command15:start recordinge"
    assert rules.record(b"c", "g1", 0) == []
    assert rules.asked(PROXY, question, 0) == [ToAsker(PROXY, b"1 d6:result2:oke")]
    assert rules.release(b"c", "g1", 0) == []
    (refused, _) = rules.asked(PROXY, question, 0)
    assert b"no live authority" in refused.data
