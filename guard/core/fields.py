"""Strict reading of the fields of a decoded document.

1. Every field is read by name and type; nothing is converted, nothing has a default.
2. A field that nobody has read is unknown and refuses the document (``finish``).
3. Texts are one printable line, so that what an approver is shown is what is signed: control,
   format and direction characters do not pass.
4. A time has one spelling: UTC, ``2026-11-23T22:00:00Z``, or with exactly six decimals when it
   has a fraction, in the years 2000 to 2199 (so that adding a window never overflows).

Everything refused here is DOCUMENT_MALFORMED; details name the field, never its value.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from guard.core.reasons import Reason, Refused

LONGEST_TEXT = 512
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z")
_YEARS = range(2000, 2200)

_E = TypeVar("_E", bound=StrEnum)


def format_time(moment: datetime) -> str:
    """Write an aware time in its one spelling (4)."""
    if moment.utcoffset() is None:
        raise ValueError("a time without a zone")
    moment = moment.astimezone(UTC)
    if moment.year not in _YEARS:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a time is outside the years 2000 to 2199")
    return moment.replace(tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> datetime:
    """Read a time in its one spelling (4)."""
    try:
        if _TIME.fullmatch(text) and format_time(moment := datetime.fromisoformat(text)) == text:
            return moment
    except ValueError as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a time does not exist") from error
    raise Refused(Reason.DOCUMENT_MALFORMED, "a time is not in its one spelling")


def require(condition: bool, detail: str) -> None:  # noqa: FBT001  reads as a sentence
    """Refuse as DOCUMENT_MALFORMED unless the condition holds."""
    if not condition:
        raise Refused(Reason.DOCUMENT_MALFORMED, detail)


def require_text(value: object, what: str, *, longest: int = LONGEST_TEXT) -> str:
    """Return the value if it is one printable, non-empty line of at most ``longest`` characters."""
    if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable():
        return value
    raise Refused(Reason.DOCUMENT_MALFORMED, f"{what} is not a line of text")


def require_match(value: object, pattern: re.Pattern[str], what: str) -> str:
    """Return the value if it is a text that matches the pattern from end to end."""
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise Refused(Reason.DOCUMENT_MALFORMED, f"{what} is not well formed")


def encode_seconds(duration: timedelta) -> int:
    """Write a duration in whole seconds; a fraction is refused (DOCUMENT_MALFORMED)."""
    whole = duration // timedelta(seconds=1)
    require(timedelta(seconds=whole) == duration, "a duration is not in whole seconds")
    return whole


class Fields:
    """The fields of one JSON object, taken out one by one."""

    def __init__(self, obj: object, what: str) -> None:
        if not isinstance(obj, Mapping):
            raise Refused(Reason.DOCUMENT_MALFORMED, f"{what} is not an object")
        self._left: dict[str, Any] = dict(obj)
        self._what = what

    def text(
        self, name: str, *, pattern: re.Pattern[str] | None = None, longest: int = LONGEST_TEXT
    ) -> str:
        """Take a non-empty line of text, matching the pattern from end to end if one is given."""
        value = require_text(self._take(name), self._name(name), longest=longest)
        return value if pattern is None else require_match(value, pattern, self._name(name))

    def document(self, name: str, *, longest: int) -> str:
        """Take a text of several lines, of at most so many characters; its reader checks it."""
        value = self._take(name)
        require(
            isinstance(value, str) and 0 < len(value) <= longest,
            f"{self._name(name)} is not a text of its length",
        )
        return str(value)

    def integer(self, name: str, *, least: int, most: int) -> int:
        """Take an integer with least <= value <= most."""
        value = self._take(name)
        # A bool is an int to Python, not to JSON.
        if type(value) is not int or not least <= value <= most:
            raise Refused(
                Reason.DOCUMENT_MALFORMED, f"{self._name(name)} is not a number in its range"
            )
        return value

    def seconds(self, name: str, *, least: int, most: int) -> timedelta:
        """Take a duration in whole seconds."""
        return timedelta(seconds=self.integer(name, least=least, most=most))

    def time(self, name: str) -> datetime:
        """Take a time."""
        value = self._take(name)
        require(isinstance(value, str), f"{self._name(name)} is not a time")
        return parse_time(value)

    def choice(self, name: str, choices: type[_E]) -> _E:
        """Take one of an enumeration's values."""
        value = self.text(name)
        try:
            return choices(value)
        except ValueError as error:
            raise Refused(
                Reason.DOCUMENT_MALFORMED, f"{self._name(name)} is not one of its values"
            ) from error

    def binary(self, name: str, *, longest: int) -> bytes:
        """Take bytes written as base64 (RFC 4648 section 4) in its one spelling."""
        value = self._take(name)
        require(isinstance(value, str), f"{self._name(name)} is not base64")
        data = decode_base64(value, self._name(name))
        require(len(data) <= longest, f"{self._name(name)} is longer than {longest} bytes")
        return data

    def text_list(
        self, name: str, *, least: int, most: int, pattern: re.Pattern[str] | None = None
    ) -> tuple[str, ...]:
        """Take a list of distinct texts."""
        what = self._name(name)
        values = tuple(require_text(value, what) for value in self._list(name, least, most))
        if pattern is not None:
            for value in values:
                require_match(value, pattern, what)
        require(len(set(values)) == len(values), f"{what} names something twice")
        return values

    def child(self, name: str) -> Fields:
        """Take an object."""
        return Fields(self._take(name), self._name(name))

    def objects(self, name: str, *, least: int, most: int) -> tuple[Fields, ...]:
        """Take a list of objects."""
        what = self._name(name)
        return tuple(Fields(value, what) for value in self._list(name, least, most))

    def has(self, name: str) -> bool:
        """Say whether the field is there and not taken yet."""
        return name in self._left

    def optional_text(self, name: str, *, pattern: re.Pattern[str] | None = None) -> str | None:
        """Take a text, or None where the field is absent."""
        return self.text(name, pattern=pattern) if self.has(name) else None

    def optional_integer(self, name: str, *, least: int, most: int) -> int | None:
        """Take an integer, or None where the field is absent."""
        return self.integer(name, least=least, most=most) if self.has(name) else None

    def optional_time(self, name: str) -> datetime | None:
        """Take a time, or None where the field is absent."""
        return self.time(name) if self.has(name) else None

    def rest(self) -> dict[str, Any]:
        """Take every field that is left, unread; the caller must check them."""
        left, self._left = self._left, {}
        return left

    def finish(self) -> None:
        """Refuse the document if a field is left that nobody read (2)."""
        require(not self._left, f"{self._what} has an unknown field")

    def _take(self, name: str) -> Any:  # noqa: ANN401  what is in there is what we find out
        if name not in self._left:
            raise Refused(Reason.DOCUMENT_MALFORMED, f"{self._name(name)} is missing")
        return self._left.pop(name)

    def _list(self, name: str, least: int, most: int) -> list[Any]:
        value = self._take(name)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise Refused(
                Reason.DOCUMENT_MALFORMED,
                f"{self._name(name)} is not a list of {least} to {most}",
            )
        return value

    def _name(self, name: str) -> str:
        return f"{self._what}.{name}"


def encode_base64(data: bytes) -> str:
    """Write bytes as base64 (RFC 4648 section 4, padded)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Read base64, refusing every spelling but the canonical one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, f"{what} is not base64") from error
    require(encode_base64(data) == text, f"{what} is not in canonical base64")
    return data
