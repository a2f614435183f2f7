"""ML-DSA-44 cosignatures, and a library that has none."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.checkpoint import (
    Checkpoint,
    cosign,
    cosigner_key,
    sign_checkpoint,
    verify_cosignature,
)
from guard.core.cosigned import subtree_message
from guard.core.note import (
    KeyType,
    NoteSignature,
    encode_base64,
    encode_vkey,
    parse_note,
    parse_vkey,
    verifier_key,
    with_signatures,
)
from guard.core.reasons import Reason, Refused

mldsa = pytest.importorskip(
    "cryptography.hazmat.primitives.asymmetric.mldsa",
    reason="NOT RUN: this installation of the library cryptography has no ML-DSA-44",
)

ORIGIN = "guard.example/log"
NAME = "witness.example/w1"
NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
LOG = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
KEY = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x02" * 32)
OTHER = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32)
WITNESS = cosigner_key(NAME, KEY)
HEAD = Checkpoint(origin=ORIGIN, size=7, root=b"\x05" * 32)
NOTE = parse_note(sign_checkpoint(HEAD, ORIGIN, LOG))
LINE = cosign(NOTE, NAME, KEY, NOW)


def refused(note, line, key) -> Reason:
    with pytest.raises(Refused) as caught:
        verify_cosignature(note, line, key)
    return caught.value.reason


def test_a_key_is_read_as_written():
    """A vkey of type 6 holds 1312 bytes and names its own id."""
    vkey = encode_vkey(WITNESS)
    assert parse_vkey(vkey) == WITNESS
    assert (WITNESS.type, len(WITNESS.public)) == (KeyType.COSIGNATURE_MLDSA44, 1312)
    assert vkey.split("+", 2)[2].startswith("B")


def test_a_cosignature_verifies_and_tells_its_time():
    """At whole seconds, and it is 8 + 2420 bytes long."""
    assert verify_cosignature(NOTE, LINE, WITNESS) == NOW
    assert len(LINE.signature) == 8 + 2420
    assert with_signatures(NOTE, [LINE]).by(WITNESS) == (LINE,)


def test_it_signs_the_cosigners_name():
    """Unlike an Ed25519 cosignature it is of no use to another name with the same key."""
    alias = cosigner_key("alias.example", KEY)
    moved = NoteSignature(name=alias.name, key_id=alias.key_id, signature=LINE.signature)
    assert refused(NOTE, moved, alias) is Reason.CHECKPOINT_UNTRUSTED


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint(origin="other.example/log", size=7, root=b"\x05" * 32),
        Checkpoint(origin=ORIGIN, size=8, root=b"\x05" * 32),
        Checkpoint(origin=ORIGIN, size=7, root=b"\x06" * 32),
    ],
)
def test_it_is_for_one_tree_head(head):
    """Another origin, size or root is another statement."""
    note = parse_note(sign_checkpoint(head, head.origin, LOG))
    assert refused(note, LINE, WITNESS) is Reason.CHECKPOINT_UNTRUSTED


@given(st.integers(0, len(LINE.signature) - 1), st.integers(1, 255))
def test_any_altered_byte_is_refused(place, change):
    """Neither time nor signature can be changed."""
    raw = bytearray(LINE.signature)
    raw[place] ^= change
    line = NoteSignature(name=NAME, key_id=WITNESS.key_id, signature=bytes(raw))
    assert refused(NOTE, line, WITNESS) is Reason.CHECKPOINT_UNTRUSTED


@pytest.mark.parametrize("length", [0, 7, 8, 72, 2427])
def test_a_cut_signature_is_refused(length):
    """Too short is refused like any other that does not verify."""
    line = NoteSignature(name=NAME, key_id=WITNESS.key_id, signature=LINE.signature[:length])
    assert refused(NOTE, line, WITNESS) is Reason.CHECKPOINT_UNTRUSTED


def test_no_key_stands_in_for_another():
    """Neither another ML-DSA-44 key nor an Ed25519 key verifies it, nor it theirs."""
    ed25519 = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
    classical = cosigner_key(NAME, ed25519)
    assert classical.type is KeyType.COSIGNATURE
    assert refused(NOTE, LINE, cosigner_key(NAME, OTHER)) is Reason.CHECKPOINT_UNTRUSTED
    assert refused(NOTE, LINE, classical) is Reason.CHECKPOINT_UNTRUSTED
    assert refused(NOTE, cosign(NOTE, NAME, ed25519, NOW), WITNESS) is Reason.CHECKPOINT_UNTRUSTED


def test_a_time_beyond_all_calendars_is_refused():
    """A true signature of an impossible time is refused, not a crash."""
    for seconds in (2**63 - 1, 2**64 - 1):
        message = subtree_message(
            cosigner=NAME, seconds=seconds, origin=ORIGIN, start=0, end=7, root=HEAD.root
        )
        signature = seconds.to_bytes(8) + KEY.sign(message)
        line = NoteSignature(name=NAME, key_id=WITNESS.key_id, signature=signature)
        assert refused(NOTE, line, WITNESS) is Reason.CHECKPOINT_UNTRUSTED


def test_names_have_their_room():
    """The structure holds 255 bytes of a name, counted as UTF-8."""
    for name in ("", "n" * 256, "ñ" * 128):
        with pytest.raises(Refused) as caught:
            subtree_message(cosigner=name, seconds=0, origin=ORIGIN, start=0, end=7, root=HEAD.root)
        assert caught.value.reason is Reason.DOCUMENT_MALFORMED
    with pytest.raises(Refused):
        cosign(NOTE, "n" * 256, KEY, NOW)
    assert verify_cosignature(NOTE, cosign(NOTE, "n" * 255, KEY, NOW), cosigner_key("n" * 255, KEY))


def test_keys_of_a_wrong_length_are_refused():
    """Neither kind of key passes as the other's type."""
    ed25519 = LOG.public_key().public_bytes_raw()
    for kind, public in (
        (KeyType.COSIGNATURE_MLDSA44, ed25519),
        (KeyType.COSIGNATURE_MLDSA44, WITNESS.public[:-1]),
        (KeyType.COSIGNATURE, WITNESS.public),
        (KeyType.NOTE, WITNESS.public),
    ):
        named = verifier_key(NAME, kind, Raw(public))
        text = f"{NAME}+{named.key_id.hex()}+{encode_base64(bytes([kind]) + public)}"
        with pytest.raises(Refused) as caught:
            parse_vkey(text)
        assert caught.value.reason is Reason.DOCUMENT_MALFORMED


class Raw:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def public_bytes_raw(self) -> bytes:
        return self.data


WITHOUT = """
import sys
sys.modules["cryptography.hazmat.primitives.asymmetric.mldsa"] = None
from guard.core.note import parse_vkey
from guard.core.reasons import Refused
print(parse_vkey(sys.argv[1]).name)
try:
    parse_vkey(sys.argv[2])
except Refused as refusal:
    print(refusal)
"""


def test_a_library_without_it_still_serves_the_others():
    """Where the module cannot be imported an Ed25519 key is read, and this one refused by name."""
    classical = encode_vkey(cosigner_key(NAME, LOG))
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, classical, encode_vkey(WITNESS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    name, refusal = run.stdout.splitlines()
    assert name == NAME
    assert refusal.startswith("document_malformed: ")
    assert "ML-DSA-44" in refusal
