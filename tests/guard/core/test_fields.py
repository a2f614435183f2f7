"""Fields: strict reading, by name and type."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.fields import (
    Fields,
    decode_base64,
    encode_base64,
    encode_seconds,
    format_time,
    parse_time,
)
from guard.core.reasons import Reason, Refused
from tests.guard.core.refusals import refuses

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 6_311_390_400 * 1_000_000 - 1).map(
    lambda microseconds: EPOCH + timedelta(microseconds=microseconds)
)
ALMOST_TIMES = st.from_regex(
    r"20[0-9][0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,7})?Z?",
    fullmatch=True,
)


class Colour(StrEnum):
    RED = "red"


@given(MOMENTS)
def test_times_round_trip(moment: datetime) -> None:
    """A time reads as it was written."""
    assert parse_time(format_time(moment)) == moment


@given(ALMOST_TIMES)
def test_a_time_has_one_spelling(text: str) -> None:
    """Whatever reads as a time is written in the same letters again."""
    try:
        moment = parse_time(text)
    except Refused:
        return
    assert format_time(moment) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23",
        "2026-11-23T22:00:00",
        "2026-11-23T22:00:00z",
        "2026-11-23t22:00:00Z",
        "2026-11-23 22:00:00Z",
        "2026-11-23T22:00:00+00:00",
        "2026-11-23T22:00:00.000000Z",
        "2026-11-23T22:00:00.5Z",
        "2026-11-23T22:00:00.5000000Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T22:00:60Z",
        "2026-02-29T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "٢٠٢٦-11-23T22:00:00Z",
        "2026-11-23T22:00:00Z\n",
    ],
)
def test_other_spellings_of_a_time(text: str) -> None:
    """Every other spelling of a time, and every time that does not exist, is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_time(text)


def test_times_are_written_in_utc() -> None:
    """A time in another zone is written as the same moment in UTC; one without a zone is a bug."""
    berlin = timezone(timedelta(hours=1))
    assert format_time(datetime(2026, 11, 23, 23, tzinfo=berlin)) == "2026-11-23T22:00:00Z"
    with pytest.raises(ValueError, match="without a zone"):
        format_time(EPOCH.replace(tzinfo=None))


def take(value: object, method: str, **options: Any) -> object:
    return getattr(Fields({"it": value}, "thing"), method)("it", **options)


@pytest.mark.parametrize(
    ("method", "value", "options"),
    [
        ("text", 5, {}),
        ("text", "", {}),
        ("text", None, {}),
        ("text", "two\nlines", {}),
        ("text", "a\u202eb", {}),
        ("text", "a\u200bb", {}),
        ("text", "a\x00b", {}),
        ("text", "x" * 513, {}),
        ("text", "ab\n", {"pattern": re.compile("ab")}),
        ("integer", "1", {"least": 0, "most": 9}),
        ("integer", True, {"least": 0, "most": 9}),
        ("integer", -1, {"least": 0, "most": 9}),
        ("integer", 10, {"least": 0, "most": 9}),
        ("seconds", 0, {"least": 1, "most": 9}),
        ("time", 5, {}),
        ("choice", "blue", {"choices": Colour}),
        ("binary", "AA", {"longest": 9}),
        ("binary", "AB==", {"longest": 9}),
        ("binary", "AA==\n", {"longest": 9}),
        ("binary", "ÄÄÄÄ", {"longest": 9}),
        ("binary", "AAAA", {"longest": 2}),
        ("binary", 5, {"longest": 2}),
        ("text_list", "ab", {"least": 1, "most": 2}),
        ("text_list", [], {"least": 1, "most": 2}),
        ("text_list", ["a", "b", "c"], {"least": 1, "most": 2}),
        ("text_list", ["a", "a"], {"least": 1, "most": 2}),
        ("text_list", ["a", 1], {"least": 1, "most": 2}),
        ("child", [], {}),
        ("objects", [1], {"least": 0, "most": 2}),
        ("objects", {}, {"least": 0, "most": 2}),
    ],
)
def test_wrong_values(method: str, value: object, options: dict[str, Any]) -> None:
    """A value of another type or out of its range is refused, and not shown."""
    with pytest.raises(Refused) as caught:
        take(value, method, **options)
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED
    assert "thing.it" in caught.value.detail


def test_right_values() -> None:
    """Values of the right type come out as they are."""
    assert take("a b", "text") == "a b"
    assert take(9, "integer", least=0, most=9) == 9
    assert take(9, "seconds", least=0, most=9) == timedelta(seconds=9)
    assert take("red", "choice", choices=Colour) is Colour.RED
    assert take("AAE=", "binary", longest=2) == b"\x00\x01"
    assert take(["b", "a"], "text_list", least=1, most=2) == ("b", "a")


@pytest.mark.parametrize("obj", [None, [], "text", 5])
def test_no_object(obj: object) -> None:
    """What is no object has no fields."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        Fields(obj, "thing")


def test_unknown_and_missing_fields() -> None:
    """A field that nobody asked for refuses, and so does one that is not there."""
    fields = Fields({"a": "x", "b": "y"}, "thing")
    fields.text("a")
    with refuses(Reason.DOCUMENT_MALFORMED):
        fields.text("c")
    with refuses(Reason.DOCUMENT_MALFORMED):
        fields.text("a")
    with refuses(Reason.DOCUMENT_MALFORMED):
        fields.finish()
    assert fields.optional_text("c") is None
    assert fields.optional_time("c") is None
    assert fields.optional_integer("c", least=0, most=1) is None
    assert fields.optional_text("b") == "y"
    fields.finish()


def test_optional_is_not_null() -> None:
    """A field that may be absent may not be null."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        Fields({"a": None}, "thing").optional_text("a")


@given(st.binary(max_size=50))
def test_base64_round_trips(data: bytes) -> None:
    """Bytes come back from base64 as they went in."""
    assert decode_base64(encode_base64(data), "it") == data


@given(st.integers(0, 10**9))
def test_seconds(number: int) -> None:
    """Whole seconds are written as their number, anything between is refused."""
    assert encode_seconds(timedelta(seconds=number)) == number
    with refuses(Reason.DOCUMENT_MALFORMED):
        encode_seconds(timedelta(seconds=number, microseconds=1))
