"""The NG protocol's messages: a cookie, a space, and a dictionary in bencode or in JSON.

The relay reads generously: of two equal keys the first, of a dictionary with something after it the
dictionary. Whoever decides about a message must read what the relay would read, so here:

1. Decoding is strict. Keys stand once, nothing follows the dictionary, lengths and integers have
   one spelling each.
2. Encoding is canonical: keys in the order of their octets. What was decoded and encoded is all
   that ever goes to the relay, never the octets that came.
3. Size, depth and the number of members are bounded, and time is linear in the size.
4. `NgMalformed` is the only error; its text never holds anything of the message.
5. JSON has no octets: a string is UTF-8, and what is not cannot be written as JSON. The relay takes
   true and false for numbers in one place and for nothing in another, a fraction for its whole
   part, null for nothing, and ends a string at U+0000: all of these are refused.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import NoReturn, TypeAlias

NgValue: TypeAlias = "bytes | int | list[NgValue] | dict[bytes, NgValue]"
NgDict: TypeAlias = dict[bytes, NgValue]

MAX_MESSAGE = 65507  # what a datagram of IPv4 carries
MAX_COOKIE = 128
MAX_DEPTH = 12  # the relay's answer to `query` has nine
MAX_MEMBERS = 4096  # of one list or dictionary
MAX_DIGITS = len(str(MAX_MESSAGE))
_LEAST, _GREATEST = -(2**63), 2**63 - 1

_COOKIE = re.compile(rb"([!-~]{1,%d}) " % MAX_COOKIE)
_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]{0,18})e")
_LENGTHS = {b"%d" % length: length for length in range(1024)}  # the common ones, without int()
_ZERO, _NINE, _DICT, _LIST, _INT, _END = b"09dlie"


class NgMalformed(Exception):  # noqa: N818 - says what the octets are, and is the documented name
    """The octets are no NG message. The text never holds any of them (rule 4)."""


class Encoding(StrEnum):
    """How the dictionary is written; configured, never guessed."""

    BENCODE = "bencode"
    JSON = "json"


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Return the cookie and the body of a message."""
    if len(datagram) > MAX_MESSAGE:
        raise NgMalformed("the message is longer than a datagram can be")
    cookie = _COOKIE.match(datagram)
    if cookie is None:
        raise NgMalformed("the message does not begin with a cookie and a space")
    if cookie.end() == len(datagram):
        raise NgMalformed("nothing follows the cookie")
    return cookie[1], datagram[cookie.end() :]


def decode(body: bytes, encoding: Encoding) -> NgDict:
    """Read one dictionary, which is all of the body (rule 1)."""
    if len(body) > MAX_MESSAGE:
        raise NgMalformed("the message is longer than a datagram can be")
    if encoding is Encoding.JSON:
        return _from_json(body)
    if not body.startswith(b"d"):
        raise NgMalformed("the body is not a bencoded dictionary")
    try:
        message, end = _dictionary(body, 1, MAX_DEPTH)
    except IndexError:
        raise NgMalformed("the body ends in the middle") from None
    if end != len(body):
        raise NgMalformed("something follows the dictionary")
    return message


