"""The sample of entries to be examined, which neither side can steer (TKÜV section 17).

1. The auditor draws a nonce of 32 bytes and has its SHA-256 put on record, after the period is
   over. The guard does not know the nonce; the auditor does not know the salt of that record.
2. The seed is made of the nonce and of the tree's root just behind that record. Both are fixed when
   the nonce is told, and anybody can compute the root from the public tiles.
3. Entries are ranked by SHA-256 over the seed and the hash of their leaf. The first fifth, rounded
   up, is the sample. So it can be recomputed from what is public and the nonce.
4. For a period the first commitment on record counts. Whoever draws again is seen to have drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from guard.core.merkle import HASH_BYTES
from guard.core.reasons import Reason, Refused

__all__ = ["NONCE_BYTES", "commitment", "sample", "seed"]

NONCE_BYTES: Final = 32
_ONE_IN: Final = 5
_DOMAIN: Final = b"callguard-sample-v1\n"


def commitment(nonce: bytes) -> str:
    """Return what is put on record of a nonce; refuses (DOCUMENT_MALFORMED) another length."""
    if len(nonce) != NONCE_BYTES:
        raise Refused(Reason.DOCUMENT_MALFORMED, "the sample's nonce is not 32 bytes")
    return sha256(nonce).hexdigest()


def seed(root: bytes, nonce: bytes) -> bytes:
    """Return the seed: `root` is that of the tree which ends with the commitment's record."""
    if len(root) != HASH_BYTES or len(nonce) != NONCE_BYTES:
        raise Refused(Reason.DOCUMENT_MALFORMED, "the sample's root or nonce is not 32 bytes")
    return sha256(_DOMAIN + root + nonce).digest()


def sample(seed: bytes, leaves: Mapping[int, bytes]) -> tuple[int, ...]:
    """Return the indices of a fifth of these entries, ascending; `leaves` are hashes by index."""
    count = -(-len(leaves) // _ONE_IN)
    ranked = sorted(leaves, key=lambda index: (sha256(seed + leaves[index]).digest(), index))
    return tuple(sorted(ranked[:count]))
