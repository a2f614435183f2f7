"""A thousand consecutive calls go through the gate exactly as they go without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.deployment import Deployment
from tests.lab.gated import await_gate, marks
from tests.lab.network import Network
from tests.lab.proxy import Proxy
from tests.lab.relay import GATE, NG, Relay
from tests.lab.thousand import CALLS, make_calls, talk

pytestmark = [*marks, pytest.mark.timeout(500)]


def test_a_thousand_calls_are_as_without_the_gate(tmp_path: Path) -> None:
    """SIP messages, SDP and RTP counts are equal, call for call and packet for packet."""
    with Network() as network:
        with (
            Relay(network, tmp_path / "straight"),
            Proxy(network, tmp_path / "proxy-1", relay=f"udp:127.0.0.1:{NG}"),
        ):
            straight = make_calls(network, tmp_path / "calls-1")
        with (
            Relay(network, tmp_path / "gated"),
            Deployment(tmp_path / "d", network) as deployment,
        ):
            deployment.add_relay()
            deployment.start()
            await_gate(deployment)
            with Proxy(network, tmp_path / "proxy-2", relay=f"udp:127.0.0.1:{GATE}"):
                gated = make_calls(network, tmp_path / "calls-2")

    assert gated == straight
    assert gated.media == talk()
    assert sum(gated.descriptions.values()) >= 4 * CALLS
    requests = [count for name, count in gated.messages.items() if re.search("INVITE|BYE", name)]
    assert requests == [CALLS] * 4
