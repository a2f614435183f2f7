"""The lab's fixtures for calls through the media relay, and what its tests ask of the log."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.deployment import ROOT, Deployment
from tests.lab.network import Network
from tests.lab.opened import Opened
from tests.lab.proxy import Proxy
from tests.lab.relay import GATE, Relay, missing_relay

__all__ = [
    "await_gate",
    "finish",
    "gated",
    "incidents",
    "marks",
    "operator_says",
    "proxy",
    "relay",
    "subject",
]

marks = [
    pytest.mark.privileged,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # Under CI nothing may be left out: there they run, and fail for want of the program.
    pytest.mark.skipif(
        bool(missing_relay()) and os.environ.get("CI") != "true", reason=missing_relay()
    ),
]
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
        deployment.let_recorders_ask()
        deployment.start()
        await_gate(deployment)
        yield deployment


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


def await_gate(lab: Deployment) -> None:
    """Wait until the gate has looked through the relay and admits calls."""
    lab.wait_for(lambda: lab.status_or_nothing().get("relay", {}).get("ready"), "the gate is ready")


def incidents(lab: Deployment, what: str) -> list[dict[str, Any]]:
    """Return the details of the incidents of one kind that are in the log."""
    return [
        record["body"]["details"]
        for record in lab.records()
        if record["kind"] == "incident" and record["body"].get("details", {}).get("what") == what
    ]


def operator_says(lab: Deployment, *words: str) -> dict[str, Any]:
    """Ask as an operator of the node does."""
    config = str(lab.folder / "nodes/node-1/agent.toml")
    assert lab.network
    out = lab.network.run(
        "node",
        sys.executable,
        "-m",
        "agents",
        "relay",
        *words,
        "--json",
        "--config",
        config,
        cwd=ROOT,
    )
    return dict(json.loads(out))


def finish(lab: Deployment, capture: str, folder: Path, *, stop: bool = True) -> Opened:
    """End a capture, unless it has ended, fetch it and open it."""
    if stop:
        lab.json("legal-1", "capture", "stop", capture)
    lab.await_state(capture, "ended")
    return Opened(lab.fetch("legal-1", capture, folder))
