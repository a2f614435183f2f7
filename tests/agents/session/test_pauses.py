"""The pauses between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.session.pauses import LONGEST, SHORTEST, Pauses


def test_failures_wait_longer_and_longer():
    """Doubling from 0.2 s up to 5 s; a success begins again."""
    pauses = Pauses(lambda: 1.0)

    assert [pauses.after(success=False) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert pauses.after(success=True) == 0.2
    assert pauses.after(success=False) == 0.4


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1))))
def test_every_pause_is_bounded(attempts: list[tuple[bool, float]]):
    """Never a busy loop, never longer than the cap."""
    drawn = iter([chance for _, chance in attempts])
    pauses = Pauses(lambda: next(drawn))

    for success, _ in attempts:
        assert SHORTEST / 2 <= pauses.after(success=success) <= LONGEST
