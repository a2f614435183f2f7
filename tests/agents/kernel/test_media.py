"""What the media filters let pass, on packets that really come in."""

from __future__ import annotations

import random
import struct
import time

import pytest

from agents.core.flow import FlowKey
from agents.kernel.errors import KernelError
from guard.core.level import Level
from tests.agents.kernel.wire import (
    DESTINATION,
    DESTINATION6,
    FOREVER,
    boot_ns,
    drain,
    ethernet,
    ipv4,
    ipv6,
    media,
    rtp,
    udp,
)

pytestmark = pytest.mark.privileged

FLOW, FLOW6 = FlowKey.to(DESTINATION, 40000), FlowKey.to(DESTINATION6, 40000)
TO_UDP = 14 + 20 + 8
FRAGMENT = 44


def kept(filters, wire, frame):
    """Send one frame and return what the headers socket got of it; None if it did not pass."""
    wire.send(frame)
    packets = drain(filters.headers)
    assert len(packets) <= 1
    return packets[0][0] if packets else None


def test_only_the_armed_flow_passes(filters, wire):
    """Of a thousand flows exactly the packets of the armed one come up."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(*(media(to=port) for port in range(39500, 40500)))

    assert [packet[0] for packet in drain(filters.content)] == [media()]


def test_the_destination_address_counts(filters, wire):
    """The same port at another address is somebody else's."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(ethernet(ipv4(udp(rtp()), to="198.51.100.3")))

    assert drain(filters.content) == []


def test_the_source_does_not_count(filters, wire):
    """A flow is named by where it goes; an armed address as the source selects nothing."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    there = ipv4(udp(rtp(), to=5004, source=40000), source=DESTINATION, to="198.51.100.9")
    wire.send(ethernet(there))

    assert drain(filters.content) == []


def test_nothing_passes_before_arming_or_after_clearing(filters, wire):
    """An empty map selects nothing, and a cleared flow is silent at once."""
    wire.send(media())
    assert drain(filters.content) == []

    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    filters.clear_flow(Level.CONTENT, FLOW)
    wire.send(media())

    assert drain(filters.content) == []


def test_a_packet_the_node_sends_is_not_captured(filters, wire):
    """Media is read on ingress only, of the configured interfaces only: nothing is there twice."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(media(), interface=wire.far)  # leaves on the far one, comes in on the near one

    assert drain(filters.content) == []


@pytest.mark.parametrize("csrcs", [0, 1, 15])
@pytest.mark.parametrize("extension", [None, b"LEVL" * 3])
def test_headers_of_rtp(filters, wire, csrcs, extension):
    """RTP is cut behind the CSRC list and the extension's own header, before what it carries."""
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    frame = media(rtp(csrcs=csrcs, extension=extension))
    expected = TO_UDP + 12 + 4 * csrcs + (4 if extension else 0)

    wire.send(frame)
    ((data, captured, original, _),) = drain(filters.headers)

    assert data == frame[:expected]
    assert (captured, original) == (expected, len(frame))
    assert b"V" not in data[TO_UDP:]
    assert b"LEVL" not in data


def test_dtmf_events_do_not_pass_as_headers(filters, wire):
    """The digit of an RFC 4733 event is payload and stays behind."""
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    frame = media(rtp(struct.pack("!BBH", 9, 0x8A, 800), kind=101))

    assert kept(filters, wire, frame) == frame[: TO_UDP + 12]


SDES = bytes((0x81, 202, 0, 4)) + b"NAME" * 4


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(bytes((0x81, 200, 0, 12)) + b"s" * 48 + SDES, 52, id="SR"),
        pytest.param(bytes((0x82, 201, 0, 13)) + b"r" * 52 + SDES, 56, id="RR"),
        pytest.param(SDES, 8, id="SDES"),
        pytest.param(bytes((0x80, 204, 0, 6)) + b"DATA" * 6, 8, id="APP"),
        pytest.param(bytes((0x9F, 200, 0, 6)) + b"LIES" * 6, 8, id="blocks that are not there"),
        pytest.param(bytes((0x81, 201, 0, 1)) + b"LIES" * 6, 8, id="longer than it says"),
    ],
)
def test_headers_of_rtcp(filters, wire, payload, expected):
    """Of the first SR or RR sender info and blocks pass; names and application data do not."""
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    frame = media(payload)

    assert kept(filters, wire, frame) == frame[: TO_UDP + expected]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(bytes.fromhex("000100582112a442") + b"user:secret" * 8, id="STUN"),
        pytest.param(b"\x16\xfe\xff" + b"D" * 200, id="DTLS"),
        pytest.param(b"\x80\x00V", id="a scrap that begins like RTP"),
        pytest.param(b"\x8f\x00" + b"V" * 60, id="RTP with more CSRCs than octets"),
        pytest.param(b"", id="empty"),
    ],
)
def test_headers_of_what_is_not_rtp(filters, wire, payload):
    """What is not RTP or RTCP passes up to its UDP header and no further."""
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    frame = media(payload)

    assert kept(filters, wire, frame) == frame[:TO_UDP]


def test_ethernet_padding_is_not_taken_for_payload(filters, wire):
    """A short datagram in a padded frame is judged by its own length."""
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    frame = media(b"\x80\x00\x00\x00") + b"\x80" * 60

    assert kept(filters, wire, frame) == frame[:TO_UDP]


