"""A real tcpdump on the node is on record within a second; what belongs there is not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders.units import service
from tests.lab.calls import Call
from tests.lab.deployment import ROOT, Deployment
from tests.lab.gated import finish, gated, incidents, marks, proxy, relay, subject
from tests.lab.network import end
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import Relay

__all__ = ["gated", "proxy", "relay", "subject"]

pytestmark = marks

NOT_FOUND = (
    "capture_socket",
    "mirror_link",
    "promiscuous",
    "flooding",
    "tc_mirror",
    "xdp",
    "nft_copy",
    "xt_copy",
    "nflog_bind",
    "bpf_foreign",
    "mirror_allowed",
    "sentry_blind",
)
# A raw socket of ICMP, one of IPPROTO_RAW and a packet socket for ARP: ping, a proxy, arping.
HARMLESS = """
import socket, sys
kept = [
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)),
]
print("ready", flush=True)
sys.stdin.read()
"""
# What a DHCP client opens before the interface has an address.
DHCP_CLIENT = """
import socket, sys
kept = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def beside(lab: Deployment, script: str, *before: str) -> Iterator[None]:
    """Run a script on the node until the block ends."""
    assert lab.network
    process = subprocess.Popen(
        [*before, "ip", "netns", "exec", lab.network.name("node"), sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        end(process)


def found(lab: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Return what the sentry has put on record, by its kind."""
    told = {what: incidents(lab, what) for what in NOT_FOUND}
    return {what: each for what, each in told.items() if each}


@contextmanager
def capturing(lab: Deployment, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run tcpdump on the node as root, writing nothing."""
    assert lab.network
    process = lab.network.start("node", "tcpdump", "-n", *words, "-w", "/dev/null")
    try:
        yield process
    finally:
        end(process)


def test_what_belongs_on_the_node_is_not_reported(
    gated: Deployment, relay: Relay, proxy: Proxy, subject: str, tmp_path: Path
) -> None:
    """Kamailio, rtpengine, SIPp, a capture under a warrant, and raw sockets of control."""
    assert gated.network
    capture = gated.warranted_capture(number=subject)
    with service(gated.dhcp_client) as inside, ExitStack() as running:
        running.enter_context(beside(gated, HARMLESS))
        running.enter_context(beside(gated, DHCP_CLIENT, *inside))
        call = Call(gated.network, tmp_path / "call", caller=subject, proxy=PROXY).start()
        call.wait()
        opened = finish(gated, capture, tmp_path / "out")
        assert len(opened.media) == sum(call.expected.values())
        sweeps = gated.node_status()["sentry"]["sweeps"]
        gated.wait_for(
            lambda: gated.node_status()["sentry"]["sweeps"] > sweeps + 8, "sweeps were thorough"
        )
        assert found(gated) == {}
    assert gated.node_status()["sentry"]["findings"] == 0
    assert len(incidents(gated, "sentry_scoped")) == 1


@pytest.mark.parametrize(
    ("words", "interface"), [(("-i", "voice-a"), True), (("-p", "-i", "any"), False)]
)
def test_tcpdump_as_root_is_an_incident(
    gated: Deployment, words: tuple[str, ...], interface: bool
) -> None:
    """Who, where and what is on record, signed; it is told once, and again when it comes again."""
    before = len(incidents(gated, "capture_socket"))
    for more in (1, 2):
        started = time.time()
        with capturing(gated, *words, "udp", "and", "host", "10.77.1.2") as process:
            gated.wait_for(
                lambda more=more: len(incidents(gated, "capture_socket")) == before + more,
                "the capture is on record",
            )
            told = incidents(gated, "capture_socket")[-1]
            assert told["pid"] == process.pid
            assert told["kind"] == "packet_all"
            assert (told["interface"] != 0) is interface
            assert (told["action"], told["mode"], told["would"]) == ("reported", "observe", "kill")
            assert len(told["command"]) == 64
            assert gated.node_status()["sentry"]["findings"] >= 1
            record = [r for r in gated.records() if r["kind"] == "incident"][-1]
            sys.stdout.write(f"started {started:.3f}, node {record['body']['node_time']}\n")
            assert process.poll() is None, "nobody stops it: the sentry observes"
        gated.wait_for(lambda: not gated.node_status()["sentry"]["findings"], "it is gone")
    assert "10.77.1.2" not in str(incidents(gated, "capture_socket"))


def test_a_mirror_is_an_incident_with_where_it_goes(gated: Deployment) -> None:
    """A traffic filter that mirrors, a link that carries elsewhere, and a listener's rule."""
    assert gated.network
    run = gated.network.run
    run("node", "ip", "link", "add", "mir0", "type", "ifb")
    try:
        run("node", "tc", "qdisc", "add", "dev", "voice-a", "clsact")
        mirror = "protocol all u32 match u32 0 0 action mirred egress mirror dev mir0"
        run("node", "tc", "filter", "add", "dev", "voice-a", "ingress", *mirror.split())
        gated.wait_for(lambda: incidents(gated, "tc_mirror"), "the mirror is on record")
        (told,) = incidents(gated, "tc_mirror")
        assert (told["way"], told["parent"]) == ("mirror", "ffff:fff2")
        run("node", "ip", "link", "set", "mir0", "up")
        gated.wait_for(lambda: incidents(gated, "mirror_link"), "the link is on record")
        assert incidents(gated, "mirror_link")[0]["name"] == "mir0"
    finally:
        run("node", "tc", "qdisc", "del", "dev", "voice-a", "clsact", check=False)
        run("node", "ip", "link", "del", "mir0")
    gated.wait_for(lambda: not gated.node_status()["sentry"]["findings"], "both are gone")


def test_the_status_says_what_the_sentry_does(gated: Deployment) -> None:
    """In words: what it delivers, when it swept last, and that it was narrowed for a test."""
    config = str(gated.folder / "nodes/node-1/agent.toml")
    assert gated.network
    words = [sys.executable, "-m", "agents", "status", "--config", config]
    said = gated.network.run("node", *words, cwd=ROOT)
    assert "sentry: mode observe, tier detect; 0 findings; last sweep " in said
    assert "watches some namespaces, not the node" in said
