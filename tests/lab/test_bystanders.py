"""Beside an enforcing agent nobody who belongs on the node is hurt or reported, and root's tcpdump dies.

The sentry may end processes of the lab's slice alone; a process outside shows that it touches
nobody else.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab import bystanders
from tests.lab.bystanders import soon
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.gated import await_gate, finish, incidents, marks
from tests.lab.network import Network, end
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import GATE, Relay
from tests.lab.slice import Slice

pytestmark = marks
SUBJECT = "+15563001"
# The lab's own scope, its relay that could record, and a proxy that asks for it each time.
_EXPECTED = {"sentry_scoped", "recording_refused", "relay_configuration"}
EMPTY_PCAP = 24  # octets of a file's header alone


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Yield a network whose node lives in a slice of its own."""
    with Slice() as made, Network(slice=made) as network:
        yield network


@pytest.fixture(scope="module")
def relay(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Yield the node's media relay."""
    with Relay(network, tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture(scope="module")
def enforcing(
    network: Network, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Yield a deployment whose trust policy lets the node's sentry enforce."""
    folder = tmp_path_factory.mktemp("deployment") / "d"
    with Deployment(folder, network, allowed=bystanders.ALLOWED) as lab:
        lab.add_relay(f'recording_folders = ["{relay.recordings}"]')
        lab.start()
        lab.let_sentry_enforce()
        await_gate(lab)
        yield lab


@pytest.fixture
def proxy(network: Network, enforcing: Deployment, tmp_path: Path) -> Iterator[Proxy]:
    """Yield Kamailio, which asks for a recording of every call."""
    gate = f"udp:127.0.0.1:{GATE}"
    with Proxy(network, tmp_path / "proxy", relay=gate, record="verb") as running:
        yield running


def told(lab: Deployment) -> list[str]:
    """Return what incidents there are, but for the one about the lab's own scope."""
    found = [
        each["body"]["details"]["what"] for each in lab.records() if each["kind"] == "incident"
    ]
    return [what for what in found if what not in _EXPECTED]


def test_nobody_who_belongs_here_is_hurt_or_reported(
    enforcing: Deployment, proxy: Proxy, tmp_path: Path
) -> None:
    """Ping, DHCP, VRRP, NTP, LLDP, container rules, Kamailio, rtpengine, a capture, real calls."""
    network = enforcing.network
    assert network
    before = told(enforcing)
    capture = enforcing.warranted_capture(number=SUBJECT)
    with ExitStack() as running:
        works = {
            "the DHCP client": bystanders.dhcp_client(network, tmp_path / "dhcp"),
            "keepalived": bystanders.keepalived(network, tmp_path / "vrrp"),
            "chrony": bystanders.chrony(network, tmp_path / "chrony"),
            "lldpd": bystanders.lldpd(network),
        }
        told_by = {name: running.enter_context(each) for name, each in works.items()}
        running.enter_context(bystanders.container_rules(network))
        calls = [
            Call(network, tmp_path / f"call-{n}", caller=caller, proxy=PROXY).start()
            for n, caller in enumerate((SUBJECT, "+15563901", "+15563902"))
        ]
        bystanders.ping(network)
        for call in calls:
            call.wait()
        for name, works_now in told_by.items():
            soon(works_now, name)
        opened = finish(enforcing, capture, tmp_path / "out")
        assert len(opened.media) == sum(calls[0].expected.values())
        sweeps = enforcing.node_status()["sentry"]["sweeps"]
        enforcing.wait_for(
            lambda: enforcing.node_status()["sentry"]["sweeps"] > sweeps + 8, "sweeps were thorough"
        )
        for name, works_now in told_by.items():
            assert works_now(), name
    assert told(enforcing) == before
    assert enforcing.node_status()["sentry"]["mode"] == "enforce"


def test_root_with_tcpdump_is_stopped_and_a_neighbour_is_not(
    enforcing: Deployment, tmp_path: Path
) -> None:
    """Inside of the slice tcpdump dies with an empty file; beside it the same one hears the call."""
    network = enforcing.network
    assert network
    words = ("tcpdump", "-n", "-U", "-i", "voice-a", "-w")
    heard, outside = tmp_path / "heard.pcap", tmp_path / "outside.pcap"
    neighbour = subprocess.Popen(
        ["ip", "netns", "exec", network.name("node"), *words, str(outside)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        rogue = network.start("node", *words, str(heard), unit="ssh.service")
        Call(network, tmp_path / "call", caller="+15563903").run()
        assert rogue.wait(10) == -signal.SIGKILL
        assert not heard.exists() or heard.stat().st_size <= EMPTY_PCAP
        assert neighbour.poll() is None
        assert outside.stat().st_size > EMPTY_PCAP
    finally:
        end(neighbour)
    enforcing.wait_for(
        lambda: [
            each for each in incidents(enforcing, "capture_socket") if each["pid"] == rogue.pid
        ],
        "it is on record",
    )
    (one, *_) = [
        each for each in incidents(enforcing, "capture_socket") if each["pid"] == rogue.pid
    ]
    assert (one["action"], one["mode"]) == ("killed", "enforce")
