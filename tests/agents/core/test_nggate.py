"""The gate's rules, each broken once: who is answered what, and what never reaches the relay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.ngcodec import Encoding, decode, encode
from agents.core.nggate import (
    REMEMBERED,
    Asker,
    NgGate,
    Passing,
    Reached,
    Refusal,
    ToAsker,
    Told,
    ToRelay,
    Trimmed,
)
from tests.sim.gate_simulator import JSON, MS, PROXY, SDP, Client

MARK = b"the-agents-own"
OTHER = Asker("udp 127.0.0.1:5002", Client("other"))
OFFER = {b"command": b"offer", b"call-id": b"c", b"from-tag": b"f", b"sdp": SDP}
ANSWER = OFFER | {b"command": b"answer", b"to-tag": b"t"}
OK = b"d6:result2:oke"


class Desk:
    """A gate, and what it said last."""

    def __init__(self):
        self.words = 0
        self.recorded = True
        self.gate = NgGate(self._word, MARK, lambda call: self.recorded)
        self.gate.ready = True

    def _word(self):
        self.words += 1
        return b"word%d" % self.words

    def ask(self, message, *, asker=PROXY, cookie=b"k", now=0):
        data = message if isinstance(message, bytes) else encode(message, asker.encoding)
        return self.gate.asked(asker, cookie + b" " + data, now)

    def pass_on(self, message, **how):
        """Ask what must go to the relay; return the relay's cookie and what it is asked."""
        sent = [each.data for each in self.ask(message, **how) if isinstance(each, ToRelay)]
        assert len(sent) == 1
        cookie, _, body = sent[0].partition(b" ")
        return cookie, decode(body, Encoding.BENCODE)

    def answer(self, cookie, body=OK, now=0):
        return self.gate.answered(cookie + b" " + body, now)


@pytest.fixture
def desk():
    return Desk()


def refused(commands):
    """Return why a message was refused; nothing of it went to the relay."""
    assert [type(each) for each in commands] == [ToAsker, Refusal]
    cookie, _, body = commands[0].data.partition(b" ")
    assert cookie == b"k"
    told = decode(body, commands[0].asker.encoding)
    assert told[b"result"] == b"error"
    assert told[b"error-reason"].startswith(b"callguard: ")
    return commands[1].why


# -- rule 1 ---------------------------------------------------------------------------------------


def test_what_goes_on_is_written_anew_under_a_cookie_of_the_gates(desk):
    disorderly = b"d3:sdp5:m=xxx7:call-id1:c7:command5:offer8:from-tag1:fe"
    cookie, asked = desk.pass_on(disorderly)
    assert cookie == b"word1"
    assert list(asked) == sorted(asked)
    assert asked[b"sdp"] == b"m=xxx"


def test_json_is_written_anew_as_bencode(desk):
    cookie, asked = desk.pass_on(OFFER, asker=JSON)
    assert asked == OFFER
    (answer,) = [each.answer for each in desk.answer(cookie) if isinstance(each, Reached)]
    assert answer.data == b'k {"result":"ok"}'


@pytest.mark.parametrize(
    "body", [b"d3:sdp2:\xc3(6:result2:oke", b"garbage", b"", b"d", b"{}", b"d6:result2:okee"]
)
def test_an_answer_that_json_cannot_hold_is_an_error_and_no_failure(desk, body):
    cookie, _ = desk.pass_on(OFFER, asker=JSON)
    (said,) = desk.answer(cookie, body)
    data = said.answer.data if isinstance(said, Reached) else said.data
    assert decode(data.partition(b" ")[2], Encoding.JSON)[b"result"] == b"error"


# -- rule 2 ---------------------------------------------------------------------------------------


def test_answers_go_to_who_asked_though_the_cookies_are_equal(desk):
    mine, _ = desk.pass_on(OFFER)
    theirs, _ = desk.pass_on(OFFER | {b"call-id": b"d"}, asker=OTHER)
    (second,) = desk.answer(theirs)
    (first,) = desk.answer(mine)
    assert (first.answer.asker, first.call_id) == (PROXY, b"c")
    assert (second.answer.asker, second.call_id) == (OTHER, b"d")
    assert first.answer.data == second.answer.data == b"k " + OK


def test_an_answer_that_nobody_asked_for_goes_nowhere(desk):
    cookie, _ = desk.pass_on(OFFER)
    assert desk.answer(b"k") == []
    assert desk.answer(cookie[:-1]) == []
    assert desk.answer(cookie)
    assert desk.answer(cookie) == []  # The same datagram twice.


