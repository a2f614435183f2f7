"""What the relay says of its calls, read without believing more than needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.ngcodec import Encoding, NgMalformed, decode, encode
from agents.core.relayview import read_list, read_query, text_of, without

VALUES = st.recursive(
    st.binary(max_size=8) | st.integers(-5, 5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [b"tags", b"tag", b"subscribers", b"subscriptions", b"medias", b"type", b"calls"]
)
MESSAGES = st.dictionaries(
    KEYS, st.recursive(VALUES, lambda x: st.dictionaries(KEYS, x)), max_size=4
)


def of(tag, kind=b"offer/answer"):
    return {b"tag": tag, b"type": kind}


def party(tag, *hearers, packets=0, hears=()):
    stream = {b"flags": [b"RTP", b"filled"], b"stats": {b"packets": packets}}
    control = {b"flags": [b"RTCP"], b"stats": {b"packets": 999}}
    return {
        b"tag": tag,
        b"subscribers": list(hearers),
        b"subscriptions": list(hears),
        b"medias": [{b"streams": [stream, control]}],
    }


def query(**tags):
    return {b"result": b"ok", b"tags": {key.encode(): value for key, value in tags.items()}}


def test_parties_and_those_who_are_sent_copies_are_told_apart():
    view = read_query(
        query(
            f=party(b"f", of(b"t"), of(b"s", b"pub/sub"), packets=3, hears=[of(b"t")]),
            t=party(b"t", of(b"f"), packets=4, hears=[of(b"f")]),
            s=party(b"s", hears=[of(b"f", b"pub/sub")], packets=100),
            late=party(b"late", hears=[of(b"gone", b"pub/sub")]),
            over=party(b"over"),
        )
    )
    assert (view.parties, view.subscribers, view.packets) == ({b"f", b"t"}, {b"s"}, 7)


def test_who_has_not_answered_is_no_party_whatever_its_key():
    waiting = party(b"", of(b"f"), hears=[of(b"f")])
    view = read_query(query(f=party(b"f", of(b""), hears=[of(b"")]), somebody=waiting))
    assert view.parties == {b"f"}
    sly = party(b"<untagged 1>", of(b"f"), hears=[of(b"f")])
    view = read_query({b"result": b"ok", b"tags": {b"<untagged 1>": sly}})
    assert view.parties == {b"<untagged 1>"}  # It has a tag, which looks like none.


def test_no_answer_is_not_the_same_as_no_call():
    assert read_query(None) is None
    assert read_query({b"result": b"error"}).exists is False
    assert read_query(query()).exists is True


def test_a_list_that_cannot_be_read_is_none():
    assert read_list({b"calls": [b"a", 1, b"b"]}) == [b"a", b"b"]
    assert read_list({b"result": b"ok"}) is None
    assert read_list(None) is None


def test_a_text_is_octets():
    assert text_of({b"a": b"x"}, b"a") == b"x"
    assert text_of({b"a": 1}, b"a") is None
    assert text_of(None, b"a") is None


@given(MESSAGES)
def test_no_shape_of_an_answer_fails(message):
    view = read_query(message | {b"result": b"ok"})
    assert view is None or view.parties.isdisjoint(view.subscribers)
    read_list(message)


@given(MESSAGES, st.sampled_from([b"ta", b"typ", b"me", b"pub"]))
def test_an_answer_without_the_mark_has_none_and_is_an_answer(message, mark):
    body = encode(message, Encoding.BENCODE)
    clean = without(body, mark)
    assert clean == body or mark not in clean
    decode(clean, Encoding.BENCODE)


@pytest.mark.parametrize("body", [b"our-mark", b"d8:our-mark1:xe", b"d3:sdp8:our-marke", b"d"])
def test_a_mark_in_a_place_that_is_not_known_empties_the_answer(body):
    clean = without(body, b"our-mark")
    assert clean == b"d6:result2:oke" or (clean == body and b"our-mark" not in body)
    with pytest.raises(NgMalformed):
        decode(b"d", Encoding.BENCODE)
