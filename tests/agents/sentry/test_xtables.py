"""Tables of legacy iptables are read and written whatever they say, and never beyond their octets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.sentry import What
from agents.sentry.xtables import FAMILIES, INFO, Table, copying, entries, read_info, without

OUTPUT = 3


def entry(layout, target, data=b"", *, match=b"", counters=(0, 0)):
    """Write an entry: what stands before the lengths and the match are filled with ones."""
    start = layout.size + len(match)
    body = target[:29].ljust(29, b"\0") + b"\0" + data
    body = struct.pack("=H", 2 + len(body)) + body
    body += bytes(-len(body) % 8)
    head = b"\1" * layout.lengths + struct.pack("=HH", start, start + len(body))
    head = head.ljust(layout.size - 16, b"\0") + struct.pack("=QQ", *counters)
    return head + match + body


def verdict(layout, number, **more):
    return entry(layout, b"", struct.pack("=i", number), **more)


def chain(layout, name):
    return entry(layout, b"ERROR", name.ljust(30, b"\0"))


def described(*parts, output=0, tail=None):
    heads, tails = [0] * 5, [0] * 5
    heads[OUTPUT] = output
    tails[OUTPUT] = output if tail is None else tail
    size = sum(map(len, parts))
    return Table(b"filter", 1 << OUTPUT, tuple(heads), tuple(tails), len(parts), size)


@pytest.fixture(params=FAMILIES)
def layout(request):
    return FAMILIES[request.param]


def test_the_description_of_a_table_is_read():
    octets = INFO.pack(b"mangle", 31, *range(10), 7, 1234)
    table = read_info(octets)
    assert (table.name, table.hooks, table.count, table.size) == (b"mangle", 31, 7, 1234)
    assert (table.heads, table.tails) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))


@pytest.mark.parametrize("name", [b"TEE", b"NFLOG", b"NFQUEUE"])
def test_a_rule_that_copies_is_found_in_its_chain(layout, name):
    parts = [entry(layout, name), verdict(layout, -2), chain(layout, b"mine"), entry(layout, name)]
    table = described(*parts)
    first, second = (dict(f.where) for f, _ in copying(b"".join(parts), layout, table))
    assert (first["chain"], second["chain"]) == ("OUTPUT", "mine")
    assert first["expression"] == name.decode()
    assert first["rule"] == second["rule"], "the octets are equal"
    assert (first["family"], first["table"]) == (layout.family, "filter")


@pytest.mark.parametrize("name", [b"", b"ERROR", b"LOG", b"MASQUERADE", b"TEEE", b"RTPENGINE"])
def test_other_rules_are_not_found(layout, name):
    octets = entry(layout, name, b"TEE\0" * 10)
    assert list(copying(octets, layout, described(octets))) == []


def test_what_is_counted_does_not_change_a_rule_and_its_match_does(layout):
    def rule(**more):
        octets = entry(layout, b"TEE", **more)
        ((finding, _),) = copying(octets, layout, described(octets))
        return finding

    assert rule() == rule(counters=(7, 900))
    assert rule() != rule(match=bytes(32))
    assert rule(match=bytes(32)) != rule(match=b"\2" + bytes(31))
    assert rule().what is What.XT_COPY


def test_a_table_is_written_without_a_rule_and_jumps_lead_where_they_led(layout):
    copy, other = entry(layout, b"TEE"), entry(layout, b"LOG")
    mine = chain(layout, b"mine")
    jump = verdict(layout, 0)
    before = len(copy) + len(jump) + len(jump) + len(other) + len(mine)
    parts = [
        copy,
        verdict(layout, before),  # to the first rule of "mine", which goes
        verdict(layout, before + len(copy)),  # to what follows it
        other,
        mine,
        copy,
        verdict(layout, -5),
        chain(layout, b"ERROR"),
    ]
    octets = b"".join(parts)
    table = described(*parts, tail=len(copy) + 2 * len(jump))
    gone = {each.at for _, each in copying(octets, layout, table)}
    new, written, kept = without(octets, layout, table, gone)
    assert kept == [False, True, True, True, True, False, True, True]
    assert (new.count, new.size) == (6, len(written))
    assert new.tails[OUTPUT] == 2 * len(jump)
    first, second = (
        struct.unpack_from("=i", written, at + layout.size + 32)[0] for at in (0, len(jump))
    )
    return_at = 2 * len(jump) + len(other) + len(mine)
    assert (first, second) == (return_at, return_at)
    assert list(copying(written, layout, new)) == []


def test_a_table_that_nothing_is_taken_from_is_the_same(layout):
    parts = [entry(layout, b"TEE", match=bytes(40)), verdict(layout, -2)]
    octets, table = b"".join(parts), described(*parts)
    assert without(octets, layout, table, set()) == (table, octets, [True, True])


@given(st.sampled_from(list(FAMILIES.values())), st.binary(max_size=600))
def test_any_octets_are_no_error(layout, octets):
    table = described(octets)
    for _, each in copying(octets + b"TEE", layout, table):
        assert each.end <= len(octets) + 3
    _, written, _ = without(octets, layout, table, set())
    assert octets.startswith(written)


@given(st.sampled_from(list(FAMILIES.values())), st.data())
def test_no_cut_and_no_changed_octet_is_an_error(layout, data):
    octets = entry(layout, b"TEE", bytes(20), match=bytes(8)) + chain(layout, b"mine")
    octets += verdict(layout, 17) + entry(layout, b"NFLOG", bytes(60))
    at = data.draw(st.integers(0, len(octets) - 1))
    changed = octets[:at] + data.draw(st.binary(min_size=1, max_size=1)) + octets[at + 1 :]
    for each in (octets[:at], changed):
        table = described(each)
        gone = {found.at for _, found in copying(each, layout, table)}
        new, written, kept = without(each, layout, table, gone)
        assert len(written) == new.size <= len(each)
        assert kept.count(True) == new.count
        assert len(list(entries(written, layout, new))) == new.count
