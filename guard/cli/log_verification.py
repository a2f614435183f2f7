"""The log as the guard shows it, verified from outside with nothing but the trust policy.

1. A checkpoint counts when the log of the trust policy signed it and a quorum of its witnesses
   cosigned it, recently enough (C2SP tlog-checkpoint, tlog-cosignature).
2. It must continue the last one that this profile has seen. A log that shrank or forked is said
   loudly, and both checkpoints are kept: together they convict it.
3. The last checkpoint is remembered only after everything asked for has passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from guard.api.v1.audit_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    LogRecord,
    ReadRecordsRequest,
)
from guard.cli.connection import Connection
from guard.cli.exits import DiscrepancyError, TroubleError, auditing, checking
from guard.cli.profile import Profile, write_whole
from guard.cli.translate import moment
from guard.core.checkpoint import Checkpoint, parse_checkpoint
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.fields import format_time
from guard.core.logaudit import Head, trusted_head
from guard.core.merkle import verify_consistency
from guard.core.reasons import Refused
from guard.core.record import Entry, Record
from guard.core.trust import TrustPolicy

__all__ = [
    "PASSING",
    "Numbered",
    "Seen",
    "checked_checkpoint",
    "fetched_entries",
    "fetched_records",
    "kept_conflict",
    "remember",
]

_PATIENCE = 25  # tries, a fifth of a second apart: witnesses cosign just after the log has signed
_PAUSE = 0.2
PASSING: Final = frozenset({Discrepancy.QUORUM_MISSING.value, Discrepancy.CHECKPOINT_STALE.value})
"""What a guard is found with that has lost its witnesses for a while: it contradicts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A record with its index in the log; `record` is None when it was erased."""

    index: int
    record: Record | None
    entry: Entry = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A checkpoint that was verified, and the one seen before it, if any."""

    head: Head
    before: Checkpoint | None

    @property
    def words(self) -> str:
        """How it relates to the one before, to end a sentence with."""
        return f"; it continues the {self.before.size} records seen before" if self.before else ""


def checked_checkpoint(
    connection: Connection, profile: Profile, policy: TrustPolicy, *, now: Callable[[], datetime]
) -> Seen:
    """Fetch the newest checkpoint and verify it (rules 1 and 2); raises DiscrepancyError."""
    with auditing():
        head = _trusted(connection, policy, now)
    path = profile.state_dir / "checkpoint"
    before = parse_checkpoint(profile.public(path)) if path.exists() else None
    if before is not None:
        try:
            _require_continued(connection, before, head.checkpoint)
        except Refused as refused:
            shrank = head.size < before.size
            kind = Discrepancy.LOG_SHRUNK if shrank else Discrepancy.LOG_FORKED
            raise kept_conflict(path, head.note, kind, refused.detail) from refused
    return Seen(head=head, before=before)


def _trusted(connection: Connection, policy: TrustPolicy, now: Callable[[], datetime]) -> Head:
    for tries in range(_PATIENCE, -1, -1):
        answer = connection.call(connection.audit.GetCheckpoint, GetCheckpointRequest())
        try:
            return trusted_head(
                answer.checkpoint, policy.log, now=now(), max_age=policy.checkpoint_max_age
            )
        except Discrepant as found:
            if found.kind is not Discrepancy.QUORUM_MISSING or not tries:
                raise
        time.sleep(_PAUSE)
    raise AssertionError  # the last try returns or raises


def _require_continued(connection: Connection, before: Checkpoint, newest: Checkpoint) -> None:
    hashes: list[bytes] = []
    if 0 < before.size < newest.size:
        request = GetConsistencyProofRequest(old_size=before.size, new_size=newest.size)
        hashes = list(connection.call(connection.audit.GetConsistencyProof, request).hashes)
    verify_consistency(
        old_size=before.size,
        old_root=before.root,
        new_size=newest.size,
        new_root=newest.root,
        proof=hashes,
    )


def kept_conflict(path: Path, note: bytes, kind: Discrepancy, detail: str) -> DiscrepancyError:
    """Keep a checkpoint that contradicts the one at `path` beside it, and return what to say."""
    evidence = path.with_name(f"{path.name}.conflict")
    if not evidence.exists():
        write_whole(evidence, note)
    return DiscrepancyError(
        kind.value,
        f"THE LOG DOES NOT CONTINUE WHAT YOU SAW BEFORE ({detail}): stop trusting this guard, keep "
        f"{path} and {evidence} and show both to a witness",
    )


def remember(profile: Profile, seen: Seen) -> None:
    """Keep the checkpoint as the last one seen (rule 3), unless another command has seen more."""
    path = profile.state_dir / "checkpoint"
    if path.exists() and parse_checkpoint(profile.public(path)).size > seen.head.size:
        return
    write_whole(path, seen.head.note)


def fetched_records(
    connection: Connection, *, purpose: str, start: int = 0, end: int = 0, follow: bool = False
) -> Iterator[Numbered]:
    """Yield records in order, each held against its digest; raises TroubleError.

    `purpose` is the command that reads, which the guard puts on record; `end` 0 means all that
    there are.
    """
    entries = fetched_entries(connection, purpose=purpose, start=start, end=end, follow=follow)
    for index, entry in entries:
        with checking(f"record {index}"):
            record = None if entry.erased else entry.record()
        yield Numbered(index=index, record=record, entry=entry)


def fetched_entries(
    connection: Connection, *, purpose: str, start: int = 0, end: int = 0, follow: bool = False
) -> Iterator[tuple[int, Entry]]:
    """Yield records in order as the guard shows them, unverified; raises TroubleError."""
    request = ReadRecordsRequest(start=start, end=end, follow=follow, purpose=purpose)
    index = start
    for page in connection.stream(connection.audit.ReadRecords, request):
        for shown in page.records:
            if shown.index != index:
                raise TroubleError(f"the guard left out record {index}")
            yield index, _entry(shown)
            index += 1


def _entry(shown: LogRecord) -> Entry:
    erased = not shown.salt and not shown.body
    with checking(f"record {shown.index}"):
        time_text = format_time(moment(shown.time))
    return Entry(
        kind=shown.kind,
        time=time_text,
        digest=shown.digest,
        salt=None if erased else shown.salt,
        body=None if erased else shown.body,
    )