@pytest.mark.parametrize("command", ["offer", "answer", "delete", "unsubscribe"])
def test_what_the_relay_did_for_a_call_is_told_before_its_answer_goes_out(desk, command):
    message = {b"command": command.encode(), b"call-id": b"c", b"from-tag": b"f", b"to-tag": b"t"}
    cookie, asked = desk.pass_on(message)
    (done,) = desk.answer(cookie)
    assert (done.verb, done.call_id, done.request) == (command, b"c", asked)
    cookie, _ = desk.pass_on(message, cookie=b"k2")
    (failed,) = desk.answer(cookie, b"d12:error-reason1:x6:result5:errore")
    assert isinstance(failed, ToAsker)


# -- rule 3 ---------------------------------------------------------------------------------------


def test_the_same_again_is_asked_again_under_the_same_cookie_until_it_is_answered(desk):
    first = [each for each in desk.ask(OFFER) if isinstance(each, ToRelay)]
    assert desk.ask(OFFER, now=1) == first
    cookie = first[0].data.partition(b" ")[0]
    (done,) = desk.answer(cookie, now=2)
    assert desk.ask(OFFER, now=3) == [done.answer]


def test_an_answer_is_remembered_for_a_while_and_no_longer(desk):
    cookie, _ = desk.pass_on(OFFER)
    desk.answer(cookie)
    assert [type(each) for each in desk.ask(OFFER, now=REMEMBERED - 1)] == [ToAsker]
    assert desk.pass_on(OFFER, now=REMEMBERED)[0] != cookie


def test_another_message_under_a_cookie_in_use_is_refused_answered_or_not(desk):
    cookie, _ = desk.pass_on(OFFER)
    other = OFFER | {b"from-tag": b"x"}
    assert "cookie" in refused(desk.ask(other))
    (done,) = desk.answer(cookie)
    assert "cookie" in refused(desk.ask(other))
    assert desk.ask(OFFER) == [done.answer]


def test_the_same_under_the_same_cookie_is_anothers_own(desk):
    mine, _ = desk.pass_on(OFFER)
    theirs, _ = desk.pass_on(OFFER, asker=OTHER)
    assert mine != theirs


def test_the_same_dictionary_in_other_octets_is_another_message(desk):
    desk.pass_on(OFFER)
    swapped = b"d8:from-tag1:f7:command5:offer7:call-id1:c3:sdp%d:%se" % (len(SDP), SDP)
    assert "cookie" in refused(desk.ask(swapped))


def test_an_answer_that_comes_after_all_was_forgotten_goes_nowhere(desk):
    cookie, _ = desk.pass_on(OFFER)
    assert desk.answer(cookie, now=REMEMBERED) == []


# -- rule 4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({b"command": b"start recording", b"call-id": b"c"}, "no live authority"),
        ({b"command": b"subscribe request", b"call-id": b"c"}, "unsealed"),
        ({b"command": b"play media", b"call-id": b"c", b"file": b"/x"}, "unsealed"),
        ({b"command": b"query", b"call-id": b"c"}, "operators"),
        ({b"command": b"list"}, "operators"),
        ({b"command": b"dance"}, "does not know the command"),
        ({b"call-id": b"c"}, "names no command"),
        (OFFER | {b"dance": b"1"}, "does not know a key"),
        (b"d7:command5:offer7:command5:offere", "twice"),
        (b"d7:command5:offere ", "follows"),
        (b"junk", "not a bencoded dictionary"),
    ],
)
def test_what_is_refused_never_reaches_the_relay_and_says_why(desk, message, why):
    assert why in refused(desk.ask(message))
    assert why in refused(desk.ask(message))  # Again, in the same words.


def test_ok_means_that_the_call_is_recorded(desk):
    """A grant alone is no recording: while there is none, who asks is told so."""
    message = {b"command": b"start recording", b"call-id": b"c"}
    desk.gate.seal(b"c")
    desk.recorded = False
    assert "not being recorded" in refused(desk.ask(message))
    desk.recorded = True
    assert [each.data for each in desk.ask(message)] == [b"k " + OK]


def test_a_length_that_the_body_does_not_end_is_refused_and_not_read_for_ever(desk):
    """What stands before the last octet would be a length if there were a colon after it."""
    assert "has no length" in refused(desk.ask(b"d7:sall-id1r"))
    assert "has no length" in refused(desk.ask(b"d1:a1:bl10"))


def test_without_a_cookie_nobody_is_answered(desk):
    for data in (b"", b" ", b"nospace", b"\xff d", b"k "):
        (told,) = desk.gate.asked(PROXY, data, 0)
        assert isinstance(told, Refusal)


