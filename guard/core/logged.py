"""Is this grant on the record? Rule 5 of the evidence.

1. The checkpoint in the proof is signed by the policy's log, cosigned by its quorum of witnesses,
   and no older than the policy allows.
2. The record in the proof's extra data is not believed: it is hashed into the leaf, and the leaf's
   place in the tree is proven.
3. The record is `capture_granted` and names the digest of this very grant envelope.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from guard.core.checkpoint import verify_checkpoint
from guard.core.merkle import leaf_hash, verify_inclusion
from guard.core.proof import parse_proof
from guard.core.reasons import Reason, Refused
from guard.core.record import Record, RecordKind, leaf, parse_opening
from guard.core.trust import TrustPolicy


def verify_logged(
    proof: bytes, policy: TrustPolicy, *, grant_envelope: bytes, now: datetime
) -> Record:
    """Return the record of this grant, proven to be in the log.

    Raises Refused with DOCUMENT_MALFORMED, CHECKPOINT_UNTRUSTED, WITNESS_QUORUM_MISSING,
    CHECKPOINT_STALE or LOG_PROOF_INVALID.
    """
    parsed = parse_proof(proof)
    # Rule 1.
    checkpoint = verify_checkpoint(
        parsed.checkpoint,
        policy=policy.log,
        now=now,
        max_age=policy.checkpoint_max_age,
    )
    # Rule 2.
    record = parse_opening(parsed.extra)
    verify_inclusion(
        leaf_hash(leaf(record)),
        index=parsed.index,
        size=checkpoint.size,
        proof=parsed.hashes,
        root=checkpoint.root,
    )
    # Rule 3.
    if record.kind is not RecordKind.CAPTURE_GRANTED:
        raise Refused(Reason.LOG_PROOF_INVALID, "the proven record is of another kind")
    if record.body.get("grant_digest") != sha256(grant_envelope).hexdigest():
        raise Refused(Reason.LOG_PROOF_INVALID, "the proven record is of another grant")
    return record
