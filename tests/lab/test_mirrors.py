"""Mirrors that root sets up on the node are undone within a second, and the log says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.lab.deployment import Deployment
from tests.lab.network import Network
from tests.lab.slice import Slice

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

SECOND = 1.0
MIRROR = "protocol all u32 match u32 0 0 action mirred egress mirror dev mir0"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Yield a network whose node lives in a slice of its own."""
    with Slice() as made, Network(slice=made) as network:
        yield network


@pytest.fixture(scope="module")
def enforcing(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a deployment whose trust policy lets the node's sentry enforce."""
    with Deployment(tmp_path_factory.mktemp("deployment") / "d", network) as lab:
        lab.start()
        lab.let_sentry_enforce()
        network.run("node", "ip", "link", "add", "mir0", "type", "ifb")
        network.run(
            "node", "nft", "add table ip kept; add chain ip kept c; add rule ip kept c counter"
        )
        yield lab


def filtering(network: Network) -> None:
    network.run("node", "tc", "qdisc", "add", "dev", "voice-a", "clsact")
    network.run("node", "tc", "filter", "add", "dev", "voice-a", "ingress", *MIRROR.split())


def macvlan(network: Network) -> None:
    network.run("node", "ip", "link", "add", "mac0", "link", "voice-a", "up", "type", "macvlan")


def tunnel(network: Network) -> None:
    words = "link add x0 up type vxlan id 7 dev voice-a remote 10.77.1.2 dstport 4789"
    network.run("node", "ip", *words.split())


def dup(network: Network) -> None:
    hook = "{ type filter hook input priority 0; }"
    network.run("node", "nft", f"add table ip n; add chain ip n c {hook}")
    network.run("node", "nft", "add rule ip n c udp dport 5060 dup to 10.77.1.2 device voice-a")


def legacy(network: Network) -> None:
    words = "-A INPUT -p udp -j TEE --gateway 10.77.1.2"
    network.run("node", "iptables-legacy", *words.split())


WAYS = {
    "tc_mirror": filtering,
    "mirror_link": macvlan,
    "nft_copy": dup,
    "xt_copy": legacy,
}


def records(lab: Deployment, what: str) -> list[dict[str, Any]]:
    """Return what the nodes signed about incidents of one kind."""
    bodies = [each["body"] for each in lab.records() if each["kind"] == "incident"]
    return [each for each in bodies if each["details"]["what"] == what]


def undone(lab: Deployment, what: str, make: Callable[[Network], None]) -> None:
    assert lab.network
    before = len(records(lab, what))
    make(lab.network)
    made = time.time()
    lab.wait_for(lambda: len(records(lab, what)) > before, f"{what} is on record")
    told = records(lab, what)[before]
    assert (told["details"]["action"], told["details"]["mode"]) == ("undone", "enforce")
    assert datetime.fromisoformat(told["node_time"]).timestamp() - made < SECOND


@pytest.mark.parametrize("what", WAYS)
def test_a_mirror_is_undone_and_signed_for_within_a_second(
    enforcing: Deployment, what: str
) -> None:
    """What is there beside it stands."""
    undone(enforcing, what, WAYS[what])
    assert enforcing.network
    rules = enforcing.network.run("node", "nft", "list", "ruleset")
    assert "table ip kept" in rules
    assert "dup to" not in rules
    assert "mir0" in enforcing.network.run("node", "ip", "link")
    assert enforcing.node_status()["sentry"]["findings"] == 0


def test_a_tunnel_is_undone_and_signed_for_within_a_second(enforcing: Deployment) -> None:
    """A link that carries packets elsewhere goes as a macvlan does."""
    undone(enforcing, "mirror_link", tunnel)
    assert enforcing.network
    assert "x0" not in enforcing.network.run("node", "ip", "link")
