"""Netlink's octets are taken apart whatever they say, and nothing beyond them is read."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.sentry.netlink import (
    NetlinkError,
    announced,
    ask,
    attributes,
    listed,
    messages,
    number,
    open_socket,
    text,
)


def attribute(kind, value):
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def message(kind, payload):
    return (
        struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload + bytes(-len(payload) % 4)
    )


pairs = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=20)), max_size=6)


@given(pairs)
def test_attributes_come_out_as_they_went_in(pairs):
    data = b"".join(attribute(kind, value) for kind, value in pairs)
    assert list(listed(data)) == pairs
    assert attributes(data) == dict(reversed(pairs))


@given(pairs)
def test_messages_come_out_as_they_went_in(pairs):
    assert list(messages(b"".join(message(kind, value) for kind, value in pairs))) == pairs


@given(pairs, st.integers(0, 200))
def test_what_is_cut_short_ends_there(pairs, cut):
    data = b"".join(attribute(kind, value) for kind, value in pairs)[:cut]
    whole = list(listed(data))
    assert whole == pairs[: len(whole)]
    data = b"".join(message(kind, value) for kind, value in pairs)[:cut]
    whole = list(messages(data))
    assert whole == pairs[: len(whole)]


@given(st.binary(max_size=200), st.integers(0, 220))
def test_any_octets_are_taken_apart_without_an_error(data, at):
    for found in (*messages(data), *listed(data, at)):
        assert len(found[1]) <= len(data)
    assert isinstance(text(data), str)
    assert number(data) >= 0
    assert (text(None), number(None)) == ("", 0)


def test_nested_and_network_order_are_no_part_of_a_kind():
    assert attributes(attribute(0x8000 | 0x4000 | 7, b"abcd")) == {7: b"abcd"}


def test_the_kernel_tells_its_links():
    with open_socket(0) as kernel:
        told = ask(kernel, 18, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
    names = {text(attributes(payload, 16).get(3)) for _, payload in told}
    assert names == {name for _, name in socket.if_nameindex()}


def test_a_question_that_the_kernel_does_not_take_is_an_error():
    with open_socket(0) as kernel, pytest.raises(NetlinkError):
        ask(kernel, 4095, b"")


def test_nothing_waits_where_nothing_was_announced():
    with open_socket(0, 1 << 4) as kernel:
        assert announced(kernel) == ([], False)
