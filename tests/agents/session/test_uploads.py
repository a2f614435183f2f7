"""Which segment is offered when, and which bytes are sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.session.uploads import CHUNK, PATIENCE, Piece, Upload, Uploads


def upload(number: int, size: int = 3 * CHUNK // 2) -> Upload:
    return Upload(grant_id="g", number=number, path=Path("/x"), size=size, sha256=b"", receipt=b"r")


def test_one_at_a_time_in_order():
    """The next is offered when the guard keeps the present one."""
    uploads = Uploads([upload(1), upload(2)])

    assert uploads.next(0) == upload(1)
    assert uploads.next(1) is None
    uploads.wanted("g", 1, 0, now=1)
    assert uploads.next(1) == Piece(upload=upload(1), offset=0, length=CHUNK)
    assert uploads.next(1) == Piece(upload=upload(1), offset=CHUNK, length=CHUNK // 2)
    assert uploads.next(1) is None
    uploads.drop("g", 1)
    assert uploads.next(2) == upload(2)
    assert len(uploads) == 1


def test_a_new_session_offers_again_and_goes_on_where_the_guard_wants():
    """What the guard has already is not sent again."""
    uploads = Uploads([upload(1)])
    uploads.next(0)
    uploads.wanted("g", 1, 0, now=0)
    uploads.next(0)
    uploads.restart()

    assert uploads.next(5) == upload(1)
    uploads.wanted("g", 1, CHUNK, now=5)
    assert uploads.next(5) == Piece(upload=upload(1), offset=CHUNK, length=CHUNK // 2)


def test_a_silent_guard_does_not_hold_up_the_row():
    """After a while the next segment is offered, and the silent one again after it."""
    uploads = Uploads([upload(1), upload(2)])
    uploads.next(0)

    assert uploads.next(PATIENCE - 1) is None
    assert uploads.next(PATIENCE) == upload(2)
    uploads.wanted("g", 1, 0, now=PATIENCE)
    assert uploads.next(PATIENCE) is None, "late words about another segment are ignored"
    uploads.drop("g", 2)
    assert uploads.next(PATIENCE) == upload(1)


@pytest.mark.parametrize("offset", [-1, 3 * CHUNK])
def test_bytes_outside_the_segment_are_not_sent(offset: int):
    """A guard that asks for them talks nonsense."""
    uploads = Uploads([upload(1)])
    uploads.next(0)

    with pytest.raises(ValueError, match="outside"):
        uploads.wanted("g", 1, offset, now=0)


def test_asked_for_the_end_nothing_is_sent():
    """A guard that has everything gets nothing more."""
    uploads = Uploads([upload(1, size=10)])
    uploads.next(0)
    uploads.wanted("g", 1, 10, now=0)

    assert uploads.next(0) is None


@given(st.integers(1, 5 * CHUNK), st.lists(st.integers(0, 5 * CHUNK), max_size=5))
def test_the_pieces_make_the_whole(size: int, resumes: list[int]):
    """However often the guard resumes within what it has, the pieces add up without a gap."""
    uploads, have = Uploads([upload(1, size)]), 0
    assert uploads.next(0) is not None
    uploads.wanted("g", 1, 0, now=0)
    while have < size:
        match uploads.next(0):
            case Piece(offset=offset, length=length):
                assert offset <= have
                have = max(have, offset + length)
            case other:
                raise AssertionError(other)
        if resumes:
            uploads.wanted("g", 1, min(have, resumes.pop(), size), now=0)
    assert have == size
