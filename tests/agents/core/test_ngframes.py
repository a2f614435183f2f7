"""NG over TCP: however the stream is cut, the same messages and the same refusal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.ngcodec import (
    MAX_COOKIE,
    MAX_DEPTH,
    MAX_MESSAGE,
    Encoding,
    NgMalformed,
    encode,
    split,
)
from agents.core.ngframes import Frames
from tests.agents.core.ngmessages import kamailio, messages

COOKIES = st.binary(min_size=1, max_size=8).map(bytes.hex).map(str.encode)


def framed(message: dict, cookie: bytes = b"c1") -> bytes:
    return cookie + b" " + encode(message, Encoding.BENCODE)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


def read(chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """Return the messages, and whether the stream was refused."""
    frames, found = Frames(), []
    try:
        for chunk in chunks:
            found.extend(frames.feed(chunk))
            assert frames.waiting <= MAX_MESSAGE + MAX_COOKIE + len(chunk)
    except NgMalformed:
        return found, True
    return found, False


def octets(stream: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in stream]


@given(st.lists(st.tuples(messages(), COOKIES), max_size=4), st.lists(st.integers(0, 2000)))
def test_any_cut_gives_the_same_messages(sent: list[tuple[dict, bytes]], cuts: list[int]) -> None:
    """Merged, split, and octet by octet."""
    wanted = [framed(message, cookie) for message, cookie in sent]
    stream = b"".join(wanted)
    for chunks in ([stream], pieces(stream, cuts), octets(stream)):
        assert read(chunks) == (wanted, False)


@given(st.lists(messages(), max_size=3), st.binary(max_size=40), st.lists(st.integers(0, 500)))
def test_any_cut_gives_the_same_refusal(sent: list[dict], after: bytes, cuts: list[int]) -> None:
    """Whatever follows the messages, they come out first, and the end is the same."""
    stream = b"".join(map(framed, sent)) + after
    whole = read([stream])
    assert whole[0][: len(sent)] == [framed(message) for message in sent]
    assert read(pieces(stream, cuts)) == whole
    assert read(octets(stream)) == whole


@given(messages(), st.data())
def test_a_changed_octet_ends_alike_however_cut(message: dict, data: st.DataObject) -> None:
    """Mutations of real messages get further into the reader than noise."""
    stream = bytearray(framed(message) * 2)
    stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    assert read(octets(bytes(stream))) == read([bytes(stream)])


@pytest.mark.parametrize(
    "stream",
    [
        b" de",
        b"c" * (MAX_COOKIE + 1),
        b"\r\nc de",
        b"c le",
        b'c {"command":"ping"}',  # The relay frames no JSON either.
        b"c  de",
        b"c dx",
        b"c d1x",
        b"c d:a",
        b"c d-1:a",
        b"c di1xe",
        b"c di" + 25 * b"1" + b"e",
        b"c d" + 9 * b"9",
        b"c d70000:a",
        b"c d1:a" + MAX_DEPTH * b"l",
    ],
)
def test_garbage(stream: bytes) -> None:
    """It is seen at the first octet that cannot belong to a message, without waiting for more."""
    for chunks in ([stream], octets(stream)):
        frames, refused = Frames(), False
        for chunk in chunks:
            try:
                assert not list(frames.feed(chunk))
            except NgMalformed:
                refused = True
        assert refused
        with pytest.raises(NgMalformed):  # There is no way back.
            list(frames.feed(framed(kamailio())))
        assert not frames.waiting


def test_oversize() -> None:
    """A message as long as a datagram passes, a longer one does not, however it comes."""
    room = MAX_MESSAGE - len(framed({b"a": b"x" * 60000})) + 60000
    longest, longer = framed({b"a": b"x" * room}), framed({b"a": b"x" * (room + 1)})
    assert read([longest]) == ([longest], False)
    assert read([longer]) == ([], True)
    assert read(pieces(longer, [7, 40000])) == ([], True)
    many = b"c d" + b"".join(b"%d:" % len(b"%d" % at) + b"%d0:" % at for at in range(20000))
    assert read(pieces(many, list(range(0, len(many), 1000)))) == ([], True)


def test_what_was_yielded_before_the_fault_is_not_lost() -> None:
    """The messages come one by one, and the refusal after them."""
    frames = Frames()
    found = frames.feed(framed(kamailio()) + b"\0")
    assert split(next(found))[0] == b"c1"
    with pytest.raises(NgMalformed):
        next(found)
