"""Reading the log: records, checkpoints, proofs.

1. A proof is under the newest cosigned checkpoint when that covers the record, else under the
   newest checkpoint that the log alone has signed; its reader sees which.
2. Reading decides nothing and leaves no record.
"""

from __future__ import annotations

from dataclasses import dataclass

from guard.app.denial import UnknownError
from guard.app.office import Office
from guard.core.checkpoint import parse_checkpoint
from guard.core.proof import LogProof, encode_proof
from guard.core.record import Record, encode_opening

__all__ = ["Audit"]


@dataclass(frozen=True, slots=True)
class Audit:
    """The use cases of auditors."""

    office: Office

    def records(self, start: int, limit: int) -> tuple[list[Record], int]:
        """Return records from an index on, and how many the log holds."""
        with self.office.ledger.reads() as view:
            return view.entries(start, limit), view.size()

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint; the cosigned one when it is as new; raises UnknownError."""
        with self.office.ledger.reads() as view:
            newest, cosigned = view.checkpoint(), view.cosigned_checkpoint()
        if newest is None:
            raise UnknownError("the log is empty")
        return cosigned if cosigned and _size(cosigned) == _size(newest) else newest

    def inclusion(self, index: int) -> bytes:
        """Return the proof of a record; raises UnknownError."""
        with self.office.ledger.reads() as view:
            candidates = (view.cosigned_checkpoint(), view.checkpoint())
            checkpoint = next((each for each in candidates if each and _size(each) > index), None)
            if checkpoint is None:
                raise UnknownError("no such record")
            (record,) = view.entries(index, 1)
        hashes = self.office.ledger.inclusion(index, _size(checkpoint))
        return encode_proof(
            LogProof(
                index=index,
                hashes=tuple(hashes),
                checkpoint=checkpoint,
                extra=encode_opening(record),
            )
        )

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of size ``new`` continues that of ``old``."""
        try:
            return self.office.ledger.consistency(old, new)
        except ValueError as error:
            raise UnknownError("the log has no such sizes") from error


def _size(checkpoint: bytes) -> int:
    return parse_checkpoint(checkpoint).size