def test_what_would_yield_content_is_taken_out_told_and_the_call_goes_on(desk):
    commands = desk.ask(
        OFFER | {b"record-call": b"yes", b"flags": [b"recording-vsc", b"trust-address"]}
    )
    sent = next(each for each in commands if isinstance(each, ToRelay))
    asked = decode(sent.data.partition(b" ")[2], Encoding.BENCODE)
    assert asked == OFFER | {b"flags": [b"trust-address"]}
    trimmed = {
        (each.verb, each.name, each.call_id) for each in commands if isinstance(each, Trimmed)
    }
    assert trimmed == {("offer", "record-call", b"c"), ("offer", "recording-vsc", b"c")}


def test_under_a_grant_a_recording_that_is_asked_for_is_there_already(desk):
    start = {b"command": b"start recording", b"call-id": b"c"}
    desk.gate.seal(b"c")
    (answer,) = desk.ask(start)
    assert answer.data == b"k " + OK
    assert not [
        x
        for x in desk.ask(OFFER | {b"record-call": b"yes"}, cookie=b"k9")
        if isinstance(x, Trimmed)
    ]
    assert "no live authority" in refused(desk.ask(start | {b"call-id": b"d"}))
    assert "unsealed" in refused(desk.ask(start | {b"command": b"subscribe request"}))
    assert "part of the call" in refused(desk.ask(start | {b"all": b"none"}))
    desk.gate.unseal(b"c")
    assert "no live authority" in refused(desk.ask(start))


# -- rule 5 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        {b"to-tag": MARK},
        {b"to-tag": MARK + b"-1"},
        {b"from-tag": MARK + b"-1"},
        {b"to-label": MARK},
        {b"label": b"x" + MARK},
        {b"via-branch": MARK},
        {b"flags": [b"sdes-off", b"sdp-attr-add-" + MARK]},
        {b"replace": [MARK]},
        {b"sdp-attr": {b"audio": {b"add": [MARK]}}},
        {b"rtpp-flags": b"to-label=" + MARK},
    ],
)
@pytest.mark.parametrize("command", [b"offer", b"delete", b"unsubscribe", b"block media"])
@pytest.mark.parametrize("asker", [PROXY, JSON])
def test_a_tag_of_the_agents_own_is_nobody_elses_to_name(desk, where, command, asker):
    message = {b"command": command, b"call-id": b"c"} | where
    assert refused(desk.ask(message, asker=asker))


def test_a_tag_of_the_agents_own_in_another_spelling_of_json_is_seen(desk):
    hidden = b'{"command":"delete","call-id":"c","to-tag":"\\u0074he-agents-own-1"}'
    assert "not the proxy's" in refused(desk.ask(hidden, asker=JSON))


@pytest.mark.parametrize("asker", [PROXY, JSON])
def test_the_answer_to_delete_tells_nothing_of_the_agent(desk, asker):
    ours, gone = MARK + b"-1", MARK + b"-2"
    copy = {b"tag": ours, b"type": b"pub/sub"}
    party = {b"tag": b"t", b"type": b"offer/answer"}
    told = {
        b"result": b"ok",
        b"tags": {
            b"f": {b"tag": b"f", b"subscribers": [party, copy], b"subscriptions": [party]},
            ours: {b"tag": ours, b"subscribers": [], b"subscriptions": []},
            gone: {b"tag": gone},
        },
    }
    message = {b"command": b"delete", b"call-id": b"c", b"from-tag": b"f"}
    cookie, _ = desk.pass_on(message, asker=asker)
    (done,) = desk.answer(cookie, encode(told, Encoding.BENCODE))
    clean = decode(done.answer.data.partition(b" ")[2], asker.encoding)
    assert clean == {
        b"result": b"ok",
        b"tags": {b"f": {b"tag": b"f", b"subscribers": [party], b"subscriptions": [party]}},
    }


# -- rule 6 ---------------------------------------------------------------------------------------


def test_until_the_relay_was_looked_through_no_call_is_set_up(desk):
    desk.gate.ready = False
    assert desk.ask(OFFER) == []
    assert desk.ask(ANSWER, cookie=b"k2") == []
    assert desk.pass_on({b"command": b"delete", b"call-id": b"c"}, cookie=b"k3")
    assert isinstance(desk.gate.ask({b"command": b"list"}, "t", 0)[0], ToRelay)
    desk.gate.ready = True
    assert desk.pass_on(OFFER)  # Its retransmission.


