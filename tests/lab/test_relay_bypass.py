"""Ways round the gate: closed, or reported within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.gated import finish, gated, incidents, marks, proxy, relay, subject
from tests.lab.network import Network
from tests.lab.plaintext import plaintext_on_disk
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import CLI, GATE, HTTP, NG, Relay
from tests.lab.test_relay_table import answer, offer

__all__ = ["gated", "proxy", "relay", "subject"]

pytestmark = marks

PING = {"command": "ping"}
NOBODY = 65534


@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "nobody"])
def test_nobody_else_reaches_the_relays_own_ports(
    gated: Deployment, relay: Relay, user: int
) -> None:
    """NG, CLI and HTTP answer nobody but the agent, whoever asks; the gate answers everybody."""
    assert relay.ask(PING, port=GATE, user=user) == [{"result": "pong"}]
    for port, transport in ((NG, "udp"), (NG, "tcp"), (CLI, "tcp"), (HTTP, "tcp")):
        (told,) = relay.ask(PING, port=port, transport=transport, user=user)
        assert "refused" in told, (port, transport)


def test_the_fence_stands_again_and_it_is_on_record(gated: Deployment, relay: Relay) -> None:
    """Who takes the fence down finds it up again; the incident is in the log."""
    assert gated.network
    before = len(incidents(gated, "fence_breached"))
    gated.network.run("node", "nft", "delete", "table", "inet", "callguard")
    time.sleep(0.5)
    (told,) = relay.ask(PING)
    assert "refused" in told
    gated.wait_for(
        lambda: len(incidents(gated, "fence_breached")) > before, "the breach is on record", 5
    )


def test_a_relay_that_was_restarted_is_found_again(
    gated: Deployment, relay: Relay, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """The next call is recorded as the one before; the end of the relay is on record."""
    del proxy
    capture = gated.warranted_capture(number=subject)
    one = Call(gated.network, tmp_path / "one", caller=subject, proxy=PROXY).run()
    relay.restart()
    gated.wait_for(lambda: gated.node_status()["relay"]["ready"], "the relay is looked through")
    two = Call(gated.network, tmp_path / "two", caller=subject, proxy=PROXY).run()
    opened = finish(gated, capture, tmp_path / "out")

    assert {p: opened.count(p) for p in one.expected} == {
        p: one.expected[p] + two.expected[p] for p in one.expected
    }
    gated.wait_for(lambda: incidents(gated, "relay_ended"), "it is on record")


def test_a_merge_by_connect_is_refused(gated: Deployment, relay: Relay) -> None:
    """Two calls are not made one."""
    del gated
    told = relay.ask(
        offer("merge-1"),
        answer("merge-1"),
        offer("merge-2"),
        answer("merge-2"),
        {"command": "connect", "call-id": "merge-1", "from-tag": "a", "to-tag": "b"}
        | {"to-call-id": "merge-2", "flags": ["directional"]},
        port=GATE,
    )
    assert [each["result"] for each in told] == ["ok", "ok", "ok", "ok", "error"]


@pytest.fixture
def unguarded(tmp_path: Path) -> Iterator[tuple[Network, Relay, Deployment]]:
    """Yield a relay that nobody guards yet, with a configuration file that lets it record."""
    with Network() as network:
        folder = tmp_path / "relay"
        folder.mkdir()
        file = folder / "rtpengine.conf"
        file.write_text(
            f"[rtpengine]\nrecording-dir = {folder}/recordings\nrecording-method = pcap\n"
            "dtmf-log-dest = 127.0.0.1:9999\n"
        )
        with (
            Relay(network, folder, options=(f"--config-file={file}",), records=False) as relay,
            Deployment(tmp_path / "d", network) as deployment,
        ):
            deployment.add_relay(f'recording_folders = ["{relay.recordings}"]')
            yield network, relay, deployment


def test_what_records_before_the_agent_came_is_stopped_and_removed(
    unguarded: tuple[Network, Relay, Deployment], tmp_path: Path
) -> None:
    """A recording and a tap from before, and the options that allow them: ended and reported."""
    network, relay, deployment = unguarded
    began = time.time()
    with Proxy(network, tmp_path / "proxy", record="flag"):
        call = Call(network, tmp_path / "call", caller="+15553333", packets=500, proxy=PROXY)
        call.start()
        time.sleep(2)
        assert relay.files(), "the lab's relay records when nobody guards it"
        (listed,) = relay.ask({"command": "list"})
        (tap,) = relay.ask(
            {"command": "subscribe request", "call-id": listed["calls"][0], "flags": ["all"]}
        )
        assert tap["result"] == "ok"
        deployment.start()
        deployment.wait_for(
            lambda: (
                incidents(deployment, "recording_found")
                and incidents(deployment, "foreign_subscription")
            ),
            "both are on record",
        )
        call.wait()
    time.sleep(1)

    found = {each["found"] for each in incidents(deployment, "relay_configuration")}
    assert {"recording-dir", "recording-method", "dtmf-log-dest"} <= found
    assert relay.files() == []
    assert plaintext_on_disk(began, tmp_path, without=(tmp_path / "call",)) == []
