"""Auditing a public log: signatures, tiles and entries, with nothing but public keys.

1. A checkpoint counts under a log policy, whatever its age unless one is asked for.
2. An older checkpoint that the log signed must be of the same tree; else the log has forked.
3. Every bundle fits its tile, every tile those below it, and all of them the checkpoint's root.
   Which of several that contradict each other is wrong, the root decides.
4. Times do not run backwards: an entry is back-dated when it bears a time more than a minute before
   that of an entry before it, or before an older checkpoint's cosigning, when that did not hold it.
   One that bears a time more than a minute after its checkpoint was cosigned is post-dated.
5. Nothing is believed before the root is known to be the checkpoint's: only then are times told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from guard.core.checkpoint import (
    FUTURE,
    Checkpoint,
    TrustedCheckpoint,
    cosignature_times,
    verify_checkpoint,
    verify_log_signature,
)
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.fields import parse_time
from guard.core.frontier import Frontier
from guard.core.logpolicy import LogPolicy
from guard.core.merkle import leaf_hash, verify_inclusion
from guard.core.note import parse_note
from guard.core.reasons import Reason, Refused
from guard.core.tiles import TileLog

__all__ = [
    "Dates",
    "Head",
    "LogCounts",
    "Older",
    "PublicEntry",
    "added_entries",
    "audit_entries",
    "older_head",
    "parse_entry",
    "proven_entries",
    "require_continued",
    "trusted_head",
]

TOLERANCE: Final = FUTURE
"""How far the clocks of the guard and of a witness may be apart."""
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ENTRY: Final = re.compile(
    rb'\{"digest":"([0-9a-f]{64})","kind":"([a-z_]{1,64})","time":"([0-9TZ:.-]{20,27})"\}'
)
_KINDS: Final = {
    Reason.WITNESS_QUORUM_MISSING: Discrepancy.QUORUM_MISSING,
    Reason.CHECKPOINT_STALE: Discrepancy.CHECKPOINT_STALE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A checkpoint that counts, its note, and by name when each witness cosigned last.

    `cosigned_at` is the latest time such that a quorum cosigned then or later.
    """

    checkpoint: Checkpoint
    note: bytes = field(repr=False)
    witnesses: Mapping[str, datetime]
    cosigned_at: datetime

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self.checkpoint.size

    @property
    def root(self) -> bytes:
        """The tree's root."""
        return self.checkpoint.root


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """An older checkpoint that the log signed, and when a quorum had cosigned it, if one had."""

    checkpoint: Checkpoint
    cosigned_at: datetime | None

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self.checkpoint.size


class PublicEntry(NamedTuple):
    """What anybody sees of a record: its kind, its time and the digest that stands for it."""

    kind: str
    time: datetime
    digest: str


@dataclass(kw_only=True)
class LogCounts:
    """What an audit of the entries went through."""

    entries: int = 0
    bundles: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None


def trusted_head(
    note: bytes, policy: LogPolicy, *, now: datetime, max_age: timedelta | None = None
) -> Head:
    """Verify a checkpoint (rule 1); raises Discrepant."""
    try:
        trusted = verify_checkpoint(note, policy=policy, now=now, max_age=max_age or now - _EVER)
        witnesses = cosignature_times(parse_note(note), policy)
    except Refused as refused:
        kind = _KINDS.get(refused.reason, Discrepancy.CHECKPOINT_UNTRUSTED)
        raise Discrepant(kind, refused.detail) from refused
    return Head(
        checkpoint=_plain(trusted),
        note=note,
        witnesses=witnesses,
        cosigned_at=trusted.cosigned_at,
    )


def older_head(note: bytes, policy: LogPolicy, *, now: datetime, what: str) -> Older:
    """Verify an older checkpoint, which the log must have signed; raises Discrepant, naming `what`.

    The log answers for what it signed, whoever cosigned it.
    """
    try:
        parsed = parse_note(note)
        checkpoint = verify_log_signature(parsed, policy.key)
        witnesses = cosignature_times(parsed, policy)
    except Refused as refused:
        sentence = f"{what} is no checkpoint of this log to be trusted: {refused.detail}"
        raise Discrepant(Discrepancy.CHECKPOINT_UNTRUSTED, sentence) from refused
    present = {name: time for name, time in witnesses.items() if time <= now + FUTURE}
    return Older(checkpoint=checkpoint, cosigned_at=policy.met_since(present))


def require_continued(older: Checkpoint, newer: Head, root: Callable[[int], bytes]) -> None:
    """Hold a checkpoint against an older one (rule 2); raises Discrepant.

    `root(size)` is that of the newer tree's first `size` leaves, from what was verified already.
    """
    if newer.size < older.size:
        raise Discrepant(
            Discrepancy.LOG_SHRUNK,
            f"the log shows {newer.size} entries and has signed {older.size} before",
        )
    if root(older.size) != older.root:
        raise Discrepant(
            Discrepancy.LOG_FORKED,
            f"the first {older.size} entries are not those that the log has signed before; keep "
            "both checkpoints, together they convict it",
        )


