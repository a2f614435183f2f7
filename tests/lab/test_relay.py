"""Real calls through Kamailio and rtpengine, with the agent's gate between the two."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.network import Network
from tests.lab.opened import Opened
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import GATE, Relay, missing_relay

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing_relay()), reason=missing_relay()),
]

BYSTANDER = "+15557777"
_numbers = itertools.count(15560100)


@pytest.fixture(scope="module")
def relay(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Yield the node's media relay, which could record."""
    with Relay(network, tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture(scope="module")
def gated(
    network: Network, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Yield a deployment whose agent stands in front of the relay."""
    folder = tmp_path_factory.mktemp("deployment") / "d"
    with Deployment(folder, network) as deployment:
        deployment.add_relay(f'recording_folders = ["{relay.recordings}"]')
        yield deployment.start()


@pytest.fixture(scope="module")
def proxy(
    network: Network, gated: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Yield a proxy that asks for a recording of every call."""
    folder = tmp_path_factory.mktemp("proxy")
    with Proxy(network, folder, relay=f"udp:127.0.0.1:{GATE}", record="verb") as running:
        yield running


@pytest.fixture
def subject() -> str:
    """Return a number that no other test intercepts."""
    return f"+{next(_numbers)}"


def incidents(lab: Deployment, what: str) -> list[dict[str, object]]:
    """Return the details of the incidents of one kind that are in the log."""
    return [
        record["body"]["details"]
        for record in lab.records()
        if record["kind"] == "incident" and record["body"].get("details", {}).get("what") == what
    ]


def test_a_denied_recording_never_costs_a_call(
    gated: Deployment, relay: Relay, proxy: Proxy, tmp_path: Path
) -> None:
    """The proxy asks, is refused, and the call goes on; nothing is recorded; it is on record."""
    call = Call(gated.network, tmp_path / "call", caller=BYSTANDER, proxy=PROXY).run()

    assert call is not None
    assert "recording refused" in proxy.log()
    assert relay.files() == []
    gated.wait_for(lambda: incidents(gated, "recording_refused"), "the refusal is on record")
    (refused, *_) = incidents(gated, "recording_refused")
    assert refused["verb"] == "start recording"
    assert len(str(refused["call"])) == 64
    assert str(refused["who"]).startswith("udp 127.0.0.1:")


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
    gated.json("legal-1", "capture", "stop", capture)
    gated.await_state(capture, "ended")
    opened = Opened(gated.fetch("legal-1", capture, tmp_path / "out"))

    assert {p: opened.count(p) for p in call.expected} == call.expected
    assert len(opened.media) == sum(call.expected.values())
    assert {f.destination for f in opened.media} == {"127.0.0.1"}
    assert len(opened.call_ids()) == 1
    assert "recording started" in proxy.log()
    assert relay.files() == []
    assert media.CALLER_VOICE not in b"".join(p.read_bytes() for p in relay.files())
