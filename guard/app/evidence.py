"""Assembling what a node needs to verify a grant offline.

1. The proof is under the newest checkpoint that a quorum of the policy's witnesses has cosigned and
   that covers the grant's record. While there is none the grant waits; it does not fail.
2. A checkpoint is not handed out in the last quarter of the age that nodes accept: it would arrive
   stale. The cosigner has asked for a newer one by then.
3. What is checked here saves nodes a refusal. It is no substitute for their own check.
"""

from __future__ import annotations

from datetime import datetime

from guard.app.changes import CaptureRow
from guard.app.office import Office
from guard.app.ports import Reads
from guard.core.checkpoint import TrustedCheckpoint, verify_checkpoint
from guard.core.evidence import Evidence
from guard.core.proof import LogProof, encode_proof
from guard.core.reasons import Refused
from guard.core.record import encode_opening

__all__ = ["EvidenceDesk"]


class EvidenceDesk:
    """Makes evidence; remembers which checkpoint it has verified last."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._verified: tuple[bytes, int, TrustedCheckpoint] | None = None

    def assemble(self, view: Reads, row: CaptureRow, now: datetime) -> Evidence | None:
        """Return the evidence of a grant, or None while no checkpoint serves (rule 1)."""
        authority = view.authority(row.authority_id)
        checkpoint = view.cosigned_checkpoint()
        if authority is None or checkpoint is None:
            return None
        trusted = self._trusted(checkpoint, now)
        if trusted is None or trusted.size <= row.evidence_index:
            return None
        (entry,) = view.entries(row.evidence_index, 1)
        hashes = self._office.ledger.inclusion(row.evidence_index, trusted.size)
        proof = LogProof(
            index=row.evidence_index,
            hashes=tuple(hashes),
            checkpoint=checkpoint,
            extra=encode_opening(entry.record()),
        )
        return Evidence(authority=authority.envelope, grant=row.grant, proof=encode_proof(proof))

    def _trusted(self, checkpoint: bytes, now: datetime) -> TrustedCheckpoint | None:
        policy = self._office.policy
        longest = policy.checkpoint_max_age * 3 / 4
        known = self._verified
        if known and known[:2] == (checkpoint, policy.version):
            return known[2] if now - known[2].cosigned_at <= longest else None
        try:
            trusted = verify_checkpoint(
                checkpoint,
                policy=policy.log,
                now=now,
                max_age=longest,
            )
        except Refused:
            return None
        self._verified = (checkpoint, policy.version, trusted)
        return trusted
