"""Every frame that the kernel lets pass for a flow is given the key of that flow."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether

from agents.capture.frames import PLAIN_IPV4, destination, flow_octets
from agents.core.flow import FlowKey
from tests.agents.capture.rings import udp4, udp6

V4, V6 = FlowKey.to("198.51.100.7", 30002), FlowKey.to("2001:db8::7", 30002)


@pytest.mark.parametrize(
    ("frame", "flow"),
    [
        (udp4("198.51.100.7", 30002), V4),
        (udp4("198.51.100.7", 30002, vlan=7), V4),
        (udp4("198.51.100.7", 30002, options=[IPOption_NOP()] * 8), V4),
        (udp6("2001:db8::7", 30002), V6),
        (udp6("2001:db8::7", 30002, b"x", IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()), V6),
        (
            bytes(
                Ether(type=0x88A8)
                / Dot1Q(vlan=1)
                / Dot1Q(vlan=2)
                / Ether(udp4("198.51.100.7", 30002))[1]
            ),
            V4,
        ),
    ],
    ids=["ipv4", "vlan", "options", "ipv6", "extensions", "q-in-q"],
)
def test_the_key_is_the_flow_s(frame, flow):
    """However the datagram is wrapped, its key is that of its destination."""
    assert destination(frame) == flow_octets(flow)


def test_a_frame_cut_behind_its_headers_has_its_key():
    """A frame of the headers ring, without its payload, is still told apart."""
    assert destination(udp4("198.51.100.7", 30002, bytes(160))[:54]) == flow_octets(V4)
    assert destination(udp4("198.51.100.7", 30002, bytes(160), vlan=4)[:58]) == flow_octets(V4)


def test_the_short_cut_reads_the_same_as_the_long_way():
    """For a plain IPv4 frame the fixed places hold what the reader finds."""
    frame = udp4("198.51.100.7", 30002)
    assert frame[12:15] == PLAIN_IPV4
    assert frame[30:34] + frame[36:38] == destination(frame)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_no_frame_is_too_odd(data):
    """Any octets at all have a key of 6 or 18 octets, or none, and raise nothing."""
    key = destination(data)
    assert key is None or len(key) in {6, 18}
