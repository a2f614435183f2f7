"""Public signing keys as documents carry them.

1. Ed25519 only, as securesystemslib's ``SSlibKey``. Other schemes can follow here and nowhere else.
2. A key's id is computed from the key. A document also states it, for people; a statement that
   differs from the computation refuses, because an id of the document's choosing could give one
   key two names, or two keys one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key, SSlibKey

from guard.core.fields import DIGEST, Fields, require, require_match
from guard.core.reasons import Reason, Refused
from guard.core.window import Window, take_window, window_fields

_SCHEME = "ed25519"
_PUBLIC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A person's key and the window in which signatures made with it count."""

    key: Key = field(repr=False)
    valid: Window

    def __post_init__(self) -> None:
        require_key(self.key)


def make_key(public: str) -> Key:
    """Make a key from the 64 lower-case hex digits of its public part."""
    require_match(public, _PUBLIC, "a public key")
    try:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a public key is none") from error


def public_part(key: Key) -> str:
    """Return the public part in hex: what two keys must not share."""
    return str(key.keyval["public"])


def require_key(key: Key) -> None:
    """Refuse a key that is not Ed25519 or whose id is not the computed one (2)."""
    require((key.keytype, key.scheme) == (_SCHEME, _SCHEME), "a key is not Ed25519")
    require(make_key(public_part(key)) == key, "a key's id is not that of the key")


def key_fields(key: Key) -> dict[str, str]:
    """Write a key as its fields."""
    require_key(key)
    return {"keyid": key.keyid, "public": public_part(key), "scheme": _SCHEME}


def take_key(fields: Fields) -> Key:
    """Take a key's fields."""
    keyid = fields.text("keyid", pattern=DIGEST)
    require(fields.text("scheme") == _SCHEME, "a key is not Ed25519")
    key = make_key(fields.text("public", pattern=_PUBLIC))
    require(key.keyid == keyid, "a key's id is not that of the key")
    return key


def signing_key_fields(signing: SigningKey) -> dict[str, str]:
    """Write a person's key with its window."""
    return key_fields(signing.key) | window_fields(signing.valid)


def take_signing_key(fields: Fields) -> SigningKey:
    """Take a person's key with its window."""
    signing = SigningKey(key=take_key(fields), valid=take_window(fields))
    fields.finish()
    return signing


def require_distinct(keys: Iterable[Key], what: str) -> None:
    """Refuse one key named twice."""
    publics = [public_part(key) for key in keys]
    require(len(set(publics)) == len(publics), f"{what} name a key twice")
