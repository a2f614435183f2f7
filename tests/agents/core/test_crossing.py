"""A packet that crosses the node counts once; one that is sent again counts again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.crossing import Crossing
from tests.agents.core.wire import at, datagram

IN, OUT, BRIDGE_IN, BRIDGE_OUT = (1, False), (2, True), (3, False), (3, True)


def seen(
    crossing: Crossing, place: tuple[int, bool], payload: bytes = b"x", when: float = 0
) -> bool:
    packet = datagram(payload, interface=place[0], outgoing=place[1])
    return not crossing.is_twin(packet, at(when))


@pytest.mark.parametrize(
    "path", [[IN, OUT], [IN, BRIDGE_IN, BRIDGE_OUT, OUT], [OUT], [(1, False), (1, True)]]
)
def test_one_packet_counts_once(path: list[tuple[int, bool]]) -> None:
    """However many places see a packet, the first alone is kept."""
    crossing = Crossing()
    assert [seen(crossing, place) for place in path] == [True] + [False] * (len(path) - 1)


@given(st.integers(1, 5), st.data())
def test_a_retransmission_survives_however_its_sightings_mingle(
    copies: int, data: st.DataObject
) -> None:
    """Of n copies seen coming in and going out, n are kept, also when they overtake each other."""
    order = data.draw(st.permutations([IN] * copies + [OUT] * copies))
    crossing = Crossing()
    assert sum(seen(crossing, place) for place in order) == copies


def test_packets_that_differ_are_not_twins() -> None:
    """Another payload or another way round is another packet."""
    crossing = Crossing()
    assert seen(crossing, IN, b"a")
    assert seen(crossing, OUT, b"b")
    back = datagram(b"a", "10.0.0.2", "10.0.0.1", interface=2, outgoing=True)
    assert not crossing.is_twin(back, at(0))


def test_memory_is_bounded_in_count_and_age() -> None:
    """The oldest are forgotten, and an old packet's twin counts as new."""
    crossing = Crossing(packets=10, age_ns=10**9)
    for number in range(100):
        assert seen(crossing, IN, bytes((number,)))
        assert len(crossing) <= 10
    assert not seen(crossing, OUT, bytes((99,)))
    assert seen(crossing, OUT, bytes((98,)), when=1)
    assert len(crossing) == 1
