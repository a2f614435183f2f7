"""SIP over TCP: the messages are the same however the octets came."""

from __future__ import annotations

import itertools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.hearing import Hearing
from agents.core.packet import Datagram
from agents.core.segment import FIN, RST, SYN, Segment, read_segment
from agents.core.streams import StreamLimits, Streams
from tests.agents.core.wire import at, ethernet, ipv4, ipv6

BEGIN = 0xFFFF_FF00  # the numbers wrap in the middle of every test
SAID = [
    b"INVITE sip:bob@example.org SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    b"SIP/2.0 100 Trying\r\nCall-ID: 1\r\nl : 0\r\n\r\n",
    b"OPTIONS sip:bob@example.org SIP/2.0\r\nCall-ID: 2\r\n\r\n",
    b"SIP/2.0 200 OK\r\nCall-ID: 1\r\nCONTENT-LENGTH:300\r\n\r\n" + b"x" * 300,
]
STREAM = b"".join(SAID)


def segment(
    payload: bytes,
    number: int = BEGIN,
    *,
    flags: int = 0x10,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    tags: tuple[int, ...] = (),
    options: bytes = b"",
    sport: int = 40000,
) -> bytes:
    size = (20 + len(options)) // 4
    header = struct.pack(
        "!HHIIBBHHH", sport, 5060, number % (1 << 32), 7, size << 4, flags, 512, 0, 0
    )
    body = header + options + payload
    packet = ipv6(body, src, dst, following=6) if ":" in src else ipv4(body, src, dst, protocol=6)
    return ethernet(packet, *tags)


def read(data: bytes) -> Segment:
    found = read_segment(data, timestamp_ns=9, interface=3)
    assert found is not None
    return found


def said(streams: Streams, *pieces: tuple[int, bytes], seconds: float = 1) -> list[bytes]:
    """Return what messages came of pieces at offsets of the stream."""
    return [
        message.payload
        for offset, piece in pieces
        for message in streams.add(read(segment(piece, BEGIN + offset)), at(seconds))
    ]


