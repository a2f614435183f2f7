"""The lab's own calls through Kamailio and rtpengine, with nothing that guards the relay.

What the tests with the gate find absent is present here: the relay records when it is asked to, and
the comparison of many calls notices what is different.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call
from tests.lab.gated import marks
from tests.lab.heard import begin_to_count, voices
from tests.lab.network import Network
from tests.lab.passthrough import passing_through
from tests.lab.proxy import PROXY, PROXY6, Proxy
from tests.lab.relay import GATE, NG, Relay

pytestmark = marks

PING = {"command": "ping"}
PONG = {"result": "pong"}


@pytest.fixture(scope="module")
def relay(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Yield a relay that nobody guards, which records if asked, and says what it was asked."""
    options = (f"--listen-tcp-ng=127.0.0.1:{NG}", "--log-level=6")
    with Relay(network, tmp_path_factory.mktemp("relay"), options=options) as running:
        yield running


def spoken(call: Call, *others: Call) -> dict[str, int]:
    """Return what is heard when nothing is lost, crossed, or led past the relay."""
    calls = (call, *others)
    sent = {voice: sum(each.expected[voice] for each in calls) for voice in call.expected}
    return {
        "caller sends caller": sent[media.CALLER_VOICE],
        "callee hears caller": sent[media.CALLER_VOICE],
        "callee sends callee": sent[media.CALLEE_VOICE],
        "caller hears callee": sent[media.CALLEE_VOICE],
        "caller sends callee": 0,
        "caller hears caller": 0,
        "callee sends caller": 0,
        "callee hears callee": 0,
        "node forwards caller": 0,
        "node forwards callee": 0,
    }


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="one call"),
        pytest.param({"moves": True}, id="a re-INVITE moves the media"),
        pytest.param({"early": True}, id="early media before the answer"),
        pytest.param({"ipv6": True, "proxy": PROXY6}, id="over IPv6"),
        pytest.param({"calls": 5}, id="five calls at once"),
    ],
)
def test_both_speakers_are_heard(
    network: Network, relay: Relay, tmp_path: Path, options: dict[str, object]
) -> None:
    """Every packet of each speaker reaches the other, through the relay; nothing is recorded."""
    begin_to_count(network)
    with Proxy(network, tmp_path / "proxy"):
        call = Call(network, tmp_path / "call", **{"proxy": PROXY} | options).run()  # type: ignore[arg-type]

    assert voices(network) == spoken(call)
    assert relay.files() == []


def test_bystanders_are_heard_as_well(network: Network, relay: Relay, tmp_path: Path) -> None:
    """Calls of several people at once, each by telephones of their own."""
    del relay
    begin_to_count(network)
    with Proxy(network, tmp_path / "proxy"):
        calls = [
            Call(network, tmp_path / caller, caller=caller, calls=count, proxy=PROXY).start()
            for caller, count in (("+15550001", 1), ("+15557777", 3))
        ]
        for call in calls:
            call.wait()

    assert voices(network) == spoken(*calls)


@pytest.mark.parametrize("record", ["flag", "verb"])
def test_the_relay_records_when_the_proxy_asks_and_nobody_stands_between(
    tmp_path: Path, record: str
) -> None:
    """Both speakers are in the file, whole: this is what the gate is there to prevent."""
    with Network() as network, Relay(network, tmp_path / "relay") as relay:
        with Proxy(network, tmp_path / "proxy", record=record) as proxy:
            call = Call(network, tmp_path / "call", proxy=PROXY).run()
        files = relay.files()

    (pcap,) = [each for each in files if each.suffix == ".pcap"]
    voice = pcap.read_bytes()
    assert {p: voice.count(p * 8) for p in call.expected} == call.expected
    assert ("recording started" in proxy.log()) == (record == "verb")
    assert "recording refused" not in proxy.log()


def test_a_refused_recording_is_told_with_its_return_code(
    network: Network, relay: Relay, tmp_path: Path
) -> None:
    """The proxy is refused by whoever stands between, says so, and the call goes on."""
    del relay
    begin_to_count(network)
    spoiled = ("d6:result2:oke", "d6:result5:errore")  # so answers a recording, not a call's set-up
    with (
        passing_through(network, GATE, spoiled=spoiled),
        Proxy(network, tmp_path / "proxy", relay=f"udp:127.0.0.1:{GATE}", record="verb") as proxy,
    ):
        call = Call(network, tmp_path / "call", proxy=PROXY).run()

    assert "recording refused, return code -1" in proxy.log()
    assert voices(network) == spoken(call)


def test_the_relay_answers_by_udp_and_tcp_and_from_any_port(relay: Relay) -> None:
    """A client chooses its transport and where it asks from."""
    assert relay.ask(PING, PING) == [PONG, PONG]
    assert relay.ask(PING, PING, transport="tcp") == [PONG, PONG]
    assert relay.ask(PING, source_port=20202, user=65534) == [PONG]
    assert "127.0.0.1:20202" in (relay.folder / "rtpengine.log").read_text()


def test_a_killed_relay_answers_again_when_it_is_started(relay: Relay) -> None:
    """Until then nobody answers."""
    relay.kill()
    assert relay.ask(PING) == [{"refused": "Connection refused"}]
    relay.start()
    assert relay.ask(PING) == [PONG]


def test_a_call_that_goes_past_the_relay_is_noticed(network: Network, tmp_path: Path) -> None:
    """Without a proxy the telephones talk all the same: the count says by which way."""
    begin_to_count(network)
    call = Call(network, tmp_path / "call").run()

    assert voices(network)["node forwards caller"] == call.expected[media.CALLER_VOICE]
    assert voices(network)["callee hears caller"] == call.expected[media.CALLER_VOICE]
