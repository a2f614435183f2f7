"""Who and what a trust policy names: people, nodes, guards, the log, the witnesses, the roots."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pyrage
from securesystemslib.signer import Key

from guard.core.fields import NAME, require, require_match
from guard.core.instruments import Role
from guard.core.note import KeyType, VerifierKey, parse_vkey
from guard.core.reasons import Reason, Refused
from guard.core.signingkey import SigningKey, require_distinct, require_key

# SPIFFE-ID, section 2: lower-case trust domain, path segments without "." and "..".
SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")


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
        vkey_key(self.vkey, KeyType.NOTE)

    @property
    def key(self) -> VerifierKey:
        """The log's name and public key."""
        return vkey_key(self.vkey, KeyType.NOTE)

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self.key.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """The witnesses, by their C2SP vkeys, and how many of them must have cosigned."""

    quorum: int
    vkeys: tuple[str, ...]

    def __post_init__(self) -> None:
        for vkey in self.vkeys:
            vkey_key(vkey, KeyType.COSIGNATURE)
        require(1 <= self.quorum <= len(self.vkeys), "the quorum of witnesses cannot be met")

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The witnesses' names and public keys."""
        return tuple(vkey_key(vkey, KeyType.COSIGNATURE) for vkey in self.vkeys)


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


def vkey_key(vkey: str, kind: KeyType) -> VerifierKey:
    """Read a vkey whose key is of that type (C2SP signed-note)."""
    key = parse_vkey(vkey)
    require(key.type is kind, "a vkey is of another type")
    return key


def _require_identity(name: str, spiffe_id: str) -> None:
    require_match(name, NAME, "a name")
    require_match(spiffe_id, SPIFFE, "a SPIFFE id")
