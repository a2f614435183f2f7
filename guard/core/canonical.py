"""Canonical JSON (RFC 8785): the one encoding of every signed document.

1. A document is one JSON object in UTF-8, no longer than its limit.
2. Decoding and encoding again must give the identical bytes, so that two readers cannot read
   two meanings out of one signature. Duplicate names, blanks and other spellings fail here.
3. Numbers are integers within 53 bits: floats, NaN and infinities are refused.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import rfc8785

from guard.core.reasons import Reason, Refused


def encode(value: dict[str, Any]) -> bytes:
    """Encode an object of plain JSON values. Refuses (DOCUMENT_MALFORMED) what JSON cannot hold."""
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a value has no canonical form") from error


def decode(data: bytes, *, limit: int) -> dict[str, Any]:
    """Decode a canonical object of at most ``limit`` bytes; else refuse (DOCUMENT_MALFORMED)."""
    # Rule 1.
    if len(data) > limit:
        raise _malformed(f"larger than {limit} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_float=_no_number,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        raise _malformed("not the JSON we read") from error
    if not isinstance(value, dict):
        raise _malformed("not an object")
    # Rule 2, and 3 for integers beyond 53 bits, which RFC 8785 cannot encode.
    if encode(value) != data:
        raise _malformed("not in canonical form")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _no_number(_text: str) -> NoReturn:
    raise ValueError("not an integer")


def _malformed(what: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, f"the document is {what}")
