"""Envelopes: one spelling, and every signature on them verified."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse as reference
from securesystemslib.signer import CryptoSigner

from guard.core import canonical
from guard.core.envelope import (
    MAX_SIGNATURES,
    Envelope,
    Kind,
    Signature,
    add_signature,
    digest,
    encode,
    pae,
    parse,
    payload_type,
    sign,
    verified_keyids,
    with_signature,
)
from guard.core.reasons import Reason
from tests.guard.core.refusals import refuses

SIGNERS = [CryptoSigner.generate_ed25519() for _ in range(3)]
KEYS = {signer.public_key.keyid: signer.public_key for signer in SIGNERS}
PAYLOAD = b'{"a":1}'


def signed(count: int = 2) -> Envelope:
    envelope = Envelope(payload=PAYLOAD, kind=Kind.GRANT, signatures=())
    for signer in SIGNERS[:count]:
        envelope = add_signature(envelope, signer)
    return envelope


@given(st.binary(max_size=100), st.sampled_from(Kind), st.integers(0, 3))
def test_round_trip(payload: bytes, kind: Kind, count: int) -> None:
    """An envelope reads as it was written, and every signer on it is verified."""
    envelope = Envelope(payload=payload, kind=kind, signatures=())
    for signer in SIGNERS[:count]:
        envelope = add_signature(envelope, signer)
    data = encode(envelope)
    assert parse(data, kind) == envelope
    assert encode(parse(data, kind)) == data
    signers = {signer.public_key.keyid for signer in SIGNERS[:count]}
    assert verified_keyids(envelope, KEYS) == signers


def test_others_can_verify() -> None:
    """Another reader of DSSE envelopes verifies ours: the format is DSSE as written."""
    theirs = reference.Envelope.from_dict(json.loads(encode(signed())))
    assert len(theirs.verify([signer.public_key for signer in SIGNERS[:2]], 2)) == 2


def test_what_is_signed() -> None:
    """The bytes signed are DSSE's pre-authentication encoding of type and payload."""
    kind = payload_type(Kind.GRANT)
    assert kind == "application/vnd.callguard.grant.v1+json"
    assert pae(signed()) == b"DSSEv1 39 " + kind.encode() + b" 7 " + PAYLOAD


def test_the_digest_is_sha_256() -> None:
    """The digest names bytes by SHA-256, in hex."""
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_signature_of_another_kind() -> None:
    """A signature does not verify on the same payload under another kind."""
    with refuses(Reason.SIGNATURE_INVALID):
        verified_keyids(replace(signed(), kind=Kind.RECEIPT), KEYS)


def test_a_signature_of_another_payload() -> None:
    """A signature does not verify on another payload."""
    with refuses(Reason.SIGNATURE_INVALID):
        verified_keyids(replace(signed(), payload=b'{"a":2}'), KEYS)


def test_an_unknown_key() -> None:
    """A good signature by a key that is not known refuses the whole envelope."""
    with refuses(Reason.SIGNATURE_INVALID):
        verified_keyids(signed(), {SIGNERS[0].public_key.keyid: SIGNERS[0].public_key})


@given(st.integers(0, 1), st.integers(0, 511))
def test_one_bit_of_a_signature(which: int, bit: int) -> None:
    """One bit changed in one of two signatures refuses the whole envelope."""
    envelope = signed()
    chosen = envelope.signatures[which]
    sig = bytearray(chosen.sig)
    sig[bit // 8] ^= 1 << bit % 8
    signatures = list(envelope.signatures)
    signatures[which] = replace(chosen, sig=bytes(sig))
    with refuses(Reason.SIGNATURE_INVALID):
        verified_keyids(replace(envelope, signatures=tuple(signatures)), KEYS)


def test_a_key_signs_once() -> None:
    """A second signature by the same key is refused before it is there."""
    with refuses(Reason.SIGNER_NOT_DISTINCT):
        add_signature(signed(), SIGNERS[0])


def test_the_order_does_not_depend_on_who_came_first() -> None:
    """Two people signing in either order give the same bytes."""
    one = add_signature(sign(PAYLOAD, Kind.GRANT, SIGNERS[0]), SIGNERS[1])
    other = add_signature(sign(PAYLOAD, Kind.GRANT, SIGNERS[1]), SIGNERS[0])
    assert encode(one) == encode(other)


def test_at_most_sixteen_signatures() -> None:
    """A seventeenth signature is refused."""
    envelope = Envelope(payload=PAYLOAD, kind=Kind.GRANT, signatures=())
    for number in range(MAX_SIGNATURES):
        envelope = with_signature(envelope, Signature(keyid=f"{number:064x}", sig=b"x" * 64))
    assert parse(encode(envelope), Kind.GRANT) == envelope
    with refuses(Reason.DOCUMENT_MALFORMED):
        with_signature(envelope, Signature(keyid="f" * 64, sig=b"x" * 64))


def changed(**changes: Any) -> bytes:
    return canonical.encode(json.loads(encode(signed())) | changes)


def signatures() -> list[dict[str, str]]:
    return json.loads(encode(signed()))["signatures"]


@pytest.mark.parametrize(
    "data",
    [
        changed(more=1),
        changed(payload=5),
        changed(payload="AB=="),
        changed(payload="!"),
        changed(payloadType="application/vnd.callguard.authority.v1+json"),
        changed(payloadType=""),
        changed(signatures=None),
        changed(signatures={}),
        changed(signatures=signatures()[::-1]),
        changed(signatures=signatures() * 2),
        changed(signatures=[signatures()[0]] * 2),
        changed(signatures=[signatures()[0] | {"more": 1}]),
        changed(signatures=[{"keyid": "ab", "sig": "AAAA"}]),
        changed(signatures=[signatures()[0] | {"keyid": "A" * 64}]),
        changed(signatures=[signatures()[0] | {"sig": base64.b64encode(b"x" * 65).decode()}]),
        changed(payload=base64.b64encode(b"x" * 262_144).decode()),
        canonical.encode({"payload": "", "payloadType": payload_type(Kind.GRANT)}),
        canonical.encode({}),
        b"",
    ],
    ids=range(19),
)
def test_what_is_no_envelope(data: bytes) -> None:
    """An envelope that breaks one rule of its form is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse(data, Kind.GRANT)


def test_a_short_signature() -> None:
    """A signature that is too short is read and does not verify."""
    short = Signature(keyid=SIGNERS[0].public_key.keyid, sig=b"")
    envelope = Envelope(payload=PAYLOAD, kind=Kind.GRANT, signatures=(short,))
    with refuses(Reason.SIGNATURE_INVALID):
        verified_keyids(parse(encode(envelope), Kind.GRANT), KEYS)
