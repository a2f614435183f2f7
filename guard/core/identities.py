"""Who and what a trust policy names: people, nodes, guards, the log, the witnesses, the roots."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

import pyrage
from securesystemslib.signer import Key

from guard.core.fields import NAME, require, require_match, require_text
from guard.core.instruments import Role
from guard.core.reasons import Reason, Refused
from guard.core.signingkey import SigningKey, require_distinct, require_key

# SPIFFE-ID, section 2: lower-case trust domain, path segments without "." and "..".
SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")
# C2SP signed-note: name "+" 8 hex digits of key id "+" base64 of type and key.
_VKEY = re.compile(r"([^+\s]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{1,200})")
_ED25519_NOTE = 0x01
_ED25519_COSIGNATURE = 0x04
_VKEY_BYTES = 33


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A person or service: certificate name, roles, signing keys and age recipient."""

    name: str
    spiffe_id: str
    roles: frozenset[Role]
    signing_keys: tuple[SigningKey, ...]
    recipient: str

    def __post_init__(self) -> None:
        _require_identity(self.name, self.spiffe_id)
        require(bool(self.roles), "a principal has no role")
        require(bool(self.signing_keys), "a principal has no signing key")
        require_recipient(self.recipient)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A node: certificate name, the key of its receipts, the age recipient of its subjects."""

    name: str
    spiffe_id: str
    key: Key = field(repr=False)
    recipient: str

    def __post_init__(self) -> None:
        _require_identity(self.name, self.spiffe_id)
        require_key(self.key)
        require_recipient(self.recipient)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardIdentity:
    """A guard: certificate name and the key of its grants."""

    name: str
    spiffe_id: str
    key: Key = field(repr=False)

    def __post_init__(self) -> None:
        _require_identity(self.name, self.spiffe_id)
        require_key(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """The log, by its C2SP vkey; the vkey's name is the log's origin."""

    vkey: str

    def __post_init__(self) -> None:
        vkey_key(self.vkey, _ED25519_NOTE)

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return vkey_name(self.vkey)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """The witnesses, by their C2SP vkeys, and how many of them must have cosigned."""

    quorum: int
    vkeys: tuple[str, ...]

    def __post_init__(self) -> None:
        for vkey in self.vkeys:
            vkey_key(vkey, _ED25519_COSIGNATURE)
        require(1 <= self.quorum <= len(self.vkeys), "the quorum of witnesses cannot be met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The root holders' keys and how many of them must sign."""

    threshold: int
    keys: tuple[Key, ...] = field(repr=False)

    def __post_init__(self) -> None:
        for key in self.keys:
            require_key(key)
        require_distinct(self.keys, "the roots")
        require(1 <= self.threshold <= len(self.keys), "the threshold of roots cannot be met")


def require_recipient(recipient: str) -> None:
    """Refuse (RECIPIENT_NOT_PERMITTED) what is not an age X25519 recipient in its one spelling."""
    try:
        # Bech32 has an upper-case spelling too; one key must not look like two.
        if recipient.isascii() and str(pyrage.x25519.Recipient.from_str(recipient)) == recipient:
            return
    except pyrage.RecipientError as error:
        raise Refused(
            Reason.RECIPIENT_NOT_PERMITTED, "a recipient is not an age recipient"
        ) from error
    raise Refused(Reason.RECIPIENT_NOT_PERMITTED, "a recipient is not in its one spelling")


def vkey_name(vkey: str) -> str:
    """Return the name inside a vkey."""
    return vkey.partition("+")[0]


def vkey_key(vkey: str, kind: int) -> bytes:
    """Return the Ed25519 public key inside a vkey of that signature type (C2SP signed-note)."""
    match = _VKEY.fullmatch(require_text(vkey, "a vkey"))
    if match is None:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a vkey is not well formed")
    name, stated, text = match.groups()
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a vkey is not well formed") from error
    require(base64.b64encode(data).decode() == text, "a vkey is not in its one spelling")
    require(len(data) == _VKEY_BYTES and data[0] == kind, "a vkey is of another type")
    computed = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex()
    require(computed == stated, "a vkey's id is not that of the key")
    return data[1:]


def witness_key(vkey: str) -> bytes:
    """Return the public key of a witness."""
    return vkey_key(vkey, _ED25519_COSIGNATURE)


def log_key(vkey: str) -> bytes:
    """Return the public key of a log."""
    return vkey_key(vkey, _ED25519_NOTE)


def _require_identity(name: str, spiffe_id: str) -> None:
    require_match(name, NAME, "a name")
    require_match(spiffe_id, SPIFFE, "a SPIFFE id")
