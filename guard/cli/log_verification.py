"""Verifying the log from outside, with nothing but the trust policy.

1. A checkpoint counts when the log of the trust policy signed it and a quorum of its witnesses
   cosigned it, recently enough (C2SP tlog-checkpoint, tlog-cosignature).
2. It must continue the last one that this profile has seen. A log that shrank or forked is said
   loudly, and both checkpoints are kept: together they convict it.
3. `recomputed` builds the tree from the records themselves and compares roots: one record added,
   left out, changed or moved gives another root.
4. The last checkpoint is remembered only after everything asked for has passed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from guard.api.v1.audit_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    LogRecord,
    ReadRecordsRequest,
)
from guard.cli.connection import Connection
from guard.cli.exits import TroubleError, checking
from guard.cli.profile import Profile, write_whole
from guard.cli.translate import moment
from guard.core.checkpoint import (
    Checkpoint,
    TrustedCheckpoint,
    parse_checkpoint,
    verify_checkpoint,
)
from guard.core.fields import format_time
from guard.core.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from guard.core.proof import parse_proof
from guard.core.reasons import Reason, Refused
from guard.core.record import Entry, Record, entry_of, parse_opening
from guard.core.trust import TrustPolicy

__all__ = [
    "Numbered",
    "Seen",
    "checked_checkpoint",
    "fetched_records",
    "recomputed",
    "remember",
    "verify_proof",
]

_PATIENCE = 25  # tries, a fifth of a second apart: witnesses cosign just after the log has signed
_PAUSE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A record with its index in the log; `record` is None when it was erased."""

    index: int
    record: Record | None
    entry: Entry = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A checkpoint that was verified, and the one seen before it, if any."""

    trusted: TrustedCheckpoint
    note: bytes
    before: Checkpoint | None

    @property
    def words(self) -> str:
        """How it relates to the one before."""
        return f", and continues the {self.before.size} records seen before" if self.before else ""


def checked_checkpoint(
    connection: Connection, profile: Profile, policy: TrustPolicy, *, now: Callable[[], datetime]
) -> Seen:
    """Fetch the newest checkpoint and verify it (rules 1 and 2); raises TroubleError."""
    note, trusted = _trusted(connection, policy, now)
    path = profile.state_dir / "checkpoint"
    before = parse_checkpoint(profile.public(path)) if path.exists() else None
    if before is not None:
        try:
            _require_continued(connection, before, trusted)
        except Refused as refused:
            raise _forked(profile, note, refused) from refused
    return Seen(trusted=trusted, note=note, before=before)


def _trusted(
    connection: Connection, policy: TrustPolicy, now: Callable[[], datetime]
) -> tuple[bytes, TrustedCheckpoint]:
    for _ in range(_PATIENCE):
        answer = connection.call(connection.audit.GetCheckpoint, GetCheckpointRequest())
        try:
            return answer.checkpoint, _verified(answer.checkpoint, policy, now())
        except Refused as refused:
            if refused.reason is not Reason.WITNESS_QUORUM_MISSING:
                break
        time.sleep(_PAUSE)
    with checking("the checkpoint"):
        return answer.checkpoint, _verified(answer.checkpoint, policy, now())


def _verified(note: bytes, policy: TrustPolicy, now: datetime) -> TrustedCheckpoint:
    return verify_checkpoint(
        note,
        policy=policy.log,
        now=now,
        max_age=policy.checkpoint_max_age,
    )


def _require_continued(
    connection: Connection, before: Checkpoint, trusted: TrustedCheckpoint
) -> None:
    hashes: list[bytes] = []
    if 0 < before.size < trusted.size:
        request = GetConsistencyProofRequest(old_size=before.size, new_size=trusted.size)
        hashes = list(connection.call(connection.audit.GetConsistencyProof, request).hashes)
    verify_consistency(
        old_size=before.size,
        old_root=before.root,
        new_size=trusted.size,
        new_root=trusted.root,
        proof=hashes,
    )


def _forked(profile: Profile, note: bytes, refused: Refused) -> TroubleError:
    evidence = profile.state_dir / "checkpoint.conflict"
    if not evidence.exists():
        write_whole(evidence, note)
    return TroubleError(
        f"THE LOG DOES NOT CONTINUE WHAT YOU SAW BEFORE ({refused.detail}): stop trusting this "
        f"guard, keep {profile.state_dir / 'checkpoint'} and {evidence} and show both to a witness"
    )


def remember(profile: Profile, seen: Seen) -> None:
    """Keep the checkpoint as the last one seen (rule 4), unless another command has seen more."""
    path = profile.state_dir / "checkpoint"
    if path.exists() and parse_checkpoint(profile.public(path)).size > seen.trusted.size:
        return
    write_whole(path, seen.note)


def fetched_records(
    connection: Connection, *, purpose: str, start: int = 0, end: int = 0, follow: bool = False
) -> Iterator[Numbered]:
    """Yield records in order, which the guard puts on record; raises TroubleError.

    `purpose` is the command that reads; `end` 0 means all that there are.
    """
    request = ReadRecordsRequest(start=start, end=end, follow=follow, purpose=purpose)
    index = start
    for page in connection.stream(connection.audit.ReadRecords, request):
        for shown in page.records:
            if shown.index != index:
                raise TroubleError(f"the guard left out record {index}")
            yield _numbered(shown)
            index += 1


def _numbered(shown: LogRecord) -> Numbered:
    erased = not shown.salt and not shown.body
    entry = Entry(
        kind=shown.kind,
        time=format_time(moment(shown.time)),
        digest=shown.digest,
        salt=None if erased else shown.salt,
        body=None if erased else shown.body,
    )
    with checking(f"record {shown.index}"):
        record = None if erased else entry.record()
    return Numbered(index=shown.index, record=record, entry=entry)


def recomputed(
    connection: Connection, seen: Seen, *, progress: Callable[[int], None]
) -> dict[str, int]:
    """Build the tree of all records and compare its roots (rule 3); count the records by kind.

    Raises TroubleError.
    """
    tree, kinds = Tree(), Counter[str]()
    records = fetched_records(connection, purpose="log verify", end=seen.trusted.size)
    for each in records:
        tree.append(leaf_hash(each.entry.leaf()))
        kinds[each.entry.kind] += 1
        progress(tree.size)
    heads = [(seen.trusted.size, seen.trusted.root)]
    if seen.before is not None:
        heads.append((seen.before.size, seen.before.root))
    for size, root in heads:
        if tree.size < size or tree.root(size) != root:
            raise TroubleError(
                f"THE RECORDS ARE NOT THOSE OF THE CHECKPOINT over {size} records: something was "
                "added, changed or left out; stop trusting this guard and tell a witness"
            )
    return dict(sorted(kinds.items()))


def verify_proof(proof: bytes, policy: TrustPolicy, *, now: datetime) -> Numbered:
    """Verify a tlog-proof with the record's opening in its extra line; raises ``Refused``."""
    parsed = parse_proof(proof)
    checkpoint = _verified(parsed.checkpoint, policy, now)
    record = parse_opening(parsed.extra)
    entry = entry_of(record)
    verify_inclusion(
        leaf_hash(entry.leaf()),
        index=parsed.index,
        size=checkpoint.size,
        proof=parsed.hashes,
        root=checkpoint.root,
    )
    return Numbered(index=parsed.index, record=record, entry=entry)
