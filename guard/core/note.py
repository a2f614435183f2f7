"""Signed notes and their keys, C2SP signed-note v1.0.0.

1. A note is at most 128 KiB of UTF-8 without control characters but newline, and carries one to 64
   signatures (the specification demands room for 16).
2. The text is what stands before the last empty line, with its final newline.
3. A signature by a key that is not known is ignored. One by a known key that fails refuses the
   whole note, and a note that no known key signed is refused.
4. Type 0x01 is Ed25519 and signs notes. Types 0x04, Ed25519, and 0x06, ML-DSA-44, sign cosignatures
   (C2SP tlog-cosignature). No other type is read.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guard.core import mldsa
from guard.core.reasons import Reason, Refused

MAX_NOTE_BYTES = 128 * 1024
MAX_SIGNATURES = 64
KEY_BYTES = 32
_KEY_ID_BYTES = 4
# Surrogates stand for bytes that are not UTF-8, where a reader lets these through.
_NAME = re.compile(r"[^\s+\x00-\x20\x7f\ud800-\udfff]{1,256}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_PREFIX = "— "


class KeyType(IntEnum):
    """What a key signs; the byte is assigned by C2SP signed-note."""

    NOTE = 0x01
    COSIGNATURE = 0x04
    COSIGNATURE_MLDSA44 = 0x06

    @property
    def public_bytes(self) -> int:
        """How long a public key of this type is."""
        return mldsa.PUBLIC_BYTES if self is KeyType.COSIGNATURE_MLDSA44 else KEY_BYTES


class PublicKey(Protocol):
    """A public key of the cryptographic library."""

    def public_bytes_raw(self) -> bytes:
        """Return the key's own encoding, without any wrapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with its name: a C2SP vkey."""

    name: str
    type: KeyType
    public: bytes
    key_id: bytes

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check one signature, RFC 8032 or FIPS 204. Raises Refused(SIGNATURE_INVALID)."""
        try:
            if self.type is KeyType.COSIGNATURE_MLDSA44:
                mldsa.mldsa44_public(self.public).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as error:
            detail = f"a signature of {self.name} does not verify"
            raise Refused(Reason.SIGNATURE_INVALID, detail) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: the name, the key id (4 bytes) and what follows it."""

    name: str
    key_id: bytes
    signature: bytes = field(repr=False)

    def line(self) -> bytes:
        """Return the line as it stands in a note."""
        return f"{_PREFIX}{self.name} {encode_base64(self.key_id + self.signature)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text and its signatures, none of them verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """Return the note's bytes."""
        return self.text.encode() + b"\n" + b"".join(s.line() for s in self.signatures)

    def by(self, key: VerifierKey) -> tuple[NoteSignature, ...]:
        """Return the signatures that claim to be this key's."""
        return tuple(s for s in self.signatures if (s.name, s.key_id) == (key.name, key.key_id))


def verifier_key(name: str, key_type: KeyType, public: PublicKey) -> VerifierKey:
    """Name a public key. Raises Refused(DOCUMENT_MALFORMED) for a bad name."""
    if not _NAME.fullmatch(name):
        raise _malformed("a key name is empty, too long, or has a space or a plus in it")
    raw = public.public_bytes_raw()
    return VerifierKey(
        name=name, type=key_type, public=raw, key_id=_key_id(name, bytes([key_type]) + raw)
    )


def encode_vkey(key: VerifierKey) -> str:
    """Return the text form, `name+id+key`."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes([key.type]) + key.public)}"


def parse_vkey(text: str) -> VerifierKey:
    """Read the text form.

    Raises Refused(DOCUMENT_MALFORMED), also for an ML-DSA-44 key where the library has none.
    """
    parts = text.split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):  # noqa: PLR2004  # name, id, key
        raise _malformed("a verifier key is not of the form name+id+key")
    name, key_id, material = parts[0], parts[1], decode_base64(parts[2])
    if not material or material[0] not in set(KeyType):
        raise _malformed("a verifier key is neither a note key nor a cosignature key")
    key_type, public = KeyType(material[0]), material[1:]
    if len(public) != key_type.public_bytes:
        raise _malformed("a verifier key is too long or too short for its type")
    expected = _key_id(name, material)
    if key_id != expected.hex():
        raise _malformed("a verifier key's id does not match its key")
    if key_type is KeyType.COSIGNATURE_MLDSA44:
        mldsa.mldsa44_public(public)
    return VerifierKey(name=name, type=key_type, public=public, key_id=expected)


def parse_note(data: bytes) -> Note:
    """Take a note apart without verifying it. Raises Refused(DOCUMENT_MALFORMED)."""
    if len(data) > MAX_NOTE_BYTES:
        raise _malformed("the note is too large")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise _malformed("the note is not UTF-8") from error
    if _CONTROL.search(whole):
        raise _malformed("the note has control characters")
    head, blank, tail = whole.rpartition("\n\n")
    if not blank or not head or not tail.endswith("\n"):
        raise _malformed("the note has no text or no signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed("the note has too many signatures")
    return Note(text=head + "\n", signatures=tuple(_parse_line(line) for line in lines))


def parse_signature_lines(data: bytes) -> tuple[NoteSignature, ...]:
    """Read signature lines that stand alone. Raises Refused(DOCUMENT_MALFORMED)."""
    return parse_note(b"-\n\n" + data).signatures


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> Note:
    """Sign a text that ends in a newline."""
    named = verifier_key(name, KeyType.NOTE, key.public_key())
    line = NoteSignature(name=name, key_id=named.key_id, signature=key.sign(text.encode()))
    return Note(text=text, signatures=(line,))


def with_signatures(note: Note, lines: Iterable[NoteSignature]) -> Note:
    """Add signature lines to a note."""
    return Note(text=note.text, signatures=(*note.signatures, *lines))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> frozenset[VerifierKey]:
    """Return the note keys that signed this note; at least one, see rule 3.

    Raises Refused(SIGNATURE_INVALID).
    """
    signers = set()
    for key in keys:
        for line in note.by(key):
            key.verify(line.signature, note.text.encode())
            signers.add(key)
    if not signers:
        raise Refused(Reason.SIGNATURE_INVALID, "no known key signed the note")
    return frozenset(signers)


def encode_base64(data: bytes) -> str:
    """Return RFC 4648 section 4 text."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Read RFC 4648 section 4 text in its one canonical spelling.

    Raises Refused(DOCUMENT_MALFORMED).
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("not base64") from error
    # Unused bits in the last character would give one value several spellings.
    if encode_base64(data) != text:
        raise _malformed("not canonical base64")
    return data


def _parse_line(line: str) -> NoteSignature:
    parts = line.removeprefix(_PREFIX).split(" ")
    if not line.startswith(_PREFIX) or len(parts) != 2 or not _NAME.fullmatch(parts[0]):  # noqa: PLR2004  # name, signature
        raise _malformed("a signature line is not of the form dash, name, signature")
    data = decode_base64(parts[1])
    if len(data) <= _KEY_ID_BYTES:
        raise _malformed("a signature is too short")
    return NoteSignature(name=parts[0], key_id=data[:_KEY_ID_BYTES], signature=data[_KEY_ID_BYTES:])


def _key_id(name: str, typed_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + typed_key).digest()[:_KEY_ID_BYTES]


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, detail)