def test_a_content_entry_never_widens_the_headers_socket(filters, wire):
    """With one flow armed at both levels each socket gets its own share."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(media())
    assert drain(filters.headers) == []

    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    wire.send(media())

    assert [packet[1] for packet in drain(filters.headers)] == [TO_UDP + 12]
    assert [packet[1] for packet in drain(filters.content)] == [len(media())] * 2


OPTIONS_HEADER, HOPS, ROUTING = (60, b"\x01" + b"\0" * 14), (0, b"\0" * 7), (43, b"\0" * 7)


@pytest.mark.parametrize("level", [Level.MEDIA_HEADERS, Level.CONTENT])
@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(udp(rtp()), options=b"\x01" * 12), id="IPv4 options"),
        pytest.param(ipv6(udp(rtp())), id="IPv6"),
        pytest.param(ipv6(udp(rtp()), HOPS, OPTIONS_HEADER, ROUTING), id="IPv6 extensions"),
        pytest.param(ipv6(udp(rtp()), (51, b"\x04" + b"\0" * 22)), id="IPv6 authentication"),
        pytest.param(ipv6(udp(rtp()), (FRAGMENT, b"\0" * 7)), id="IPv6 atomic fragment"),
    ],
)
@pytest.mark.parametrize(
    "tags",
    [
        pytest.param((), id="untagged"),
        pytest.param(((0x8100, 42),), id="802.1Q"),
        pytest.param(((0x88A8, 7), (0x8100, 42)), id="QinQ"),
        pytest.param(((0x9100, 7), (0x8100, 42)), id="old QinQ"),
    ],
)
def test_every_way_to_wrap_a_packet(filters, wire, level, packet, tags):
    """Options, extension headers and tags hide no packet, and tags come back in their place."""
    filters.set_flow(level, FLOW, FOREVER)
    filters.set_flow(level, FLOW6, FOREVER)
    frame = ethernet(packet, *tags)
    wire.send(frame)
    ring = filters.content if level is Level.CONTENT else filters.headers
    ((data, captured, original, _),) = drain(ring)

    length = len(frame) - (0 if level is Level.CONTENT else 160)
    assert data == frame[:length]
    assert (captured, original) == (length, len(frame))


def test_later_fragments_have_no_flow(filters, wire):
    """The first fragment passes by its port; a later one whose payload looks like one does not."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    filters.set_flow(Level.CONTENT, FLOW6, FOREVER)
    whole = udp(rtp())
    first, later = ipv4(whole[:80], fragment=0x2000), ipv4(whole, fragment=10)
    later6 = ipv6(whole, (FRAGMENT, b"\0\x00\x50\0\0\0\1"))
    wire.send(ethernet(first), ethernet(later), ethernet(later6))

    assert [packet[0] for packet in drain(filters.content)] == [ethernet(first)]


def test_the_deadline_is_kept_by_the_kernel(filters, wire):
    """With nobody reading, the last packet is from before the deadline, by the kernel's stamp."""
    deadline = boot_ns() + 40_000_000
    filters.set_flow(Level.CONTENT, FLOW, deadline)
    wall = time.clock_gettime_ns(time.CLOCK_REALTIME) - boot_ns()
    sent = 0
    while boot_ns() < deadline + 20_000_000:
        wire.send(media())
        sent += 1
    stamps = []
    while filters.content.poll(100):
        stamps.extend(sec * 10**9 + nsec - wall for sec, nsec, *_ in filters.content.read_block())

    assert 0 < len(stamps) < sent
    assert max(stamps) < deadline + 1_000_000


def test_renewal_moves_the_deadline(filters, wire):
    """A flow past its deadline is silent until it is set anew."""
    filters.set_flow(Level.CONTENT, FLOW, boot_ns())
    wire.send(media())
    assert drain(filters.content) == []

    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(media())

    assert len(drain(filters.content)) == 1


def test_what_passed_is_counted_for_each_flow(filters, wire):
    """The kernel counts packets and octets beside the deadline."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(media(), media())
    drain(filters.content)

    assert filters.flow_packets(Level.CONTENT, FLOW) == (2, 2 * len(media()))
    assert filters.flow_packets(Level.MEDIA_HEADERS, FLOW) is None


def test_signalling_has_no_media_flows(filters):
    """A flow cannot be armed at the level that yields no media."""
    with pytest.raises(KernelError, match="no media flows"):
        filters.set_flow(Level.SIGNALLING, FLOW, FOREVER)


def test_random_frames_never_pass(filters, wire):
    """Noise, and noise behind a plausible Ethernet and IP start, selects nothing."""
    dice = random.Random(4)
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    filters.set_flow(Level.MEDIA_HEADERS, FLOW, FOREVER)
    for _ in range(300):
        noise = dice.randbytes(dice.randrange(20, 200))
        wire.send(bytes(12) + noise, ethernet(b"\x45" + noise), ethernet(b"\x60" + noise))

    assert drain(filters.content) == []
    assert drain(filters.headers) == []


def test_drops_are_counted(filters, wire):
    """A ring that nobody reads loses packets, and says how many."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    sent = 6000
    wire.send(*(media() for _ in range(sent)))
    received, dropped = filters.content.statistics()

    assert dropped > 0
    assert received + dropped == sent
    assert len(drain(filters.content)) == received
