"""The NG codec: round trips, one form for each message, and nothing taken that is not strict."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.core.ngcodec import (
    MAX_COOKIE,
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_MESSAGE,
    Encoding,
    NgMalformed,
    decode,
    encode,
    split,
)
from tests.agents.core.ngmessages import TEXTS, kamailio, messages

BENCODE, JSON = Encoding.BENCODE, Encoding.JSON


@given(messages())
def test_bencode_round_trip(message: dict) -> None:
    """What is encoded decodes to the same, and encodes to the same again."""
    body = encode(message, BENCODE)
    assert decode(body, BENCODE) == message
    assert encode(decode(body, BENCODE), BENCODE) == body


@given(messages(TEXTS))
def test_json_round_trip(message: dict) -> None:
    """The same for JSON, whose strings are UTF-8; and both encodings say the same."""
    body = encode(message, JSON)
    assert decode(body, JSON) == message
    assert encode(decode(body, JSON), JSON) == body
    assert decode(encode(message, BENCODE), BENCODE) == decode(body, JSON)


@given(messages(), st.randoms(use_true_random=False))
def test_the_order_of_keys_is_not_the_senders(message: dict, random: object) -> None:
    """Whatever order the keys came in, one form goes out."""
    keys = list(message)
    random.shuffle(keys)
    body = b"d" + b"".join(encode({key: message[key]}, BENCODE)[1:-1] for key in keys) + b"e"
    assert encode(decode(body, BENCODE), BENCODE) == encode(message, BENCODE)


@given(st.sampled_from([BENCODE, JSON]), messages(TEXTS), st.data())
def test_a_changed_octet_decodes_to_what_it_says_or_is_refused(
    encoding: Encoding, message: dict, data: st.DataObject
) -> None:
    """No other error, and never anything that would encode to something else."""
    body = bytearray(encode(message, encoding))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        how = data.draw(st.sampled_from(["set", "drop", "insert"]))
        if how == "drop" and len(body) > 1:
            del body[place]
        elif how == "insert":
            body.insert(place, data.draw(st.integers(0, 255)))
        else:
            body[place] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(body), encoding)
    except NgMalformed:
        return
    assert decode(encode(found, encoding), encoding) == found


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    """`NgMalformed` is the only error."""
    for encoding in Encoding:
        for body in (octets, b"d" + octets, b"{" + octets):
            with suppress(NgMalformed):
                decode(body, encoding)


@given(st.text("dlie0123:-9 x", max_size=30))
@example("d1")
@example("d7:call-id1 ")  # went round for ever once: without a colon, back to the beginning
@example("d1:a1")
@example("d1:al1")
def test_what_is_nearly_bencode_is_read_or_refused(text: str) -> None:
    """The reader always comes to an end, and what it takes is what is there."""
    for body in (text.encode(), b"d" + text.encode(), b"d1:a" + text.encode()):
        with suppress(NgMalformed):
            found = decode(body, BENCODE)
            assert len(encode(found, BENCODE)) == len(body)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_refusal_holds_nothing_of_the_message(encoding: Encoding) -> None:
    """Neither in its text nor in what it came from."""
    for body in (b"d15:a tapped numberx", b'{"a tapped number":x', b'{"a":"a tapped number\xff"}'):
        with pytest.raises(NgMalformed) as refused:
            decode(body, encoding)
        assert "tapped" not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(messages(), st.integers(1, 30))
def test_every_cut_is_refused(message: dict, cut: int) -> None:
    """A dictionary without its end is none."""
    body = encode(message, BENCODE)
    with pytest.raises(NgMalformed):
        decode(body[:-cut], BENCODE)


@pytest.mark.parametrize(
    "body",
    [
        b"d7:command4:ping7:command15:start recordinge",  # The relay takes the first.
        b"d7:command4:pingeJUNK",  # The relay looks no further.
        b"d7:command4:pinge ",
        b"d07:command4:pinge",
        b"d7:command04:pinge",
        b"d1:ai-0ee",
        b"d1:ai01ee",
        b"d1:ai+1ee",
        b"d1:ai 1ee",
        b"d1:aiee",
        b"d1:ai9223372036854775808ee",
        b"d1:ai-9223372036854775809ee",
        b"d1:ai1",
        b"d1:a+1:be",
        b"d1:a 1:be",
        b"d1:a1_0:" + 10 * b"b" + b"e",
        b"d1:a99999999:be",
        b"d1:a9:be",
        b"d1:a-1:be",
        b"di1e1:ae",
        b"d1:ae",
        b"d1:a",
        b"d1:a1:b",
        b"d1:ale",
        b"dd1:a1:be1:ae",
        b"d",
        b"",
        b"e",
        b"le",
        b"i1e",
        b"1:a",
        b" de",
        b'{"command": "ping"}',
        b"d1:a\xb2:bbe",  # a digit to Unicode, not to us
    ],
)
def test_bencode_is_strict(body: bytes) -> None:
    """Each is taken by some reader, and refused here."""
    with pytest.raises(NgMalformed):
        decode(body, BENCODE)


@pytest.mark.parametrize(
    "body",
    [
        b'{"command":"ping","command":"list"}',
        b'{"command":"ping","\\u0063ommand":"list"}',  # the same key
        b'{"a":{"b":"1","b":"2"}}',
        b'{"a":true}',
        b'{"a":[false]}',
        b'{"a":null}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9223372036854775808}',
        b'{"a":' + 5000 * b"9" + b"}",
        b'{"a":"b\\u0000c"}',
        b'{"a\\u0000c":"b"}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":"a"}',
        b'{"a":"\xff"}',
        b'{"a":"b"}x',
        b'{"a":"b"}{}',
        b'{"a":"b",}',
        b"{'a':'b'}",
        b'{"a":"\n"}',
        b' {"a":"b"}',
        b'\xef\xbb\xbf{"a":"b"}',
        b"[]",
        b"{",
        b"",
        b"d1:a1:be",
        b'{"a":' + 60000 * b"[" + b"}",
    ],
)
def test_json_is_strict(body: bytes) -> None:
    """What the relay's JSON reader would take in another way is refused."""
    with pytest.raises(NgMalformed):
        decode(body, JSON)


def nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth - 1):
        value = {b"a": value}
    return value


@pytest.mark.parametrize("encoding", Encoding)
def test_bounds(encoding: Encoding) -> None:
    """Depth, members and size have an end, to the very number."""
    deep = nested(MAX_DEPTH)
    assert decode(encode(deep, encoding), encoding) == deep
    with pytest.raises(NgMalformed, match="deep"):
        decode(encode(nested(MAX_DEPTH + 1), encoding), encoding)
    for value in ([1] * MAX_MEMBERS, {b"%d" % at: 1 for at in range(MAX_MEMBERS)}):
        assert decode(encode({b"a": value}, encoding), encoding) == {b"a": value}
    for value in ([1] * (MAX_MEMBERS + 1), {b"%d" % at: 1 for at in range(MAX_MEMBERS + 1)}):
        with pytest.raises(NgMalformed, match="too many"):
            decode(encode({b"a": value}, encoding), encoding)
    longest = MAX_MESSAGE - len(encode({b"a": b"x" * 60000}, encoding)) + 60000
    assert decode(encode({b"a": b"x" * longest}, encoding), encoding)
    with pytest.raises(NgMalformed, match="longer"):
        decode(encode({b"a": b"x" * (longest + 1)}, encoding), encoding)


@pytest.mark.parametrize("number", [0, 1, -1, 10, 2**63 - 1, -(2**63)])
def test_integers_of_64_bits(number: int) -> None:
    """The relay has no others."""
    for encoding in Encoding:
        assert decode(encode({b"a": number}, encoding), encoding) == {b"a": number}


def test_octets_that_are_no_utf_8_cannot_be_json() -> None:
    """They are not replaced by others without a word."""
    with pytest.raises(NgMalformed, match="UTF-8"):
        encode({b"a": b"\xff"}, JSON)
    assert json.loads(encode({b"a": "ü".encode()}, JSON)) == {"a": "ü"}


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=MAX_COOKIE))
def test_split(cookie: str) -> None:
    """Any cookie of visible characters, one space, and the rest as it is."""
    body = encode(kamailio(), BENCODE)
    assert split(cookie.encode() + b" " + body) == (cookie.encode(), body)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b" ",
        b" de",
        b"cookie",
        b"cookie ",
        b"co\nokie de",
        b"co\0okie de",
        b"\xff de",
        b"c" * (MAX_COOKIE + 1) + b" de",
        b"c " + b"x" * MAX_MESSAGE,
    ],
)
def test_split_is_strict(datagram: bytes) -> None:
    """No cookie, no body, or too much of either."""
    with pytest.raises(NgMalformed):
        split(datagram)
