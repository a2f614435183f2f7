"""Canonical JSON: one spelling, and only documents that have it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from guard.core import canonical
from guard.core.reasons import Reason, Refused
from tests.guard.core.refusals import refuses

LIMIT = 4096
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAMES = st.text(st.characters(max_codepoint=127), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_NAMES, VALUES, max_size=5))
def test_round_trip(value: dict[str, Any]) -> None:
    """Whatever is encoded decodes to the same value."""
    assert canonical.decode(canonical.encode(value), limit=100_000) == value


@given(st.dictionaries(_NAMES, VALUES, max_size=5))
def test_the_readers_encoder_is_rfc_8785(value: dict[str, Any]) -> None:
    """What reading compares with is byte for byte what the RFC 8785 library writes."""
    assert canonical._ENCODER.encode(value).encode() == rfc8785.dumps(value)


_WIDE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(Reason),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=4), _WIDE, max_size=4))
def test_what_is_written_is_rfc_8785_or_refused(value: dict[str, Any]) -> None:
    """Of any Python value the encoding is what the RFC 8785 library writes, or both refuse."""
    try:
        expected = rfc8785.dumps(value)
    except ValueError:
        with refuses(Reason.DOCUMENT_MALFORMED):
            canonical.encode(value)
    else:
        assert canonical.encode(value) == expected


@given(st.dictionaries(_NAMES, VALUES, max_size=5), st.sampled_from([None, 1]))
def test_pretty_printed_is_refused(value: dict[str, Any], indent: int | None) -> None:
    """The same value with blanks in it is refused unless there was nowhere to put them."""
    data = json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True).encode()
    if data != canonical.encode(value):
        with refuses(Reason.DOCUMENT_MALFORMED):
            canonical.decode(data, limit=100_000)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    """Arbitrary bytes decode to what encodes to them, or are refused; nothing else happens."""
    try:
        value = canonical.decode(data, limit=LIMIT)
    except Refused:
        return
    assert canonical.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}\n",
        b" {}",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 3000 + b"}",
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\t"}',
        '{"ä":1}'.encode(),
        b"[" * 4000,
        b'{"a":' * 800,
    ],
)
def test_other_spellings(data: bytes) -> None:
    """Every other spelling, wrong type and wrong number is refused by name."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        canonical.decode(data, limit=LIMIT)


def test_the_limit_is_exact() -> None:
    """A document as long as its limit passes, one byte more does not."""
    data = canonical.encode({"a": "x" * 100})
    assert canonical.decode(data, limit=len(data))
    with refuses(Reason.DOCUMENT_MALFORMED):
        canonical.decode(data, limit=len(data) - 1)


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": 2**53}, {"a": "\ud800"}, {"a": b"x"}])
def test_what_has_no_canonical_form(value: dict[str, Any]) -> None:
    """What JSON cannot hold is refused on the way out too."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        canonical.encode(value)