# -- rule 7 ---------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded_in_number_and_time(desk, monkeypatch):
    """The oldest gives way, so that nobody keeps anybody out; what is known goes on."""
    monkeypatch.setattr("agents.core.nggate._MOST", 3)
    for number in range(4):
        desk.pass_on(OFFER, cookie=b"%d" % number)
    assert len(desk.gate._met) == len(desk.gate._waiting) == len(desk.gate._fading) == 3
    assert desk.ask(OFFER, cookie=b"1")[0].data.endswith(b"e")
    assert desk.pass_on(OFFER, cookie=b"9", now=REMEMBERED)
    assert len(desk.gate._met) == len(desk.gate._waiting) == len(desk.gate._fading) == 1


def test_what_is_remembered_is_bounded_in_octets(desk, monkeypatch):
    """Large messages, answered or not, make room for each other; nothing is counted twice."""
    monkeypatch.setattr("agents.core.nggate._MOST_OCTETS", 5000)
    large = OFFER | {b"sdp": b"x" * 1500}
    for number in range(20):
        desk.pass_on(large, cookie=b"%d" % number)
        assert len(desk.gate._met) <= 3
    desk.gate.expire(REMEMBERED)
    assert (desk.gate._met, desk.gate._octets) == ({}, 0)


# -- the agent's own questions --------------------------------------------------------------------


def test_the_agents_questions_are_asked_again_and_given_up(desk):
    (asked,) = desk.gate.ask({b"command": b"query", b"call-id": b"c"}, "token", 0)
    said, now = [], 0
    while (due := desk.gate.next_deadline()) is not None:
        assert due > now
        now = due
        said += desk.gate.expire(now)
    assert said == [asked] * 4 + [Told("token", None)]
    assert 1000 * MS < now < 2000 * MS
    assert desk.answer(asked.data.partition(b" ")[0]) == []


def test_the_agents_questions_are_answered_once_and_unreadable_is_no_answer(desk):
    for body, reply in ((OK, {b"result": b"ok"}), (b"junk", None)):
        (asked,) = desk.gate.ask({b"command": b"query"}, "token", 0)
        cookie = asked.data.partition(b" ")[0]
        assert desk.answer(cookie, body) == [Told("token", reply)]
        assert desk.answer(cookie, body) == []
    assert desk.gate.next_deadline() is None


def test_a_relay_that_is_gone_is_awaited_no_more_and_its_successor_is_asked_anew(desk):
    before, _ = desk.pass_on(OFFER)
    answered, _ = desk.pass_on(ANSWER, cookie=b"k2")
    (done,) = desk.answer(answered)
    desk.gate.ask({b"command": b"query"}, "token", 0)
    assert desk.gate.forget_pending() == [Told("token", None)]
    assert desk.ask(ANSWER, cookie=b"k2") == [done.answer]
    after, _ = desk.pass_on(OFFER, now=REMEMBERED // 2)
    assert after != before
    assert desk.answer(before) == []
    # What was remembered before is not what is remembered now.
    assert isinstance(desk.ask(OFFER, now=REMEMBERED)[0], ToRelay)
    assert desk.answer(after, now=REMEMBERED)


def test_a_message_that_may_bring_parties_is_told_before_it_goes(desk):
    passing, sent = desk.ask(OFFER)
    assert isinstance(passing, Passing)
    assert (passing.call_id, passing.request) == (b"c", OFFER)
    assert isinstance(sent, ToRelay)


def test_nothing_of_a_call_is_in_a_repr(desk):
    secret = {
        b"call-id": b"S3CRET",
        b"from-tag": b"S3CRET",
        b"to-tag": b"S3CRET",
        b"sdp": b"S3CRET",
    }
    said = desk.ask(OFFER | secret | {b"record-call": b"yes"})
    said += desk.answer(b"word1")
    said += desk.ask({b"command": b"subscribe request"} | secret, cookie=b"k2")
    said += desk.ask(OFFER | secret | {b"S3CRET": b"1"}, cookie=b"k3")
    assert len(said) > 5
    assert "S3CRET" not in repr(said)
    assert "S3CRET" not in repr(replace(PROXY))


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=10))
def test_no_octets_from_either_side_raise_or_reach_the_relay_unread(messages):
    desk = Desk()
    for data, from_relay in messages:
        said = desk.gate.answered(data, 0) if from_relay else desk.gate.asked(PROXY, data, 0)
        for each in said:
            assert not isinstance(each, ToRelay) or decode(
                each.data.partition(b" ")[2], Encoding.BENCODE
            )
