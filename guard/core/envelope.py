"""DSSE envelopes (secure-systems-lab/dsse, version 1.0.2): what every document travels in.

1. The bytes signed are the bytes parsed: signatures cover the payload and its type.
2. An envelope has one spelling: canonical JSON, signatures in the order of their key ids, no key
   id twice, base64 in its canonical form. Its digest therefore names it.
3. Every signature on it must be by a known key and must verify. One bad signature refuses the
   whole, so that nobody can hang an unverified name beside verified ones.
4. At most 256 KiB and 16 signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from securesystemslib import dsse
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signer
from securesystemslib.signer import Signature as KeySignature

from guard.core import canonical
from guard.core.fields import DIGEST, Fields, encode_base64, require
from guard.core.reasons import Reason, Refused

MAX_ENVELOPE = 256 * 1024
MAX_SIGNATURES = 16
_ED25519_SIGNATURE = 64


class Kind(StrEnum):
    """What a document is. The kind is signed with it."""

    AUTHORITY = "authority"
    GRANT = "grant"
    TRUST_POLICY = "trust-policy"
    RECEIPT = "receipt"
    INCIDENT = "incident"
    CERTIFICATE = "certificate"
    FILING = "filing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature: the id of the key (64 hex digits) and the 64 bytes of Ed25519."""

    keyid: str
    sig: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload, its kind and its signatures in the order of their key ids."""

    payload: bytes = field(repr=False)
    kind: Kind
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        keyids = [signature.keyid for signature in self.signatures]
        require(len(keyids) <= MAX_SIGNATURES, "the envelope has too many signatures")
        require(keyids == sorted(keyids), "the envelope's signatures are not in order")
        require(len(set(keyids)) == len(keyids), "the envelope has two signatures of one key")


def payload_type(kind: Kind) -> str:
    """Name the kind as DSSE's payloadType."""
    return f"application/vnd.callguard.{kind}.v1+json"


def parse(data: bytes, kind: Kind) -> Envelope:
    """Read an envelope of the expected kind; its signatures are not verified yet."""
    fields = Fields(canonical.decode(data, limit=MAX_ENVELOPE), "envelope")
    payload = fields.binary("payload", longest=MAX_ENVELOPE)
    require(fields.text("payloadType") == payload_type(kind), f"the envelope is not of a {kind}")
    signatures = tuple(
        _parse_signature(each)
        for each in fields.objects("signatures", least=0, most=MAX_SIGNATURES)
    )
    fields.finish()
    return Envelope(payload=payload, kind=kind, signatures=signatures)


def _parse_signature(fields: Fields) -> Signature:
    keyid = fields.text("keyid", pattern=DIGEST)
    sig = fields.binary("sig", longest=_ED25519_SIGNATURE)
    fields.finish()
    return Signature(keyid=keyid, sig=sig)


def encode(envelope: Envelope) -> bytes:
    """Write the envelope in its one spelling."""
    return canonical.encode(
        {
            "payload": encode_base64(envelope.payload),
            "payloadType": payload_type(envelope.kind),
            "signatures": [
                {"keyid": each.keyid, "sig": encode_base64(each.sig)}
                for each in envelope.signatures
            ],
        }
    )


def digest(data: bytes) -> str:
    """Name encoded bytes by their SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


def pae(envelope: Envelope) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    return dsse.Envelope(envelope.payload, payload_type(envelope.kind), {}).pae()


def sign(payload: bytes, kind: Kind, signer: Signer) -> Envelope:
    """Make an envelope with one signature."""
    return add_signature(Envelope(payload=payload, kind=kind, signatures=()), signer)


def add_signature(envelope: Envelope, signer: Signer) -> Envelope:
    """Sign the envelope beside those who signed before."""
    made = signer.sign(pae(envelope))
    return with_signature(envelope, Signature(keyid=made.keyid, sig=bytes.fromhex(made.signature)))


def with_signature(envelope: Envelope, signature: Signature) -> Envelope:
    """Put a signature into its place. A second one of the same key is SIGNER_NOT_DISTINCT."""
    if any(each.keyid == signature.keyid for each in envelope.signatures):
        raise Refused(Reason.SIGNER_NOT_DISTINCT, "this key has signed already")
    signatures = sorted((*envelope.signatures, signature), key=lambda each: each.keyid)
    return replace(envelope, signatures=tuple(signatures))


def verified_keyids(envelope: Envelope, keys: Mapping[str, Key]) -> frozenset[str]:
    """Return the ids of the keys that signed, once every signature has verified (3).

    Raises ``Refused`` (SIGNATURE_INVALID) for a signature by a key not in ``keys`` and for one
    that does not verify.
    """
    signed = pae(envelope)
    for signature in envelope.signatures:
        key = keys.get(signature.keyid)
        if key is None:
            raise Refused(Reason.SIGNATURE_INVALID, "a signature is by a key that may not sign it")
        try:
            key.verify_signature(KeySignature(signature.keyid, signature.sig.hex()), signed)
        except UnverifiedSignatureError as error:
            raise Refused(Reason.SIGNATURE_INVALID, "a signature does not verify") from error
    return frozenset(each.keyid for each in envelope.signatures)
