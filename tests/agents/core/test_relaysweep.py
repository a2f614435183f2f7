"""A relay is looked through at its start, and always."""

from __future__ import annotations

import pytest

from agents.core.ngcodec import Encoding, decode
from tests.sim.gate_simulator import MS, PROXY, SDP, Gate
from tests.sim.relay_simulator import RelaySimulator


def busy(relay: RelaySimulator, calls: int = 3) -> list[bytes]:
    """Set calls up before the agent comes, each recorded and copied to somebody."""
    names = [b"call-%03d" % number for number in range(calls)]
    for name in names:
        relay.ask(command=b"offer", call_id=name, from_tag=b"f", sdp=SDP, record_call=b"yes")
        relay.ask(command=b"answer", call_id=name, from_tag=b"f", to_tag=b"t", sdp=SDP)
        relay.ask(command=b"subscribe request", call_id=name, to_tag=b"spy", flags=[b"all"])
    return names


def losing(*commands: bytes):
    def lose(data: bytes) -> bool:
        return decode(data.partition(b" ")[2], Encoding.BENCODE).get(b"command") in commands

    return lose


@pytest.mark.parametrize("calls", [0, 1, 3, 100])
def test_a_relay_is_cleared_of_what_nobody_ordered_before_a_new_call_is_admitted(calls):
    gate = Gate()
    names = busy(gate.relay, calls)
    gate.do(gate.rules.relay_found(gate.now))
    assert not gate.rules.ready
    assert gate.offer(b"new") is None or gate.rules.ready
    gate.settle()
    assert gate.rules.ready
    assert not any(gate.relay.copies(name) for name in names)
    assert not any(gate.relay.calls[name].recording for name in names)
    assert gate.what() == ["foreign_subscription"] * calls
    assert gate.offer(b"newer")[b"result"] == b"ok"


def test_a_new_call_waits_until_the_relay_was_looked_through():
    gate = Gate(delay=10 * MS)
    busy(gate.relay)
    gate.do(gate.rules.relay_found(gate.now))
    cookie = gate.cookie()
    message = {"command": b"offer", "call_id": b"new", "from_tag": b"f", "sdp": SDP}
    gate.send(PROXY, cookie, message)
    gate.wait(200)
    assert b"new" not in gate.relay.calls
    gate.send(PROXY, cookie, message)
    gate.wait(200)
    assert gate.answer(cookie)[b"result"] == b"ok"


def test_a_tap_that_comes_later_is_found_in_its_turn():
    gate = Gate()
    names = busy(gate.relay, 50)
    gate.find()
    gate.reports.clear()
    gate.relay.ask(command=b"subscribe request", call_id=names[49], to_tag=b"spy", flags=[b"all"])
    gate.wait(1600)
    assert not gate.relay.copies(names[49])
    assert gate.what() == ["foreign_subscription"]


def test_the_agents_own_are_left_alone():
    gate = Gate()
    gate.find()
    gate.want(b"c")
    gate.offer(b"c")
    gate.accept(b"c")
    gate.wait(5000)
    assert gate.recorded(b"c")
    assert gate.reports == []


def test_what_an_agent_before_left_behind_is_ended():
    gate = Gate()
    gate.find()
    gate.want(b"c")
    gate.offer(b"c")
    gate.accept(b"c")
    after = Gate(relay=gate.relay)
    after.words = 1000
    after.find()
    assert not after.relay.copies(b"c")


def test_a_leftover_of_the_agents_own_is_ended_without_a_report():
    gate = Gate()
    gate.find()
    gate.offer(b"c")
    gate.accept(b"c")
    mark = gate.rules._recordings._tags.mark
    gate.relay.ask(command=b"subscribe request", call_id=b"c", to_tag=mark + b"-x", flags=[b"all"])
    gate.wait(1000)
    assert not gate.relay.copies(b"c")
    assert gate.reports == []


class Crowded(RelaySimulator):
    """Its datagrams hold so many Call-IDs and no more."""

    most = 40

    def _do(self, message):
        answer = super()._do(message)
        return answer if len(answer.get(b"calls", ())) <= self.most else {b"result": b"ok"}


def test_a_relay_with_more_calls_than_a_datagram_holds_is_looked_through_in_part_and_reported():
    gate = Gate(relay=Crowded())
    busy(gate.relay, 60)
    gate.find()
    assert gate.rules.ready
    assert gate.what()[0] == "relay_not_listed"
    assert gate.what().count("relay_not_listed") == 1


def test_a_relay_that_does_not_answer_gets_no_new_call_and_is_asked_again():
    gate = Gate(lose=losing(b"list"))
    names = busy(gate.relay)
    gate.find()
    gate.wait(20_000)
    assert not gate.rules.ready
    gate.lose = lambda _: False
    gate.wait(5000)
    assert gate.rules.ready
    assert not any(gate.relay.copies(name) for name in names)


def test_a_call_that_is_not_described_is_reported():
    gate = Gate(lose=losing(b"query"))
    busy(gate.relay, 2)
    gate.find()
    gate.wait(3000)
    assert gate.what() == ["relay_not_listed"] * 2
    assert {each.call_id for each in gate.reports} == {b"call-000", b"call-001"}
    assert gate.rules.ready


def test_a_relay_that_ends_in_the_middle_is_looked_through_from_the_beginning():
    gate = Gate(delay=10 * MS)
    busy(gate.relay)
    gate.do(gate.rules.relay_found(gate.now))
    gate.wait(15)
    gate.restart(found=False)
    gate.wait(3000)
    assert not gate.rules.ready
    names = busy(gate.relay)
    gate.find()
    gate.wait(100)
    assert gate.rules.ready
    assert not any(gate.relay.copies(name) for name in names)
