"""Telling what was done to a list of leaves, for every place and every change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.tampering import Change, first_change

TRUE = [bytes([number]) * 32 for number in range(40)]
PLACES = st.integers(0, 38)


def test_a_list_is_itself():
    assert first_change(TRUE, list(TRUE)) is None
    assert first_change([], []) is None


@given(PLACES)
def test_one_that_was_removed(at):
    assert first_change(TRUE, [*TRUE[:at], *TRUE[at + 1 :]]) == (at, Change.REMOVED)


@given(PLACES)
def test_one_that_was_removed_and_made_up_for(at):
    """The list is as long as before: what is missing is told all the same."""
    shown = [*TRUE[:at], *TRUE[at + 1 :], b"x" * 32]
    assert first_change(TRUE, shown) == (at, Change.REMOVED)


@given(PLACES)
def test_one_that_was_added(at):
    assert first_change(TRUE, [*TRUE[:at], b"x" * 32, *TRUE[at:]]) == (at, Change.ADDED)


@given(PLACES)
def test_one_that_was_altered(at):
    shown = [*TRUE[:at], b"x" * 32, *TRUE[at + 1 :]]
    assert first_change(TRUE, shown) == (at, Change.ALTERED)


@given(st.lists(PLACES, min_size=2, max_size=2, unique=True))
def test_two_that_changed_places(places):
    one, other = sorted(places)
    shown = list(TRUE)
    shown[one], shown[other] = shown[other], shown[one]
    assert first_change(TRUE, shown) == (one, Change.REORDERED)


@pytest.mark.parametrize("length", [0, 1, 39])
def test_a_list_that_was_cut_short(length):
    assert first_change(TRUE, TRUE[:length]) == (length, Change.REMOVED)
    assert first_change(TRUE[:length], TRUE) == (length, Change.ADDED)
