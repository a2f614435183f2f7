"""Public keys: their ids are computed, never believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey

from guard.core.fields import Fields
from guard.core.reasons import Reason
from guard.core.signingkey import (
    SigningKey,
    key_fields,
    make_key,
    public_part,
    require_distinct,
    require_key,
    signing_key_fields,
    take_key,
    take_signing_key,
)
from guard.core.window import Window
from tests.guard.core.refusals import refuses

KEY = CryptoSigner.generate_ed25519().public_key
VALID = Window(
    not_before=datetime(2026, 1, 1, tzinfo=UTC), not_after=datetime(2027, 1, 1, tzinfo=UTC)
)


def renamed(keyid: str) -> SSlibKey:
    return SSlibKey(keyid, KEY.keytype, KEY.scheme, KEY.keyval)


def test_round_trip() -> None:
    """A key reads as it was written, with the id that securesystemslib gives it."""
    assert take_key(Fields(key_fields(KEY), "key")) == KEY
    signing = SigningKey(key=KEY, valid=VALID)
    assert take_signing_key(Fields(signing_key_fields(signing), "key")) == signing
    assert make_key(public_part(KEY)) == KEY


def test_an_id_of_the_documents_choosing() -> None:
    """A key under an id that is not computed from it is refused, read or made."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        take_key(Fields(key_fields(KEY) | {"keyid": "0" * 64}, "key"))
    with refuses(Reason.DOCUMENT_MALFORMED):
        SigningKey(key=renamed("legal-1"), valid=VALID)


def test_only_ed25519() -> None:
    """A key of another scheme is refused, read or made."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        take_key(Fields(key_fields(KEY) | {"scheme": "rsassa-pss-sha256"}, "key"))
    with refuses(Reason.DOCUMENT_MALFORMED):
        require_key(CryptoSigner.generate_ecdsa().public_key)


@pytest.mark.parametrize("public", ["", "ab", "A" * 64, "g" * 64, "0" * 63, "0" * 66])
def test_other_spellings(public: str) -> None:
    """A public part that is not 64 lower-case hex digits is refused: one key has one spelling."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        make_key(public)


def test_keys_count_by_their_public_part() -> None:
    """One key under two ids is one key."""
    require_distinct([KEY, CryptoSigner.generate_ed25519().public_key], "these")
    with refuses(Reason.DOCUMENT_MALFORMED):
        require_distinct([KEY, renamed("another")], "these")


def test_not_in_the_repr() -> None:
    """A key does not show in the repr of what holds it."""
    assert public_part(KEY) not in repr(SigningKey(key=KEY, valid=VALID))
