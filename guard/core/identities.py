"""Who a trust policy names: people, nodes, guards, roots; for log and witnesses see `logpolicy`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pyrage
from securesystemslib.signer import Key

from guard.core.enforcement import SentryMode
from guard.core.fields import NAME, require, require_match
from guard.core.instruments import Role
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
    """A node: certificate name, the key of its receipts, the age recipient of its subjects.

    ``sentry``: whether its sentry may stop whom it finds.
    """

    name: str
    spiffe_id: str
    key: Key = field(repr=False)
    recipient: str
    sentry: SentryMode

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


def _require_identity(name: str, spiffe_id: str) -> None:
    require_match(name, NAME, "a name")
    require_match(spiffe_id, SPIFFE, "a SPIFFE id")
