"""Content through the media relay, in a node's rules: one call, one flow, to each grant its own end."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

import pytest

from agents.core import commands as do
from agents.core import events as on
from agents.core.flow import FlowKey
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.reasons import Reason
from guard.core.receipt import ReceiptKind
from guard.core.window import Window
from tests.agents.core.calls import CALLER, PROXY, message, sdp
from tests.builders.deployment import SUBJECT
from tests.sim.playbook import Playbook, grant_id, kinds, of

NAMES = (f"{SUBJECT}@voip.example", "bob@example.org")
SINKS = tuple(FlowKey.to("127.0.0.1", port) for port in (20000, 20001))
ORDER = Instrument.INTERCEPTION_ORDER


@pytest.fixture
def play() -> Playbook:
    made = Playbook(relay=True)
    made.running = []
    return made


def ring(play: Playbook, call: str = "c1"):
    body = sdp(CALLER, 30000)
    return play.tell(
        on.SignallingSeen(message=message("INVITE", call=call, names=NAMES, body=body))
    )


def fail(play: Playbook, call: str = "c1"):
    """Let the call end: it is refused, and acknowledged."""
    ends = {"call": call, "names": NAMES, "ends": ("a", "b")}
    back = message("486 Busy", src=PROXY, dst=CALLER, **ends)
    said = play.tell(on.SignallingSeen(message=back))
    said += play.tell(on.SignallingSeen(message=message("ACK", cseq="1 ACK", **ends)))
    for _ in range(20):  # Long enough for the call's last messages, with the leases renewed.
        said += play.wait(2)
        said += play.renew(*play.running)
    return said


def arrive(play: Playbook, call: str = "c1", *, begins: bool = True):
    return play.tell(on.RelayFlows(call_id=call, keys=SINKS, open=begins))


def withdraw(play: Playbook, evidence):
    gone = on.Withdrawal(grant_id=grant_id(evidence), reason=Reason.REVOKED)
    return play.tell(on.StateDelta(revision=9, withdrawn=(gone,)))


def holders(play: Playbook) -> dict[int, frozenset[str]]:
    """Return who has what arrives at which port, by all that was commanded."""
    found: dict[int, frozenset[str]] = {}
    for command in play.told:
        match command:
            case do.SetFlow(key=key, grants=grants):
                found[key.port] = grants
            case do.ClearFlow(key=key):
                found.pop(key.port)
    return found


def test_a_subjects_call_is_recorded_and_its_media_on_the_wire_is_not_taken(play):
    order = play.armed(ORDER)
    said = ring(play)
    (recorded,) = of(said, do.RecordCall)
    assert (recorded.grant.grant.id, recorded.call_id) == (grant_id(order), "c1")
    assert not of(said, do.SetFlow)
    assert "call_id" not in repr(recorded)


def test_the_receipt_says_where_the_media_is_taken_from():
    for relay, media in ((True, "relay"), (False, "packets")):
        play = Playbook(relay=relay)
        play.armed(ORDER)
        drafts = [each.draft for each in play.of(do.SendReceipt)]
        (armed,) = [each for each in drafts if each.kind is ReceiptKind.ARMED]
        assert armed.details["media"] == media


def test_a_call_that_is_taken_off_the_wire_is_told_to_the_gate_all_the_same():
    play = Playbook(relay=True, through_relay=False)
    play.armed(ORDER)
    said = ring(play)
    assert [each.call_id for each in of(said, do.RecordCall)] == ["c1"]
    assert {each.level for each in of(said, do.SetFlow)} == {Level.CONTENT}
    assert play.node.armed(play.now)[0].calls == 1
    play.running = []
    assert [each.call_id for each in of(fail(play), do.ReleaseCall)] == ["c1"]


def test_a_grant_that_is_not_for_content_is_served_by_packets(play):
    play.armed(Instrument.TICKET)
    said = ring(play)
    assert not of(said, do.RecordCall)
    assert {each.level for each in of(said, do.SetFlow)} == {Level.MEDIA_HEADERS}


def test_what_arrives_belongs_to_the_grants_that_want_the_call(play):
    order = play.armed(ORDER)
    ring(play)
    said = arrive(play)
    assert {each.key for each in of(said, do.SetFlow)} == set(SINKS)
    assert holders(play) == {20000: {grant_id(order)}, 20001: {grant_id(order)}}
    assert {type(each) for each in arrive(play, begins=False)} == {do.ClearFlow}
    assert holders(play) == {}


def test_what_arrives_of_a_call_that_nobody_wants_goes_to_nobody(play):
    play.armed(ORDER)
    assert arrive(play, "another") == []


def test_a_second_grant_comes_to_the_flow_and_each_ends_by_itself(play):
    short = Window(
        not_before=play.made.now - timedelta(minutes=1),
        not_after=play.made.now + timedelta(seconds=5),
    )
    first = play.armed(ORDER, window=short)
    ring(play)
    arrive(play)
    second = play.armed(ORDER)
    assert holders(play)[20000] == {grant_id(first)}
    said = ring(play)
    assert [each.grant.grant.id for each in of(said, do.RecordCall)] == [grant_id(second)]
    arrive(play)  # The relay's rules say it again for who comes later.
    assert holders(play)[20000] == {grant_id(first), grant_id(second)}
    said = play.wait(5.5)
    assert [each.grant_id for each in of(said, do.ReleaseCall)] == [grant_id(first)]
    assert holders(play)[20000] == {grant_id(second)}


def test_the_end_of_a_grant_disarms_before_the_call_is_let_go(play):
    order = play.armed(ORDER)
    ring(play)
    arrive(play)
    said = withdraw(play, order)
    order_of = [kinds(said).index(kind) for kind in (do.ClearFlow, do.ReleaseCall, do.EndCapture)]
    assert order_of == sorted(order_of)
    assert holders(play) == {}


def test_the_end_of_a_call_lets_it_go_and_what_still_arrives_with_it(play):
    play.running.append(play.armed(ORDER))
    ring(play)
    arrive(play)
    said = fail(play)
    assert [each.call_id for each in of(said, do.ReleaseCall)] == ["c1"]
    assert holders(play) == {}
    assert arrive(play, begins=False) == []
    assert of(ring(play, "c2"), do.RecordCall)


def test_a_call_that_comes_again_is_recorded_again(play):
    play.running.append(play.armed(ORDER))
    ring(play)
    arrive(play)
    fail(play)
    arrive(play, begins=False)
    assert [each.call_id for each in of(ring(play), do.RecordCall)] == ["c1"]
    arrive(play)
    assert set(holders(play)) == {20000, 20001}


def test_a_call_too_many_ends_the_grant_and_is_let_go(play):
    play.armed(ORDER, max_calls=1)
    ring(play)
    said = ring(play, "c2")
    assert {each.call_id for each in of(said, do.ReleaseCall)} == {"c1", "c2"}
    assert of(said, do.EndCapture)


def incidents(play: Playbook):
    drafts = [each.draft for each in play.of(do.SendReceipt)]
    return [dict(each.details) for each in drafts if each.kind is ReceiptKind.INCIDENT]


def report(play: Playbook, what: str, call: str | None = "c1", **details: str):
    return play.tell(on.RelayReport(what=what, call_id=call, details=details))


@pytest.mark.parametrize("what", ["recording_failed", "recording_lost", "call_merged"])
def test_what_concerns_a_recording_is_on_record_and_in_the_last_receipt(play, what):
    order = play.armed(ORDER)
    ring(play)
    report(play, what, why="so")
    report(play, what, "another")
    hashed = sha256(b"c1").hexdigest()
    assert incidents(play)[0] == {"what": what, "call": hashed, "why": "so"}
    withdraw(play, order)
    play.close(order)
    drafts = [each.draft for each in play.of(do.SendReceipt)]
    (last,) = [each for each in drafts if each.kind is ReceiptKind.DISARMED]
    assert last.details["not_followed"] == what


def test_what_others_try_is_on_record_and_says_nothing_of_a_grant(play):
    order = play.armed(ORDER)
    ring(play)
    report(play, "recording_refused", verb="subscribe request")
    report(play, "fence_breached", None, found="x")
    assert [each["what"] for each in incidents(play)] == ["recording_refused", "fence_breached"]
    withdraw(play, order)
    play.close(order)
    assert "not_followed" not in play.of(do.SendReceipt)[-1].draft.details


def test_a_call_id_in_any_octets_is_hashed_as_it_was(play):
    octets = b"c\xff\xfe"
    report(play, "message_refused", octets.decode("utf-8", "surrogateescape"))
    assert incidents(play)[0]["call"] == sha256(octets).hexdigest()


def test_a_flood_is_counted_and_told_when_the_minute_is_over(play):
    play.session()
    for _ in range(3):
        report(play, "message_refused", None, who="udp")
    assert len(incidents(play)) == 1
    play.wait(61)
    assert incidents(play)[1] == {"what": "message_refused", "more": 2}


def test_an_agent_that_stops_lets_every_call_go(play):
    play.armed(ORDER)
    ring(play)
    ring(play, "c2")
    said = play.tell(on.Shutdown())
    assert [each.call_id for each in of(said, do.ReleaseCall)] == ["c1", "c2"]
