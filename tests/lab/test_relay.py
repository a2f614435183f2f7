"""Real calls through Kamailio and rtpengine, with the agent's gate between the two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.gated import finish, gated, incidents, marks, operator_says, proxy, relay, subject
from tests.lab.opened import Opened
from tests.lab.proxy import PROXY, PROXY6, Proxy
from tests.lab.relay import Relay

__all__ = ["gated", "proxy", "relay", "subject"]

pytestmark = marks

BYSTANDER = "+15557777"


def test_a_denied_recording_never_costs_a_call(
    gated: Deployment, relay: Relay, proxy: Proxy, tmp_path: Path
) -> None:
    """The proxy asks, is refused, and the call goes on; nothing is recorded; it is on record."""
    Call(gated.network, tmp_path / "call", caller=BYSTANDER, proxy=PROXY).run()

    assert "recording refused" in proxy.log()
    assert relay.files() == []
    gated.wait_for(lambda: incidents(gated, "recording_refused"), "the refusal is on record")
    (refused, *_) = incidents(gated, "recording_refused")
    assert refused["verb"] == "start recording"
    assert len(refused["call"]) == 64
    assert refused["who"].startswith("udp 127.0.0.1:")


def test_content_through_the_relay(
    gated: Deployment, relay: Relay, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """A warrant's content comes through the relay: both speakers, every packet, nobody else's."""
    capture = gated.warranted_capture(number=subject)
    call = Call(gated.network, tmp_path / "call", caller=subject, proxy=PROXY).start()
    others = Call(
        gated.network,
        tmp_path / "others",
        caller=BYSTANDER,
        callee="+15556666",
        calls=3,
        proxy=PROXY,
    ).start()
    call.wait()
    others.wait()
    opened = finish(gated, capture, tmp_path / "out")

    assert {p: opened.count(p) for p in call.expected} == call.expected
    assert len(opened.media) == sum(call.expected.values())
    assert {f.destination for f in opened.media} == {"127.0.0.1"}
    assert len(opened.call_ids()) == 1
    assert "recording started" in proxy.log()
    assert relay.files() == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"moves": True}, id="a re-INVITE moves the media"),
        pytest.param({"early": True}, id="early media before the answer"),
        pytest.param({"slow_ring": 1200}, id="the INVITE is retransmitted"),
        pytest.param({"calls": 5}, id="five calls at once"),
        pytest.param({"ipv6": True}, id="over IPv6"),
    ],
)
def test_every_packet_of_harder_calls(
    gated: Deployment, proxy: Proxy, subject: str, tmp_path: Path, options: dict[str, int]
) -> None:
    """However the call is set up, every voice packet of it is captured once."""
    capture = gated.warranted_capture(number=subject)
    proxied = PROXY6 if "ipv6" in options else PROXY
    call = Call(gated.network, tmp_path / "call", caller=subject, proxy=proxied, **options).run()
    opened = finish(gated, capture, tmp_path / "out")

    assert {p: opened.count(p) for p in call.expected} == call.expected
    gated.wait_for(lambda: operator_says(gated, "list")["calls"] == [], "the relay lets go of it")


def test_digits_are_content_and_come_whole(
    gated: Deployment, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """Telephone events come through the relay as they were sent."""
    capture = gated.warranted_capture(number=subject)
    call = Call(gated.network, tmp_path / "call", caller=subject, proxy=PROXY, digits=True).run()
    opened = finish(gated, capture, tmp_path / "out")

    assert len(opened.media) == sum(call.expected.values()) + 5 * len(media.DTMF_DIGITS)


def test_two_authorities_on_one_call(
    gated: Deployment, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """Two warrants and a ticket on one call: each its own segments, level and end."""
    first = gated.warranted_capture(number=subject)
    second = gated.warranted_capture(number="+15551234")
    ticket = gated.capture("operator-1", gated.ticket(number=subject))
    call = Call(
        gated.network, tmp_path / "one", caller=subject, callee="+15551234", proxy=PROXY
    ).run()
    one = finish(gated, first, tmp_path / "first")
    again = Call(
        gated.network, tmp_path / "two", caller=subject, callee="+15551234", proxy=PROXY
    ).run()
    two = finish(gated, second, tmp_path / "second")
    gated.json("operator-1", "capture", "stop", ticket)
    gated.await_state(ticket, "ended")
    headers = Opened(gated.fetch("operator-1", ticket, tmp_path / "headers"))

    assert {p: one.count(p) for p in call.expected} == call.expected
    assert {p: two.count(p) for p in call.expected} == {
        p: call.expected[p] + again.expected[p] for p in call.expected
    }
    assert headers.media
    assert headers.count(media.CALLER_VOICE) == 0


def test_a_call_that_runs_already(
    gated: Deployment, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """A call that the gate let through before the grant is recorded from its next SIP message on."""
    authority = gated.warrant(number=subject, approve=False)
    call = Call(
        gated.network, tmp_path / "call", caller=subject, proxy=PROXY, moves=True, packets=250
    ).start()
    gated.json("legal-2", "authority", "approve", authority, "--yes")
    capture = gated.await_capture(authority)
    call.wait()
    opened = finish(gated, capture, tmp_path / "out")

    assert all(250 <= opened.count(p) <= call.expected[p] for p in call.expected)


def test_other_recorders_ask_the_node(
    gated: Deployment, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """While the subject talks: permitted with its obligations; one leg, another call: denied."""
    del proxy
    gated.warranted_capture(number=subject)
    call = Call(gated.network, tmp_path / "call", caller=subject, proxy=PROXY, packets=400).start()
    other = Call(
        gated.network, tmp_path / "other", caller=BYSTANDER, proxy=PROXY, packets=400
    ).start()
    gated.wait_for(lambda: gated.node_status()["relay"]["recordings"], "the call is recorded")
    listed = operator_says(gated, "list")["calls"]
    answers = [gated.check(each) for each in listed]
    permitted = [json.loads(each.out) for each in answers if each.code == 0]
    denied = [each for each in answers if each.code == 3]
    one_leg = [gated.check(each, what="one-leg").code for each in listed]
    call.stop()
    other.stop()

    assert len(permitted) == len(denied) == 1, answers
    (obligation,) = permitted[0]["obligations"]
    assert obligation["recipients"][0].startswith("age1")
    assert denied[0].err.startswith("denied: call_not_covered: ")
    assert one_leg == [3, 3]
    gated.wait_for(lambda: incidents(gated, "recording_permitted"), "the permit is on record")
    assert incidents(gated, "recording_denied")
