"""Subjects: whose calls. One spelling per subject, and never more than was named.

1. A subject has one value however it was spelled, so that the person who approves, the filter in
   the kernel and the test list mean the same: see ``parse_subject``.
2. Wildcards, empty texts, whole domains and addresses that stand for many are refused.
3. Subjects do not appear in reprs, errors or logs.
4. A sealed list opens to canonical JSON ``{"salt": <64 hex>, "subjects": [{"kind","value"}, …]}``
   of 1 to 64 subjects in ascending order of kind and value, no two alike. The commitment is
   SHA-256 over those bytes; the salt keeps it from being guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final
from urllib.parse import unquote

import pyrage

from guard.core import canonical
from guard.core.fields import DIGEST, Fields, require
from guard.core.reasons import Reason, Refused

MAX_SUBJECTS = 64
MAX_SEALED = 64 * 1024
MAX_TEXT = 255
SALT_BYTES = 32

# E.164: at most 15 digits with the country code; the shortest numbers in use have 7.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# RFC 3966 visual separators, and the blank that people write.
_SEPARATORS = str.maketrans("", "", "-.() ")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_USER = re.compile(r"[^\x00-\x20\x7f@:<>\"\[\]\\*?%#]+")
# RFC 3261 callid = word ["@" word], without the marks that would read as a wildcard.
_CALL_ID = re.compile(
    r"[A-Za-z0-9\-.!%_+`'~()<>:\\/\"\[\]{}]+(?:@[A-Za-z0-9\-.!%_+`'~()<>:\\/\"\[\]{}]+)?"
)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]+))?")


class SubjectKind(StrEnum):
    """What a subject is named by."""

    SIP_URI = "sip_uri"
    TELEPHONE = "telephone"
    CALL_ID = "call_id"
    PEER_ADDRESS = "peer_address"


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject in its one spelling. Made with ``parse_subject``; any other value is refused."""

    kind: SubjectKind
    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if _NORMALISE[self.kind](self.value) != self.value:
            raise _not_permitted(self.kind, "not in its one spelling")


def parse_subject(kind: SubjectKind, text: str) -> Subject:
    """Read a subject as a person writes it.

    - telephone: ``tel:``, ``+`` or ``00``, with ``( ) . -`` and blanks between digits, becomes
      ``+`` and E.164 digits. A number without its country code is refused, as is ``(0)``.
    - sip_uri: with or without ``sip:``/``sips:``, becomes ``user@host``: user percent-decoded, host
      lower-case, without port, parameters and headers, which say where and how, not who.
    - call_id: as it stands.
    - peer_address: ``ip`` or ``ip:port``; IPv6 shortened, in brackets when a port follows.

    Refuses with SUBJECT_NOT_PERMITTED.
    """
    return Subject(kind, _NORMALISE[kind](text.strip(" ")))


def _telephone(text: str) -> str:
    number = text[4:] if text[:4].lower() == "tel:" else text
    if "(0)" in number.replace(" ", ""):
        raise _not_permitted(SubjectKind.TELEPHONE, "ambiguous: leave the (0) out")
    number = number.translate(_SEPARATORS)
    if number.startswith("00"):
        number = "+" + number[2:]
    if not _E164.fullmatch(number):
        raise _not_permitted(SubjectKind.TELEPHONE, "not an E.164 number with its country code")
    return number


def _sip_uri(text: str) -> str:
    kind = SubjectKind.SIP_URI
    if len(text) > MAX_TEXT:
        raise _not_permitted(kind, "too long")
    scheme, colon, rest = text.partition(":")
    bare = rest if colon and scheme.lower() in {"sip", "sips"} else text
    user, at, where = bare.partition("@")
    # RFC 3261 allows no second "@": whoever writes one means to be read in two ways.
    if not at or "@" in where:
        raise _not_permitted(kind, "not of the form user@host")
    try:
        user = unquote(user, errors="strict")
    except UnicodeDecodeError:
        raise _not_permitted(kind, "not UTF-8") from None
    if not _USER.fullmatch(user) or not user.isprintable():
        raise _not_permitted(kind, "without a plain user")
    return f"{user}@{_host(re.split('[;?]', where, maxsplit=1)[0])}"


def _host(text: str) -> str:
    kind = SubjectKind.SIP_URI
    if match := _BRACKETED.fullmatch(text):
        address = _address(kind, match[1])
        return f"[{address}]" if ":" in address else address
    host, colon, port = text.partition(":")
    # Lower-casing would turn some letters outside ASCII into letters of another name.
    if not host.isascii() or (colon and not _PORT.fullmatch(port)):
        raise _not_permitted(kind, "without a plain host")
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if labels[-1].isdigit():
        return _address(kind, host)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise _not_permitted(kind, "without a plain host")
    return host


