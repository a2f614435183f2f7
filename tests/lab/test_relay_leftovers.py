"""What a subscription leaves behind in rtpengine 10.5, and how it is tidied away.

Once a call has been answered again, or subscribed to again, while somebody was subscribed to it, the
proxy's ``delete`` no longer ends it: the relay says ``ok`` and keeps the call, its ports and its tags
until they time out, even after ``unsubscribe``. A ``delete`` of the subscriber's own tag mends that,
and takes nothing from a call that still talks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.calls import Call
from tests.lab.gated import marks
from tests.lab.heard import begin_to_count, voices
from tests.lab.network import Network
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import Relay
from tests.lab.test_relay_calls import spoken

pytestmark = marks

SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"


@pytest.fixture(scope="module")
def relay(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Yield a relay that nobody guards."""
    with Relay(network, tmp_path_factory.mktemp("relay")) as running:
        yield running


def ask(relay: Relay, verb: str, call: str, **more: Any) -> dict[str, Any]:
    """Ask the relay about a call; the answer must be ``ok``."""
    keys = {key.replace("_", "-"): value for key, value in more.items()}
    (told,) = relay.ask({"command": verb, "call-id": call} | keys)
    assert told["result"] == "ok", told
    return told


def calls(relay: Relay) -> list[str]:
    """Return the calls that the relay has."""
    return list(relay.ask({"command": "list"})[0]["calls"])


def answer(relay: Relay, call: str) -> None:
    """Answer the call, perhaps again."""
    ask(relay, "answer", call, from_tag="a", to_tag="b", sdp=SDP.format("10.77.2.2"))


def subscribe(relay: Relay, call: str, tag: str) -> None:
    """Take copies of both speakers to a port on the node that nobody listens on."""
    told = ask(relay, "subscribe request", call, to_tag=tag, flags=["all"])
    sdp = re.sub(r"a=rtcp:.*\r\n", "", told["sdp"]).replace("sendonly", "recvonly")
    sdp = re.sub(r"m=audio \d+", "m=audio 40000", re.sub(r"IP4 \S+", "IP4 127.0.0.1", sdp))
    ask(relay, "subscribe answer", call, to_tag=tag, sdp=sdp)


@pytest.mark.parametrize("again", ["answered", "subscribed"])
@pytest.mark.parametrize("tidy", [False, True], ids=["left", "tidied"])
def test_a_deleted_call_stays_until_the_subscribers_tags_are_deleted(
    relay: Relay, again: str, *, tidy: bool
) -> None:
    """Unsubscribing alone does not do it; deleting one's own tag does, before or after."""
    call = f"{again}-{tidy}"
    ask(relay, "offer", call, from_tag="a", sdp=SDP.format("10.77.1.2"), direction=["a", "b"])
    answer(relay, call)
    subscribe(relay, call, "mine")
    if again == "answered":
        answer(relay, call)
    else:
        subscribe(relay, call, "mine-too")
        ask(relay, "unsubscribe", call, to_tag="mine-too")
    ask(relay, "unsubscribe", call, to_tag="mine")
    if tidy:
        for tag in ("mine", "mine-too") if again == "subscribed" else ("mine",):
            ask(relay, "delete", call, from_tag=tag)
        assert calls(relay) == [call]
    ask(relay, "delete", call, from_tag="a")

    assert calls(relay) == ([] if tidy else [call])
    if not tidy:
        ask(relay, "delete", call, from_tag="mine")
        assert calls(relay) == []


def test_tidying_takes_nothing_from_a_call_that_talks(
    network: Network, relay: Relay, tmp_path: Path
) -> None:
    """Subscriptions come and go in mid-call, tags are deleted; every packet is heard."""
    begin_to_count(network)
    with Proxy(network, tmp_path / "proxy"):
        call = Call(network, tmp_path / "call", packets=200, moves=True, proxy=PROXY).start()
        while not (listed := calls(relay)):
            pass
        heard = "callee hears caller"
        while voices(network)[heard] < 20:
            pass
        subscribe(relay, listed[0], "mine")
        subscribe(relay, listed[0], "mine-too")
        for tag in ("mine", "mine-too"):
            ask(relay, "unsubscribe", listed[0], to_tag=tag)
            ask(relay, "delete", listed[0], from_tag=tag)
        assert voices(network)[heard] < call.packets
        call.wait()

    assert voices(network) == spoken(call)
    assert calls(relay) == []
