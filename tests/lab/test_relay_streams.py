"""Calls with streams beside the voice: what of them the relay can copy to the agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agents.core.owntags import subscribe
from agents.core.subscription import answer_to, left_out, streams_of
from tests.lab.gated import marks
from tests.lab.network import Network
from tests.lab.ngclient import text
from tests.lab.relay import Relay

pytestmark = marks

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 8\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Yield a relay that nobody guards."""
    with Network() as network, Relay(network, tmp_path_factory.mktemp("r"), records=False) as made:
        yield made


def subscribed(relay: Relay, call: str, odd: str) -> dict[str, Any]:
    """Set up a call with one more stream, and ask for a copy of it as the agent does."""
    of = {"call-id": call, "from-tag": "a", "ICE": "remove", "flags": ["trust address"]}
    offer = {"command": "offer", "sdp": SDP.format("10.77.1.2", 40000) + odd, **of}
    answer = {"command": "answer", "sdp": SDP.format("10.77.2.2", 50000) + odd, **of}
    told = relay.ask(
        offer | {"direction": ["a", "b"]},
        answer | {"to-tag": "b"},
        text(subscribe(call.encode(), b"tag")),
    )
    assert [each["result"] for each in told] == ["ok", "ok", "ok"]
    return told[2]


@pytest.mark.parametrize(
    ("odd", "declined"),
    [
        pytest.param("m=image 41000 udptl t38\r\n", 2, id="fax"),
        pytest.param("m=image 0 udptl t38\r\n", 2, id="fax that was declined"),
        pytest.param("m=video 41000 RTP/AVP 31\r\n", 0, id="video"),
    ],
)
def test_the_voice_beside_another_stream(relay: Relay, odd: str, declined: int) -> None:
    """The relay takes an answer that declines what is no RTP, and sends the rest."""
    call = f"call-{odd[:14]}"
    offered = subscribed(relay, call, odd)["sdp"].encode()
    ports = range(45000, 45000 + 2 * streams_of(offered), 2)
    answer = {"command": "subscribe answer", "call-id": call, "to-tag": "tag"}

    assert left_out(offered) == declined
    assert relay.ask(answer | {"sdp": answer_to(offered, ports).decode()}) == [{"result": "ok"}]


@pytest.mark.parametrize(
    "odd", ["m=application 41000 UDP/BFCP *\r\n", "m=message 9 TCP/MSRP *\r\n"]
)
def test_what_this_relay_cannot_describe(relay: Relay, odd: str) -> None:
    """Of a call with a protocol that it does not know, rtpengine 10.5 describes nothing at all.

    The agent reports that as a recording that failed; SECURITY.md says so.
    """
    assert "sdp" not in subscribed(relay, f"call-{odd[:14]}", odd)
