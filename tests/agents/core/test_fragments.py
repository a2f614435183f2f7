"""Fragments in any order give the datagram back, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core.fragments import FragmentLimits, Reassembler
from agents.core.packet import Datagram, read_frame
from tests.agents.core.wire import (
    at,
    ethernet,
    fragment,
    ipv4,
    ipv4_fragments,
    ipv6_fragments,
)

PAYLOAD = bytes(range(256)) * 12


@given(
    st.data(), st.sampled_from([ipv4_fragments, ipv6_fragments]), st.sampled_from([64, 512, 1480])
)
@settings(max_examples=40, deadline=None)
def test_any_order_and_any_duplicates_give_the_datagram(
    data: st.DataObject, cut: object, size: int
) -> None:
    """Fragments shuffled and doubled give the whole datagram exactly once per complete set."""
    frames = cut(PAYLOAD, size)
    order = data.draw(st.permutations(frames))
    doubled = [each for octets in order for each in [octets] * data.draw(st.integers(1, 2))]
    # What follows the last missing piece would begin a datagram of its own.
    last = max(doubled.index(octets) for octets in order)
    reassembler = Reassembler()
    wholes = [
        whole
        for octets in doubled[: last + 1]
        if (whole := reassembler.add(fragment(octets), at(1)))
    ]
    assert [whole.datagram.payload for whole in wholes] == [PAYLOAD]
    assert sorted(part.frame for part in wholes[0].fragments) == sorted(frames)
    assert (len(reassembler), reassembler.octets, reassembler.dropped) == (0, 0, 0)


@pytest.mark.parametrize("cut", [ipv4_fragments, ipv6_fragments])
def test_the_rebuilt_frame_is_one_unfragmented_packet(cut: object) -> None:
    """The frame of a rebuilt datagram reads as that datagram, its lengths and checksum right."""
    reassembler = Reassembler()
    whole = [reassembler.add(fragment(octets), at(0)) for octets in cut(PAYLOAD, 800)][-1]
    assert whole is not None
    again = read_frame(whole.datagram.frame)
    assert isinstance(again, Datagram)
    assert again.payload == PAYLOAD
    if cut is ipv4_fragments:
        words = struct.unpack("!10H", whole.datagram.frame[14:34])
        assert sum(words) % 0xFFFF == 0


def test_an_overlap_spoils_the_datagram_for_good() -> None:
    """An overlapping fragment drops its datagram, even when all the parts come again."""
    frames = ipv4_fragments(PAYLOAD, 512)
    rogue = ethernet(ipv4(b"!" * 512, "10.0.0.1", "10.0.0.2", ident=9, flags=0x2000 | 504 // 8))
    reassembler = Reassembler()
    for octets in (frames[0], rogue, *frames, *frames):
        assert reassembler.add(fragment(octets), at(0)) is None
    assert (reassembler.dropped, reassembler.octets) == (1, 0)


def test_the_same_place_with_other_octets_is_an_overlap() -> None:
    """Two fragments at one offset that differ are never chosen between."""
    frames = ipv4_fragments(b"a" * 1200, 512)
    other = ipv4_fragments(b"b" * 1200, 512)
    reassembler = Reassembler()
    for octets in (frames[0], other[0], *frames[1:]):
        assert reassembler.add(fragment(octets), at(0)) is None


def test_places_do_not_mix() -> None:
    """Fragments seen coming in and going out are put together separately."""
    frames = ipv4_fragments(PAYLOAD, 1480)
    reassembler = Reassembler()
    halves = [(frames[0], False), (frames[1], True), (frames[0], True)]
    assert not any(reassembler.add(fragment(octets, outgoing=way), at(0)) for octets, way in halves)
    assert len(reassembler) == 2


def test_memory_is_bounded_in_count_and_octets() -> None:
    """A flood of first fragments holds no more than the limits say, and the newest survive."""
    limits = FragmentLimits(datagrams=10, octets=5000, age_ns=10**9)
    reassembler = Reassembler(limits)
    for ident in range(500):
        reassembler.add(fragment(ipv4_fragments(b"x" * 1000, 800, ident=ident)[0]), at(0))
        assert len(reassembler) <= 10
        assert reassembler.octets <= 5000
    assert (
        reassembler.add(fragment(ipv4_fragments(b"x" * 1000, 800, ident=499)[1]), at(0)) is not None
    )


def test_what_waits_too_long_is_given_up() -> None:
    """The rest of a datagram that comes after its age is the start of nothing whole."""
    first, second = ipv4_fragments(b"x" * 1000, 800)
    reassembler = Reassembler(FragmentLimits(age_ns=10**9))
    reassembler.add(fragment(first), at(0))
    assert reassembler.add(fragment(second), at(1)) is None
    assert reassembler.dropped == 1


def test_a_flood_of_slivers_spoils_its_datagram() -> None:
    """More parts than any real datagram has are given up, so that time stays bounded."""
    reassembler = Reassembler()
    frames = ipv4_fragments(b"x" * 4000, 8)
    assert not any(reassembler.add(fragment(octets), at(0)) for octets in frames)
    assert reassembler.dropped == 1


def test_a_packet_larger_than_ip_allows_is_never_built() -> None:
    """Parts that would add up to more than 65,535 bytes are refused."""
    reassembler = Reassembler()
    end = ethernet(ipv4(b"x" * 16, "10.0.0.1", "10.0.0.2", ident=9, flags=0x1FFF))
    assert reassembler.add(fragment(end), at(0)) is None
    assert reassembler.dropped == 1