def _call_id(text: str) -> str:
    if len(text) > MAX_TEXT or not _CALL_ID.fullmatch(text):
        raise _not_permitted(SubjectKind.CALL_ID, "not a Call-ID")
    return text


def _peer_address(text: str) -> str:
    kind = SubjectKind.PEER_ADDRESS
    port: str | None
    if match := _BRACKETED.fullmatch(text):
        host, port = match[1], match[2]
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    address = _address(kind, host)
    if port is None:
        return address
    if not _PORT.fullmatch(port) or int(port) > 65535:  # noqa: PLR2004  the highest port
        raise _not_permitted(kind, "with a port that is none")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(kind: SubjectKind, text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # The cause would quote the subject into every traceback.
        raise _not_permitted(kind, "without a plain address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise _not_permitted(kind, "with a zone, which means another host on every node")
        # Releases of Python differ in how they write a mapped address; its IPv4 form is one.
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise _not_permitted(kind, "an address that stands for many")
    return str(address)


_NORMALISE: Final[Mapping[SubjectKind, Callable[[str], str]]] = {
    SubjectKind.SIP_URI: _sip_uri,
    SubjectKind.TELEPHONE: _telephone,
    SubjectKind.CALL_ID: _call_id,
    SubjectKind.PEER_ADDRESS: _peer_address,
}


def _not_permitted(kind: SubjectKind, what: str) -> Refused:
    return Refused(Reason.SUBJECT_NOT_PERMITTED, f"a subject of kind {kind} is {what}")


def subject_fields(subject: Subject) -> dict[str, str]:
    """Write a subject as its two fields."""
    return {"kind": subject.kind.value, "value": subject.value}


def take_subject(fields: Fields) -> Subject:
    """Take the fields ``kind`` and ``value``, which must be in its one spelling."""
    kind = fields.choice("kind", SubjectKind)
    subject = Subject(kind, fields.text("value"))
    fields.finish()
    return subject


def encode_subjects(salt: bytes, subjects: Iterable[Subject]) -> bytes:
    """Write the plaintext that is sealed (4). ``salt`` is 32 random bytes."""
    ordered = sorted(subjects, key=_order)
    require(len(salt) == SALT_BYTES, "the salt is not 32 bytes")
    require(0 < len(ordered) <= MAX_SUBJECTS, "there are no subjects or too many")
    require(len(set(ordered)) == len(ordered), "a subject is named twice")
    return canonical.encode(
        {"salt": salt.hex(), "subjects": [subject_fields(each) for each in ordered]}
    )


def parse_subjects(plaintext: bytes) -> tuple[Subject, ...]:
    """Read the plaintext (4)."""
    fields = Fields(canonical.decode(plaintext, limit=MAX_SEALED), "subjects")
    fields.text("salt", pattern=DIGEST)
    subjects = tuple(
        take_subject(each) for each in fields.objects("subjects", least=1, most=MAX_SUBJECTS)
    )
    fields.finish()
    keys = [_order(each) for each in subjects]
    require(
        all(left < right for left, right in pairwise(keys)),
        "the subjects are not in ascending order",
    )
    return subjects


def commitment(plaintext: bytes) -> str:
    """Commit to a sealed list: SHA-256 over its plaintext, in hex."""
    return hashlib.sha256(plaintext).hexdigest()


def open_subjects(
    sealed: bytes, expected: str, identities: Sequence[pyrage.x25519.Identity]
) -> tuple[Subject, ...]:
    """Unseal a list and hold it against its commitment.

    Raises ``Refused``: SUBJECTS_UNREADABLE when no identity opens it, SUBJECTS_MISMATCH when it is
    not what was committed to, SUBJECT_NOT_PERMITTED or DOCUMENT_MALFORMED for what it says.
    """
    if len(sealed) > MAX_SEALED:
        raise Refused(Reason.SUBJECTS_UNREADABLE, "the sealed subjects are too large")
    try:
        plaintext: bytes = pyrage.decrypt(sealed, list(identities))
    except pyrage.DecryptError as error:
        raise Refused(
            Reason.SUBJECTS_UNREADABLE, "the sealed subjects do not open with this key"
        ) from error
    if not hmac.compare_digest(commitment(plaintext), expected):
        raise Refused(Reason.SUBJECTS_MISMATCH, "the sealed subjects are not those committed to")
    return parse_subjects(plaintext)


def _order(subject: Subject) -> tuple[str, str]:
    return (subject.kind.value, subject.value)