def parse_entry(index: int, leaf: bytes) -> PublicEntry:
    """Read an entry; raises Discrepant."""
    match = _ENTRY.fullmatch(leaf)
    try:
        if match is not None:
            digest, kind, time = match.groups()
            return PublicEntry(kind.decode(), parse_time(time.decode()), digest.decode())
    except Refused:
        pass
    sentence = f"entry {index} is not kind, time and digest"
    raise Discrepant(Discrepancy.ENTRY_MALFORMED, sentence, index=index)


class Dates:
    """Holds the times of entries against each other (rule 4), those from `older.size` on too."""

    def __init__(self, older: Older | None = None) -> None:
        self._latest = _EVER
        self._size = older.size if older else 0
        self._seen = older.cosigned_at if older else None

    def go_on(self, older: Older) -> None:
        """Know a newer checkpoint, which the next entries are not in."""
        self._size, self._seen = older.size, older.cosigned_at

    def take(self, index: int, time: datetime) -> None:
        """Take the next entry's time; raises Discrepant."""
        if time < self._latest:
            if time < self._latest - TOLERANCE:
                raise _backdated(index, time, "entries before it", self._latest)
        else:
            self._latest = time
        if self._seen and index >= self._size and time < self._seen - TOLERANCE:
            raise _backdated(index, time, "a checkpoint without it was cosigned", self._seen)

    def finish(self, index: int, head: Head) -> None:
        """Hold the latest time, of entry `index` or before, against a checkpoint's cosigning."""
        if self._latest > head.cosigned_at + TOLERANCE:
            raise Discrepant(
                Discrepancy.ENTRY_POSTDATED,
                f"an entry up to {index} is dated {self._latest:%Y-%m-%d %H:%M:%S} UTC, after its "
                f"witnesses saw it at {head.cosigned_at:%Y-%m-%d %H:%M:%S} UTC",
                index=index,
            )


def _backdated(index: int, time: datetime, what: str, other: datetime) -> Discrepant:
    return Discrepant(
        Discrepancy.ENTRY_BACKDATED,
        f"entry {index} is dated {time:%Y-%m-%d %H:%M:%S} UTC; {what}: {other:%Y-%m-%d %H:%M:%S}"
        " UTC",
        index=index,
    )


def audit_entries(
    log: TileLog,
    head: Head,
    *,
    older: Older | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> LogCounts:
    """Verify every tile and every entry (rules 2 to 5); raises Refused or Discrepant.

    A Refused says that the files do not fit each other or the root: `guard.core.tampering` tells
    which is wrong.
    """
    counts, dates = LogCounts(), Dates(older)
    found: list[Discrepant] = []

    def seen(start: int, leaves: list[bytes]) -> None:
        if not found:
            try:
                _take(counts, dates, enumerate(leaves, start))
            except Discrepant as discrepant:
                found.append(discrepant)  # Rule 5.
        counts.bundles += 1
        progress(start + len(leaves))

    if log.check(seen) != head.root:
        raise Refused(Reason.LOG_PROOF_INVALID, "the tiles lead to another root")
    if older is not None:
        require_continued(older.checkpoint, head, log.root)
    if found:
        raise found[0]
    if head.size:
        dates.finish(head.size - 1, head)
    return counts


def _take(counts: LogCounts, dates: Dates, leaves: Iterable[tuple[int, bytes]]) -> None:
    for index, leaf in leaves:
        entry = parse_entry(index, leaf)
        dates.take(index, entry.time)
        counts.kinds[entry.kind] += 1
        counts.entries += 1
        counts.first = counts.first or entry.time
        counts.last = entry.time


def proven_entries(
    log: TileLog, head: Head, start: int, end: int
) -> Iterator[tuple[int, PublicEntry]]:
    """Yield entries, each proven to be in the tree; raises Refused or Discrepant."""
    for index, leaf in enumerate(log.leaves(start, end), start):
        proof = log.inclusion(index, head.size)
        verify_inclusion(leaf_hash(leaf), index=index, size=head.size, proof=proof, root=head.root)
        yield index, parse_entry(index, leaf)


def added_entries(
    log: TileLog, last: Older, head: Head, dates: Dates
) -> list[tuple[int, PublicEntry]]:
    """Return the entries that a checkpoint has beyond the last one, each verified.

    The tree is taken from its edge at the last size, so that nothing older is read again. Raises
    Refused or Discrepant.
    """
    edge = Frontier.of(log, min(last.size, head.size))
    require_continued(last.checkpoint, head, lambda _: edge.root())
    leaves = list(log.leaves(last.size, head.size))
    for leaf in leaves:
        edge.append(leaf_hash(leaf))
    if edge.root() != head.root:
        raise Refused(Reason.LOG_PROOF_INVALID, "the new entries lead to another root")
    found = [(index, parse_entry(index, leaf)) for index, leaf in enumerate(leaves, last.size)]
    for index, entry in found:
        dates.take(index, entry.time)
    if found:
        dates.finish(head.size - 1, head)
    return found


def _plain(trusted: TrustedCheckpoint) -> Checkpoint:
    return Checkpoint(origin=trusted.origin, size=trusted.size, root=trusted.root)
