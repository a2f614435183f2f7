"""Frames as they come: which are UDP datagrams, and where in them the payload stands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.flow import mapped
from agents.core.packet import Datagram, Fragment, read_frame
from tests.agents.core.wire import ethernet, frame, ipv4, ipv6, udp

PAYLOAD = b"OPTIONS sip:x SIP/2.0"
V4 = ("192.0.2.1", "192.0.2.2")
V6 = ("2001:db8::1", "2001:db8::2")
# Next header, length in words of 8 beyond the first, then padding.
HOP_BY_HOP = bytes((60, 0)) + bytes(6)
DESTINATION = bytes((17, 1)) + bytes(14)
AUTHENTICATION = bytes((17, 4)) + bytes(22)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4)), id="plain"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4), 0x8100), id="vlan"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4), 0x88A8, 0x8100), id="qinq"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4, options=b"\1" * 8)), id="options"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4, flags=0x4000)), id="do not fragment"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4)) + b"\0" * 20, id="padding"),
        pytest.param(ethernet(ipv6(udp(PAYLOAD), *V6)), id="ipv6"),
        pytest.param(ethernet(ipv6(udp(PAYLOAD), *V6), 0x8100), id="ipv6 vlan"),
        pytest.param(
            ethernet(ipv6(HOP_BY_HOP + DESTINATION + udp(PAYLOAD), *V6, following=0)),
            id="extensions",
        ),
        pytest.param(
            ethernet(ipv6(AUTHENTICATION + udp(PAYLOAD), *V6, following=51)), id="authentication"
        ),
        pytest.param(
            ethernet(ipv6(struct.pack("!BBHI", 17, 0, 0, 5) + udp(PAYLOAD), *V6, following=44)),
            id="atomic fragment",
        ),
    ],
)
def test_a_datagram_is_found_under_whatever_carries_it(octets: bytes) -> None:
    """Tags, options, extension headers and padding change neither payload nor addresses."""
    read = read_frame(octets, timestamp_ns=5, interface=3, outgoing=True)
    assert isinstance(read, Datagram)
    assert read.payload == PAYLOAD
    assert octets[read.payload_offset :].startswith(PAYLOAD)
    source = V4 if read.src[:10] == bytes(10) else V6
    assert (read.src, read.dst) == (mapped(source[0]), mapped(source[1]))
    assert (read.sport, read.dport, read.timestamp_ns, read.interface, read.outgoing) == (
        5060,
        5060,
        5,
        3,
        True,
    )
    assert read.original_length == len(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ethernet(ipv4(udp(PAYLOAD), *V4, protocol=6)), id="tcp"),
        pytest.param(ethernet(ipv4(b"\0\1\0\2\0\7\0\0", *V4)), id="udp length below its header"),
        pytest.param(ethernet(ipv4(b"\0\1\0\2", *V4)), id="no room for udp"),
        pytest.param(ethernet(ipv6(bytes(8), *V6, following=59)), id="no next header"),
        pytest.param(b"\0" * 12 + b"\x08\x06" + bytes(28), id="arp"),
    ],
)
def test_what_is_no_datagram_is_nothing(octets: bytes) -> None:
    """Anything but UDP over IP reads as None."""
    assert read_frame(octets) is None


@pytest.mark.parametrize("src", ["192.0.2.1", "2001:db8::1"])
def test_a_frame_cut_short_reads_as_the_part_that_is_there_or_nothing(src: str) -> None:
    """Every prefix of a frame reads without an error, and never beyond what is there."""
    octets = frame(PAYLOAD, src, "192.0.2.2" if "." in src else "2001:db8::2")
    for length in range(len(octets)):
        read = read_frame(octets[:length], original_length=len(octets))
        if read is not None:
            assert isinstance(read, Datagram)
            assert PAYLOAD.startswith(read.payload)
            assert read.original_length == len(octets)


def test_a_fragment_says_where_it_belongs() -> None:
    """An IPv4 fragment has its offset in bytes and its part of the packet."""
    read = read_frame(ethernet(ipv4(b"x" * 16, *V4, ident=77, flags=0x2000 | 3)))
    assert isinstance(read, Fragment)
    assert (read.ident, read.offset, read.more, read.payload) == (77, 24, True, b"x" * 16)


@given(
    st.binary(max_size=120),
    st.sampled_from([b"\x08\x00\x45", b"\x86\xdd\x60", b"\x81\x00\0\0\x86\xdd\x60"]),
)
def test_no_octets_raise(tail: bytes, start: bytes) -> None:
    """Any octets behind a plausible start give a reading or None."""
    read = read_frame(b"\0" * 12 + start + tail)
    assert read is None or isinstance(read, Datagram | Fragment)
