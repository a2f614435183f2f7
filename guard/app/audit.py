"""Reading the log: records, checkpoints, proofs.

1. A proof is under the newest cosigned checkpoint when that covers the record, else under the
   newest checkpoint that the log alone has signed; its reader sees which.
2. Whoever reads a record is on record first: one `records_read` for each reading, durable before
   the first record leaves. Checkpoints and consistency proofs hold no record and leave none.
3. A reading that follows shows what is added until its reader goes; its record says so.
4. A reading breaks off when something is erased meanwhile: its end lies before the record that says
   so, and records would look withheld. The next one, which goes on to that record, is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from guard.app.denial import ErasedMeanwhileError, UnknownError
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core.checkpoint import parse_checkpoint
from guard.core.fields import parse_time
from guard.core.proof import LogProof, encode_proof
from guard.core.reasons import Refused
from guard.core.record import Entry, RecordKind, encode_opening
from guard.core.trust import Principal

__all__ = ["FOLLOWERS", "Audit", "Reading"]

FOLLOWERS: Final = "log"
"""The bell that those hear who follow the log."""
_PAGE: Final = 500
_LOOK_EVERY: Final = 1.0
_LOOKED_BEYOND: Final = 10_000
_CHECKPOINTED: Final = timedelta(minutes=1)
"""Before a reading begins, its reader may have taken the checkpoint that it ends at so long ago."""
# Base64 makes it four thirds of that, and a proof has 256 KiB.
_LARGEST_OPENING: Final = 180 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Who reads which records, [start, end), and with which command; `follow` goes on from there.

    `end` None stands for the size of the log when the reading begins.
    """

    reader: Principal
    start: int
    end: int | None
    follow: bool = False
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The use cases of auditors."""

    office: Office

    async def read(self, reading: Reading) -> AsyncIterator[tuple[int, list[Entry]]]:
        """Yield pages of records, each with the index of its first (rules 2 and 3)."""
        end = await self._put_on_record(reading)
        index, beyond = reading.start, end
        since = self.office.clock.now() - _CHECKPOINTED
        with self.office.bell.listen(FOLLOWERS) as rung:
            while True:
                with self.office.ledger.reads() as view:
                    upto = view.size() if reading.follow else min(end, view.size())
                    page = view.entries(index, min(_PAGE, max(upto - index, 0)))
                    if not reading.follow:
                        beyond = _require_untouched(view, beyond, since)
                if page:
                    yield index, page
                    index += len(page)
                elif not reading.follow:
                    return
                else:
                    rung.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY):
                            await rung.wait()

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint; the cosigned one when it is as new; raises UnknownError."""
        with self.office.ledger.reads() as view:
            newest, cosigned = view.checkpoint(), view.cosigned_checkpoint()
        if newest is None:
            raise UnknownError("the log is empty")
        return cosigned if cosigned and _size(cosigned) == _size(newest) else newest

    async def inclusion(self, index: int, reader: Principal) -> bytes:
        """Return the proof of a record, which shows the record (rule 2); raises UnknownError."""
        with self.office.ledger.reads() as view:
            candidates = (view.cosigned_checkpoint(), view.checkpoint())
            checkpoint = next((each for each in candidates if each and _size(each) > index), None)
            if checkpoint is None:
                raise UnknownError("no such record")
            (entry,) = view.entries(index, 1)
        hashes = self.office.ledger.inclusion(index, _size(checkpoint))
        proof = LogProof(
            index=index, hashes=tuple(hashes), checkpoint=checkpoint, extra=_opening(entry)
        )
        await self._put_on_record(
            Reading(reader=reader, start=index, end=index + 1, purpose="log prove")
        )
        return encode_proof(proof)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of size ``new`` continues that of ``old``."""
        try:
            return self.office.ledger.consistency(old, new)
        except ValueError as error:
            raise UnknownError("the log has no such sizes") from error

    async def _put_on_record(self, reading: Reading) -> int:
        """Record a reading; return where it ends."""

        def plan(_view: Reads, index: int) -> Plan[int]:
            end = index if reading.end is None else min(reading.end, index)
            body: dict[str, Any] = {
                "by": reading.reader.name,
                "end": end,
                "following": reading.follow,
                "purpose": reading.purpose,
                "start": reading.start,
            }
            now = self.office.clock.now()
            record = self.office.record(RecordKind.RECORDS_READ, now, body)
            return Plan(result=end, records=(record,))

        return await self.office.execute(plan)


def _require_untouched(view: Reads, beyond: int, since: datetime) -> int:
    """Look from ``beyond`` on for an erasure at or after ``since`` (rule 4).

    Return where to look from the next time; raises ErasedMeanwhileError.
    """
    added = view.entries(beyond, _LOOKED_BEYOND)
    for each in added:
        if each.kind == RecordKind.RECORDS_ERASED and parse_time(each.time) >= since:
            raise ErasedMeanwhileError
    return beyond + len(added)


def _opening(entry: Entry) -> bytes:
    try:
        opening = encode_opening(entry.record())
    except Refused as refused:
        raise UnknownError(f"the record cannot be shown: {refused.detail}") from refused
    if len(opening) > _LARGEST_OPENING:
        raise UnknownError("the record is too large for one proof; verify the whole log instead")
    return opening


def _size(checkpoint: bytes) -> int:
    return parse_checkpoint(checkpoint).size