def encode(message: NgDict, encoding: Encoding) -> bytes:
    """Write a dictionary in its one canonical form (rule 2)."""
    if encoding is Encoding.JSON:
        return json.dumps(
            _plain(message), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    parts: list[bytes] = []
    _write(message, parts)
    return b"".join(parts)


# --- bencode. An octet that is missing is an IndexError, which `decode` turns into its sentence.


def _dictionary(body: bytes, at: int, depth: int) -> tuple[NgDict, int]:
    """Read the members up to the end mark; ``at`` is after the opening octet."""
    if not depth:
        raise NgMalformed("the body is nested too deeply")
    found: NgDict = {}
    members = 0
    while body[at] != _END:
        key, at = _string(body, at)
        first = body[at]
        if _ZERO <= first <= _NINE:
            found[key], at = _string(body, at)
        else:
            found[key], at = _value(body, at, depth)
        members += 1
    if members != len(found):
        raise NgMalformed("a key stands twice in one dictionary")
    if members > MAX_MEMBERS:
        raise NgMalformed("a dictionary has too many members")
    return found, at + 1


def _list(body: bytes, at: int, depth: int) -> tuple[list[NgValue], int]:
    """Read the items up to the end mark; ``at`` is after the opening octet."""
    if not depth:
        raise NgMalformed("the body is nested too deeply")
    found: list[NgValue] = []
    item: NgValue
    while body[at] != _END:
        if _ZERO <= body[at] <= _NINE:
            item, at = _string(body, at)
        else:
            item, at = _value(body, at, depth)
        found.append(item)
    if len(found) > MAX_MEMBERS:
        raise NgMalformed("a list has too many members")
    return found, at + 1


def _value(body: bytes, at: int, depth: int) -> tuple[NgValue, int]:
    """Read what is no string."""
    kind = body[at]
    if kind == _LIST:
        return _list(body, at + 1, depth - 1)
    if kind == _DICT:
        return _dictionary(body, at + 1, depth - 1)
    found = _INTEGER.match(body, at)
    if found is None:
        raise NgMalformed("the body holds what is no bencode")
    return _bounded(int(found[1])), found.end()


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    colon = body.find(b":", at, at + MAX_DIGITS + 1)
    if colon < 0:
        raise NgMalformed("a string has no length, or one of too many digits")
    length = _LENGTHS.get(body[at:colon])
    if length is None:
        length = _length(body[at:colon])
    at = colon + 1
    end = at + length
    if end > len(body):
        raise IndexError
    return body[at:end], end


def _length(digits: bytes) -> int:
    """Read a length that is not among the common ones."""
    if not digits.isdigit() or digits.startswith(b"0"):
        raise NgMalformed("the length of a string is not a number in its shortest form")
    return int(digits)


def _bounded(number: int) -> int:
    if not _LEAST <= number <= _GREATEST:
        raise NgMalformed("an integer has more than 64 bits")
    return number


def _write(value: NgValue, parts: list[bytes]) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            member = value[key]
            if isinstance(member, bytes):
                parts.append(b"%d:%b%d:%b" % (len(key), key, len(member), member))
            else:
                parts.append(b"%d:%b" % (len(key), key))
                _write(member, parts)
        parts.append(b"e")
    elif isinstance(value, list):
        parts.append(b"l")
        for item in value:
            if isinstance(item, bytes):
                parts.append(b"%d:%b" % (len(item), item))
            else:
                _write(item, parts)
        parts.append(b"e")
    else:
        parts.append(b"i%de" % value)


# --- JSON


def _from_json(body: bytes) -> NgDict:
    if not body.startswith(b"{"):
        raise NgMalformed("the body is not a JSON object")
    try:
        text = body.decode()
        found = _octets(_JSON.decode(text), MAX_DEPTH)
    except (ValueError, RecursionError):  # Of UnicodeError and of JSONDecodeError, which quote.
        raise NgMalformed("the body is not JSON in UTF-8") from None
    assert isinstance(found, dict)  # noqa: S101 - it begins with a brace
    return found


def _octets(value: object, depth: int) -> NgValue:
    """Turn what the JSON reader returned into what bencode has."""
    if isinstance(value, str):
        if "\0" in value:
            raise NgMalformed("a string holds U+0000, at which the relay ends it")
        return value.encode()
    if type(value) is int:
        return value
    if not isinstance(value, dict | list):
        raise NgMalformed("the body holds a truth value or null")
    if not depth:
        raise NgMalformed("the body is nested too deeply")
    if len(value) > MAX_MEMBERS:
        raise NgMalformed("the body has too many members")
    if isinstance(value, list):
        return [_octets(item, depth - 1) for item in value]
    return {_name(key): _octets(member, depth - 1) for key, member in value.items()}


def _name(key: str) -> bytes:
    if "\0" in key:
        raise NgMalformed("a key holds U+0000, at which the relay ends it")
    return key.encode()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NgMalformed("a key stands twice in one dictionary")
    return found


def _whole(digits: str) -> int:
    if digits == "-0" or len(digits) > len(str(_LEAST)):
        raise NgMalformed("an integer is not in its shortest form or has more than 64 bits")
    return _bounded(int(digits))


def _no_number(_text: str) -> NoReturn:
    raise NgMalformed("a number is not an integer")


_JSON = json.JSONDecoder(
    object_pairs_hook=_once,
    parse_int=_whole,
    parse_float=_no_number,
    parse_constant=_no_number,
)


def _plain(value: NgValue) -> object:
    """Turn octets into the strings that JSON has (rule 5)."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise NgMalformed("a string is not UTF-8 and cannot be written as JSON") from None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(member) for key, member in value.items()}
    return value
