"""A program that could hand on content is told by its kind, or by the maps that it may write to."""

from __future__ import annotations

import pytest

from agents.core.programs import NARROW, MapSeen, ProgramSeen, reading

ARRAY, PERF_EVENTS, TRIE, MAP_OF_MAPS, RING = 2, 4, 11, 13, 27
READ_ONLY = 1 << 7
COUNTERS = MapSeen(kind=ARRAY, value=NARROW, entries=2, flags=0)


def program(kind, *maps):
    return ProgramSeen(id=7, kind=kind, tag="00" * 8, uid=0, name="any", maps=maps)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (2, "kprobe"),
        (5, "tracepoint"),
        (14, "sk_skb"),
        (17, "raw_tracepoint"),
        (22, "flow_dissector"),
    ],
)
def test_some_kinds_read_whatever_maps_they_have(kind, word):
    assert reading(program(kind)) == word
    assert reading(program(kind, COUNTERS)) == word


@pytest.mark.parametrize("kind", [1, 3, 4, 6])
def test_what_is_found_where_it_is_attached_is_not_found_here(kind):
    assert reading(program(kind, MapSeen(kind=RING, value=0, entries=4096, flags=0))) is None


@pytest.mark.parametrize("kind", [0, 9, 13, 15, 18, 20, 23, 25, 30, 31, 99])
def test_what_sees_no_content_is_not_found(kind):
    assert reading(program(kind, MapSeen(kind=RING, value=0, entries=4096, flags=0))) is None


@pytest.mark.parametrize(
    "wide",
    [
        MapSeen(kind=RING, value=0, entries=4096, flags=0),
        MapSeen(kind=PERF_EVENTS, value=4, entries=2, flags=0),
        MapSeen(kind=ARRAY, value=NARROW + 1, entries=1, flags=0),
        MapSeen(kind=99, value=0, entries=1, flags=0),  # one that is not known yet
    ],
)
@pytest.mark.parametrize(("kind", "word"), [(8, "cgroup_skb"), (26, "tracing"), (29, "lsm")])
def test_a_filter_of_the_system_is_found_if_it_can_carry_content_out(kind, word, wide):
    assert reading(program(kind, COUNTERS, wide)) == word


@pytest.mark.parametrize(
    "maps",
    [
        (),
        (COUNTERS, MapSeen(kind=TRIE, value=8, entries=1024, flags=1)),  # IPAddressDeny= of systemd
        (MapSeen(kind=MAP_OF_MAPS, value=4, entries=2048, flags=0),),  # RestrictFileSystems=
        (MapSeen(kind=ARRAY, value=4096, entries=1, flags=READ_ONLY),),  # constants
    ],
)
@pytest.mark.parametrize("kind", [8, 26, 29])
def test_what_only_counts_or_decides_is_not_found(kind, maps):
    assert reading(program(kind, *maps)) is None
