"""Canonical JSON (RFC 8785): the one encoding of every signed document.

1. A document is one JSON object in UTF-8, no longer than its limit.
2. Decoding and encoding again must give the identical bytes, so that two readers cannot read
   two meanings out of one signature. Duplicate names, blanks and other spellings fail here.
3. Numbers are integers within 53 bits: floats, NaN and infinities are refused. Names are ASCII.

Within rule 3, RFC 8785 is what the standard library writes with sorted names and no blanks. Reading
compares with that, and so is written what consists of plain values alone; it is several times as
fast. A test holds the two encoders together.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import rfc8785

from guard.core.reasons import Reason, Refused

_LARGEST: Final = 2**53 - 1


def encode(value: dict[str, Any]) -> bytes:
    """Encode an object of plain JSON values. Refuses (DOCUMENT_MALFORMED) what JSON cannot hold."""
    try:
        if _is_plain(value):
            return _ENCODER.encode(value).encode("utf-8")
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a value has no canonical form") from error


def _is_plain(value: object) -> bool:
    """Say whether a value is within rule 3, of the standard types themselves."""
    kind = type(value)
    if isinstance(value, int):
        return kind is bool or (kind is int and -_LARGEST <= value <= _LARGEST)
    if isinstance(value, dict):
        return kind is dict and all(
            type(name) is str and name.isascii() and _is_plain(each) for name, each in value.items()
        )
    if isinstance(value, list):
        return kind is list and all(map(_is_plain, value))
    return kind is str or value is None


def decode(data: bytes, *, limit: int) -> dict[str, Any]:
    """Decode a canonical object of at most ``limit`` bytes; else refuse (DOCUMENT_MALFORMED)."""
    if len(data) > limit:
        raise _malformed(f"larger than {limit} bytes")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        canonical = _ENCODER.encode(value).encode("utf-8")
    except (ValueError, RecursionError):
        # The cause would carry the document along, which may be a list of subjects.
        raise _malformed("not the JSON we read") from None
    if canonical != data:
        raise _malformed("not in canonical form")
    if not isinstance(value, dict):
        raise _malformed("not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    # Beyond ASCII the order of names differs between RFC 8785 (UTF-16) and Python (code points).
    if not all(map(str.isascii, made)):
        raise ValueError("a name is not ASCII")
    return made


def _integer(text: str) -> int:
    number = int(text)
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("a number is beyond 53 bits")
    return number


def _no_number(_text: str) -> NoReturn:
    raise ValueError("not an integer")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
)
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
)


def _malformed(what: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, f"the document is {what}")
