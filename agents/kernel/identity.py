"""How an identity is written and hashed, so that the kernel finds it in a message; pure.

The signalling filter (src/signalling.bpf.c) writes each URI and Call-ID of a message the same
way and looks for its hash in the map of armed identities:

1. telephone   octet 1, then the digits of an E.164 number without + . A message may spell the
               number with +, %2B, a leading 00, or bare, with the visual separators - . ( ) and
               white space anywhere: all give the same digits. A message may also give the end of
               the number alone and the start as a parameter (phone-context, RFC 3966): so each
               end of the number is armed too, behind octet 4, which the kernel puts before
               digits without + that parameters follow.
2. sip_uri     octet 2, then user@host. The user ends at the first ; or : and is percent-decoded,
               the host is in lower case and without one trailing dot. A host in brackets has
               many spellings (IPv6), so it is written as a single "[": every URI is armed with
               it too, and user space tells such hosts apart.
3. call_id     octet 3, then the value up to its first white space: it has none, but calls are
               followed by whatever Call-ID they have, and one that cannot be hashed would not be.

Each is cut after 255 octets. The hash is SipHash-1-3 under a random key of 16 octets: nobody
can look for collisions without it. A match is over-inclusive only by a collision, by what
lies beyond 255 octets, by parameters of the user, hosts in brackets and local numbers; user
space matches exactly afterwards. What user space would match always passes.
"""

from __future__ import annotations

import re
from typing import Final

KEY_OCTETS: Final = 16
LONGEST: Final = 255
_TELEPHONE, _USER_AT_HOST, _CALL_ID, _LOCAL = b"\x01", b"\x02", b"\x03", b"\x04"
_WORD = 0xFFFF_FFFF_FFFF_FFFF
_WORD_OF_CALL_ID = re.compile(r"[\x00-\x20]*([^\x00-\x20]+)")
_DIGITS = re.compile(r"\+?([0-9]{1,30})")


def siphash13(key: bytes, data: bytes) -> int:
    """SipHash with one compression and three finalisation rounds (Aumasson and Bernstein, 2012).

    `key` is 16 octets; the result is an unsigned number of 64 bits.
    """
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = (
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    )
    whole = len(data) & ~7
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        a, b, c, d = _round(v[0], v[1], v[2], v[3] ^ word)
        v = (a ^ word, b, c, d)
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(3):
        v = _round(*v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def identity_hashes(key: bytes, kind: str, value: str) -> tuple[int, ...]:
    """Hash a normalised subject of `kind` (a SubjectKind) every way a message may name it.

    Raises ValueError for a value that is not of its kind, and for a peer address, which is
    not looked for in messages; the value is not repeated in the error.
    """
    if len(key) != KEY_OCTETS:
        raise ValueError("the key is 16 octets")
    return tuple(siphash13(key, name[:LONGEST]) for name in _names(kind, value))


def _names(kind: str, value: str) -> list[bytes]:
    if kind == "telephone" and (match := _DIGITS.fullmatch(value)):
        digits = match[1].encode("ascii")
        return [_TELEPHONE + digits, *(_LOCAL + digits[at:] for at in range(1, len(digits)))]
    if kind == "sip_uri":
        return _user_at_host(value)
    if kind == "call_id" and (word := _WORD_OF_CALL_ID.match(value)):
        return [_CALL_ID + word[1].encode(errors="surrogateescape")]
    raise ValueError(f"a {kind} of this form is not looked for in messages")


def _user_at_host(value: str) -> list[bytes]:
    user, at, host = value.rpartition("@")
    if not (user and at and host):
        raise ValueError("a sip_uri has a user and a host")
    user = re.split("[;:]", user, maxsplit=1)[0]
    host = host.lower().removesuffix(".")
    hosts = ["["] if host.startswith("[") else [host, "["]
    return [_USER_AT_HOST + f"{user}@{each}".encode(errors="surrogateescape") for each in hosts]


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _WORD
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c = (c + d) & _WORD
    d = _rotated(d, 16) ^ c
    a = (a + d) & _WORD
    d = _rotated(d, 21) ^ a
    c = (c + b) & _WORD
    b = _rotated(b, 17) ^ c
    return a, b, _rotated(c, 32), d


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & _WORD
