"""Rule 5 of the evidence: the grant's record is in the log."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.logged import verify_logged
from guard.core.proof import encode_proof, parse_proof
from guard.core.reasons import Reason, Refused
from guard.core.record import RecordKind, encode_opening
from tests.builders.deployment import NOW, Deployment

HOME = Deployment()
GRANT = HOME.sign_grant(HOME.grant(HOME.approved()))
RECORD = HOME.record(GRANT)
INDEX = HOME.append(RECORD)
PROOF = HOME.prove(INDEX, RECORD)


def reason(proof: bytes, *, grant: bytes = GRANT, now=NOW) -> Reason:
    with pytest.raises(Refused) as caught:
        verify_logged(proof, HOME.policy, grant_envelope=grant, now=now)
    return caught.value.reason


def test_a_logged_grant_is_found():
    """A true proof gives the record of the grant."""
    assert verify_logged(PROOF, HOME.policy, grant_envelope=GRANT, now=NOW) == RECORD


@given(st.integers(0, len(PROOF) - 1), st.integers(1, 255))
def test_no_byte_of_a_proof_may_change(place, change):
    """Any altered byte, in the record, the path or the checkpoint, refuses the proof."""
    raw = bytearray(PROOF)
    raw[place] ^= change
    with pytest.raises(Refused):
        verify_logged(bytes(raw), HOME.policy, grant_envelope=GRANT, now=NOW)


def test_a_proof_for_another_grant_is_refused():
    """A record that is truly in the log, but of another grant, proves nothing for this one."""
    other = HOME.sign_grant(HOME.grant(HOME.approved()))
    assert reason(PROOF, grant=other) is Reason.LOG_PROOF_INVALID


def test_a_record_that_was_not_logged_is_refused():
    """A record made for the grant, put beside the path of another leaf, is not in the log."""
    other = HOME.sign_grant(HOME.grant(HOME.approved()))
    forged = replace(parse_proof(PROOF), extra=encode_opening(HOME.record(other)))
    assert reason(encode_proof(forged), grant=other) is Reason.LOG_PROOF_INVALID


def test_a_record_of_another_kind_is_refused():
    """A denial that names the grant's digest is no permission."""
    denied = replace(HOME.record(GRANT), kind=RecordKind.CAPTURE_DENIED)
    proof = HOME.prove(HOME.append(denied), denied)
    assert reason(proof) is Reason.LOG_PROOF_INVALID


def test_the_path_belongs_to_its_place():
    """Another index, a shorter and a longer path are refused."""
    parsed = parse_proof(PROOF)
    for changed in (
        replace(parsed, index=INDEX - 1),
        replace(parsed, hashes=parsed.hashes[:-1]),
        replace(parsed, hashes=(*parsed.hashes, b"x" * 32)),
    ):
        assert reason(encode_proof(changed)) is Reason.LOG_PROOF_INVALID


def test_the_checkpoint_must_be_trusted():
    """A proof is worth what its checkpoint is: cosigned by the quorum, and fresh."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    alone = HOME.prove(INDEX, RECORD, HOME.checkpoint(witnesses=[]))
    assert reason(alone) is Reason.WITNESS_QUORUM_MISSING
    strange = HOME.prove(INDEX, RECORD, HOME.checkpoint(witnesses=[stranger]))
    assert reason(strange) is Reason.WITNESS_QUORUM_MISSING
    late = NOW + HOME.policy.checkpoint_max_age + timedelta(seconds=1)
    assert reason(PROOF, now=late) is Reason.CHECKPOINT_STALE
    elsewhere = Deployment()
    assert reason(HOME.prove(INDEX, RECORD, elsewhere.checkpoint())) is Reason.CHECKPOINT_UNTRUSTED