def cut(places: list[int]) -> list[tuple[int, bytes]]:
    edges = sorted({0, len(STREAM), *(place % len(STREAM) for place in places)})
    return [(a, STREAM[a:b]) for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.integers(0, len(STREAM)), max_size=12),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_whole_is_split(places: list[int], chance: random.Random, shuffled: bool):
    """Cut anywhere, sent twice, in any order: the same messages, each once."""
    streams = Streams()
    streams.add(read(segment(b"", BEGIN - 1, flags=SYN)), at(1))
    pieces = cut(places)
    if shuffled:
        pieces += chance.sample(pieces, len(pieces) // 2)
        chance.shuffle(pieces)

    assert said(streams, *pieces) == SAID
    assert streams.lost == 0


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_octets_are_survived(noise: bytes, places: list[int]):
    """What is no SIP gives no exception, whatever its numbers, and does not stop what follows."""
    streams = Streams()
    for place in places:
        streams.add(read(segment(noise[place:], BEGIN + place)), at(1))
    streams.add(read(segment(b"", BEGIN - 1, flags=SYN)), at(1))

    assert said(streams, (0, STREAM)) == SAID


@given(st.binary(max_size=120))
def test_any_frame_is_read_or_not(data: bytes):
    """No frame raises."""
    for frame in (data, segment(b"")[:12] + data, segment(b"x")[: len(data)]):
        found = read_segment(frame)
        assert found is None or found.frame == frame


def test_a_connection_that_was_there_before_is_picked_up():
    """In the middle of a message nothing is taken; the next message that begins a segment is."""
    streams = Streams()
    tail, rest = SAID[0][30:], b"".join(SAID[1:])

    assert said(streams, (30, tail), (len(SAID[0]), rest)) == SAID[1:]


def test_a_gap_that_stays_is_a_loss():
    """After a moment the stream is picked up behind it, and the loss is counted."""
    streams = Streams()
    assert said(streams, (0, SAID[0])) == SAID[:1]
    later = len(SAID[0]) + len(SAID[1])
    assert said(streams, (later, SAID[2])) == []
    far = later + len(SAID[2])

    assert said(streams, (far, SAID[3]), seconds=4) == SAID[3:]
    assert streams.lost == 1


def test_a_message_longer_than_the_bound_is_given_up():
    """Neither an endless header nor an enormous body fills the memory."""
    streams = Streams(StreamLimits(octets=2000))
    endless = b"OPTIONS sip:x SIP/2.0\r\n" + b"A: b\r\n" * 400
    assert said(streams, (0, endless)) == []
    enormous = b"MESSAGE sip:x SIP/2.0\r\nContent-Length: 99999\r\n\r\n"
    assert said(streams, (5000, enormous)) == []

    assert streams.lost == 2
    assert said(streams, (9000, SAID[2])) == [SAID[2]]


def test_keep_alives_and_ends():
    """Blank lines are no messages; a reset or an end forgets the stream."""
    streams = Streams()
    assert said(streams, (0, SAID[2] + b"\r\n\r\n"), (len(SAID[2]) + 4, SAID[1])) == [
        SAID[2],
        SAID[1],
    ]
    for flag in (RST, FIN):
        said(streams, (0, SAID[2]))
        assert len(streams) == 1
        streams.add(read(segment(b"", flags=flag, number=BEGIN + len(SAID[2]))), at(1))
        assert len(streams) == 0


def test_streams_are_bounded():
    """The one that was silent longest gives way."""
    streams = Streams(StreamLimits(streams=2))
    for port in (1, 2, 3):
        streams.add(read(segment(SAID[0][:40], sport=port)), at(1))
    assert len(streams) == 2
    rest = [
        [m.payload for m in streams.add(read(segment(SAID[0][40:], BEGIN + 40, sport=port)), at(1))]
        for port in (3, 2, 1)
    ]

    assert rest == [[SAID[0]], [SAID[0]], []]


@pytest.mark.parametrize(("src", "dst"), [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
def test_a_message_has_a_frame_of_its_own(src: str, dst: str):
    """What is written reads back as one segment with just this message, tags and addresses kept."""
    data = segment(SAID[1] + SAID[3], src=src, dst=dst, tags=(0x8100,), options=b"\1" * 12)
    first, second = Streams().add(read(data), at(1))

    for message, payload in ((first, SAID[1]), (second, SAID[3])):
        assert message.payload == payload
        assert message.frame[message.payload_offset :] == payload
        again = read(message.frame)
        assert again.payload == payload
        assert (again.src, again.dst, again.sport, again.dport) == (
            message.src,
            message.dst,
            40000,
            5060,
        )
        assert message.frame[:18] == data[:18]
    assert read(second.frame).sequence == (BEGIN + len(SAID[1])) % (1 << 32)


def test_what_is_no_whole_segment_is_none():
    """Fragments, other protocols, frames cut short."""
    good = segment(SAID[1])
    fragment = bytearray(good)
    fragment[20:22] = b"\x20\x00"
    other = bytearray(good)
    other[23] = 17

    assert read_segment(good) is not None
    for bad in (bytes(fragment), bytes(other), good[:-1], good[:40], b"", b"\0" * 60):
        assert read_segment(bad) is None


def test_hearing_takes_tcp_and_drops_the_twin():
    """A segment that the node forwards is heard at two places and taken once."""
    hearing, data = Hearing(), segment(SAID[0])
    heard: list[Datagram] = []
    for interface, outgoing in ((1, False), (2, True)):
        heard += hearing.hear(
            data,
            at(1),
            timestamp_ns=5,
            interface=interface,
            outgoing=outgoing,
            original_length=len(data),
        )

    assert [each.payload for each in heard] == [SAID[0]]
    assert (heard[0].interface, heard[0].timestamp_ns) == (1, 5)
    assert hearing.lost == 0
