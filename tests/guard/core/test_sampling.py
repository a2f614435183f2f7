"""The sample: a fifth, recomputed by code of its own, and moved by either side alone."""

from __future__ import annotations

import hashlib
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.reasons import Reason
from guard.core.sampling import commitment, sample, seed
from tests.guard.core.refusals import refuses

HASHES = st.binary(min_size=32, max_size=32)


@given(HASHES, HASHES, st.dictionaries(st.integers(0, 10_000), HASHES, max_size=60))
def test_it_is_what_the_description_says(
    root: bytes, nonce: bytes, leaves: dict[int, bytes]
) -> None:
    """Ranked by SHA-256 over seed and leaf, the first fifth rounded up, in ascending order."""
    made = hashlib.sha256(b"callguard-sample-v1\n" + root + nonce).digest()
    ranked = sorted(leaves, key=lambda n: (hashlib.sha256(made + leaves[n]).hexdigest(), n))
    expected = sorted(ranked[: math.ceil(len(leaves) / 5)])
    assert list(sample(seed(root, nonce), leaves)) == expected


def test_a_fifth_at_least() -> None:
    """One of one to five, two of six; none of none."""
    for count, expected in ((0, 0), (1, 1), (5, 1), (6, 2), (100, 20), (101, 21)):
        leaves = {n: os.urandom(32) for n in range(count)}
        assert len(sample(os.urandom(32), leaves)) == expected


def test_neither_side_alone_decides() -> None:
    """Another root and another nonce give other samples; the commitment fixes the nonce."""
    leaves = {n: hashlib.sha256(bytes([n])).digest() for n in range(200)}
    root, nonce = bytes(32), bytes([1]) * 32
    mine = sample(seed(root, nonce), leaves)
    assert sample(seed(bytes([2]) * 32, nonce), leaves) != mine
    assert sample(seed(root, bytes([3]) * 32), leaves) != mine
    assert commitment(nonce) == hashlib.sha256(nonce).hexdigest()
    assert commitment(bytes(32)) != commitment(nonce)


def test_every_entry_may_be_drawn() -> None:
    """Over many nonces each of ten entries is drawn about one time in five."""
    leaves = {n: hashlib.sha256(bytes([n])).digest() for n in range(10)}
    drawn = [0] * 10
    for number in range(1000):
        for index in sample(seed(bytes(32), number.to_bytes(32)), leaves):
            drawn[index] += 1
    assert sum(drawn) == 2000
    assert all(130 < times < 280 for times in drawn), drawn


@pytest.mark.parametrize("size", [0, 31, 33])
def test_other_lengths_are_refused(size: int) -> None:
    """A nonce and a root are 32 bytes."""
    for call in (
        lambda: commitment(bytes(size)),
        lambda: seed(bytes(size), bytes(32)),
        lambda: seed(bytes(32), bytes(size)),
    ):
        with refuses(Reason.DOCUMENT_MALFORMED):
            call()
