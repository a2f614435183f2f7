"""The media descriptions of a subscription."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.subscription import (
    Unanswerable,
    answer_to,
    left_out,
    shape_of,
    sink_for,
    streams_of,
)

HEAD = b"v=0\r\no=- 77 77 IN IP4 192.0.2.1\r\ns=rtpengine\r\nt=0 0\r\n"
STREAM = (
    b"m=audio %d RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=sendonly\r\na=rtcp:%d\r\n"
)


def offer(streams):
    return HEAD + b"".join(STREAM % (30000 + 2 * n, 30001 + 2 * n) for n in range(streams))


@given(st.integers(1, 64))
def test_every_stream_gets_a_sink_of_its_own_in_order(streams):
    ports = [20000 + 2 * n for n in range(streams)]
    answer = answer_to(offer(streams), ports)
    lines = answer.split(b"\r\n")
    taken = [int(line.split(b" ")[1]) for line in lines if line.startswith(b"m=")]
    assert taken == ports
    assert streams_of(offer(streams)) == streams
    assert answer.count(b"a=recvonly") == streams
    assert b"sendonly" not in answer
    assert b"a=rtcp" not in answer
    assert b"192.0.2.1" not in answer
    assert answer.count(b"a=rtpmap:8 PCMA/8000") == streams


def test_without_a_stream_of_rtp_there_is_nothing_to_take():
    for nothing in (offer(0), offer(1).replace(b"RTP/AVP", b"udptl")):
        with pytest.raises(Unanswerable):
            streams_of(nothing)


def test_what_is_beyond_the_bound_is_declined():
    many = offer(70)
    assert (streams_of(many), left_out(many)) == (64, 6)
    answer = answer_to(many, range(20000, 20000 + 2 * 64, 2))
    assert answer.count(b"m=audio 0 RTP/AVP") == 6


@pytest.mark.parametrize("ports", [(), (20000,), (20000, 20002, 20004)])
def test_sinks_and_streams_are_equal_in_number(ports):
    with pytest.raises(Unanswerable, match="sinks than streams"):
        answer_to(offer(2), ports)


@pytest.mark.parametrize(
    "odd",
    [
        b"m=image 40000 udptl t38\r\n",
        b"m=image 0 udptl t38\r\n",
        b"m=application 40000 UDP/BFCP *\r\n",
        b"m=audio 40000 RTP/SAVP 8\r\n",
        b"m=audio 0 RTP/AVP 8\r\n",
        b"m=audio\r\n",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_odd_stream_does_not_hide_the_voice(odd, first):
    whole = offer(1)
    mixed = HEAD + odd + whole[len(HEAD) :] if first else whole + odd
    assert (streams_of(mixed), left_out(mixed)) == (1, 1)
    lines = answer_to(mixed, (20000,)).split(b"\r\n")
    taken = [line.split(b" ")[1] for line in lines if line.startswith(b"m=")]
    assert sorted(taken) == [b"0", b"20000"]


def test_a_subject_line_is_no_address():
    assert sink_for(offer(1).replace(b"s=rtpengine", b"s=c=IN IP6 ::1")) == "127.0.0.1"
    assert sink_for(offer(1).replace(b"IP4", b"IP6")) == "::1"


def test_addresses_do_not_change_a_shape():
    here = offer(2)
    there = (
        here.replace(b"192.0.2.1", b"2001:db8::1").replace(b"IP4", b"IP6").replace(b"30000", b"4")
    )
    assert shape_of(here) == shape_of(there)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"30000", b"0"),
        (b"8 101\r", b"0 101\r"),
        (b"PCMA", b"PCMU"),
        (b"audio", b"video"),
        (b"a=sendonly\r\n", b"a=sendonly\r\na=crypto:1 X inline:Y\r\n"),
    ],
)
def test_what_changes_a_stream_changes_the_shape(before, after):
    assert shape_of(offer(1)) != shape_of(offer(1).replace(before, after, 1))


@given(st.binary(max_size=200))
def test_no_octets_fail_but_as_unanswerable(data):
    shape_of(data)
    with contextlib.suppress(Unanswerable):
        answer_to(data, (20000,) * streams_of(data))
