"""What a node needs in order to decide for itself, offline."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The authority's envelope, the grant's envelope, and the proof that the grant is on record.

    The proof is a ``c2sp.org/tlog-proof@v1``. Bytes as received; nothing in here is verified yet.
    """

    authority: bytes = field(repr=False)
    grant: bytes = field(repr=False)
    proof: bytes = field(repr=False)
