"""Where an auditor's records come from: the guard, or a file that it once exported.

1. From the guard: its newest checkpoint is verified and continues what was seen before, and the
   tree of the records read has that checkpoint's root, and at its size the root of the one before.
2. From a file: the same with the checkpoint that was kept beside it, which the log and a quorum of
   witnesses must have signed by the trust policy that the records themselves lead to from the
   roots. Without one the answers are about the records in the file, and say so.
3. Every record from 0 on must be there and be what its digest was made of.
4. The roots are the caller's own: those of the profile, or those of ``--roots``.

What is made of the records counts only once all of this has held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from guard.cli.durations import stamp
from guard.cli.exits import UsageTroubleError, auditing, checking
from guard.cli.invocation import Invocation
from guard.cli.log_sources import pinned_roots, read_file, shown_progress
from guard.cli.log_verification import checked_checkpoint, fetched_entries, remember
from guard.cli.record_source import exported_entries, kept_checkpoint
from guard.core.checkpoint import Checkpoint, parse_checkpoint
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.frontier import Frontier
from guard.core.history import History
from guard.core.logaudit import Head, trusted_head
from guard.core.merkle import leaf_hash
from guard.core.reasons import Refused
from guard.core.record import Entry
from guard.core.trust import PinnedRoots, TrustPolicy

__all__ = ["Told", "read_book", "read_history"]

_READING = "reading and verifying records"
_Progress = Callable[[int], None]


class Book(Protocol):
    """What is told every record in order, and knows the trust policy that they lead to."""

    @property
    def policy(self) -> TrustPolicy | None:
        """The trust policy in force after the last record; None before the first."""

    def take(self, index: int, entry: Entry) -> None:
        """Take in an entry, erased or not; raises Refused for one that is not what it must be."""


B = TypeVar("B", bound=Book)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Generic[B]):
    """A book, how many records told it, and one sentence on what vouches for them.

    ``marked`` is the root of the tree at the size asked for, or None.
    """

    history: B
    records: int
    source: str
    marked: bytes | None


def read_history(
    invocation: Invocation, *, purpose: str, records: Path | None, roots: Path | None
) -> Told[History]:
    """Read the whole history; raises a `Failure`. ``purpose`` is the command, for the record."""
    return read_book(invocation, History, purpose=purpose, records=records, roots=roots)


def read_book(
    invocation: Invocation,
    make: Callable[[PinnedRoots], B],
    *,
    purpose: str,
    records: Path | None,
    roots: Path | None,
    mark: int = 0,
) -> Told[B]:
    """Tell a book every record; raises a `Failure`. ``mark``: the size of `Told.marked`."""
    if records is None and roots is not None:
        raise UsageTroubleError("--roots goes with --records: the guard is held to your profile's")
    with auditing():
        if records is not None:
            return _from_file(invocation, records, make(pinned_roots(invocation, roots)), mark)
        return _from_guard(invocation, purpose, make(invocation.profile.pinned_roots()), mark)


def _from_guard(invocation: Invocation, purpose: str, history: B, mark: int) -> Told[B]:
    """Read what the guard has, as a trusted checkpoint has it (rule 1)."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        seen = checked_checkpoint(connection, invocation.profile, policy, now=invocation.now)
        head = seen.head
        entries = fetched_entries(connection, purpose=purpose, end=head.size)
        heads = [head.checkpoint] if seen.before is None else [seen.before, head.checkpoint]
        with shown_progress(_READING, head.size) as progress:
            _, marked = _take(history, entries, heads, progress, mark)
        remember(invocation.profile, seen)
    continued = f", and continue the {seen.before.size} seen before" if seen.before else ""
    source = f"{_vouched(head)}{continued}."
    return Told(history=history, records=head.size, source=source, marked=marked)


def _from_file(invocation: Invocation, path: Path, history: B, mark: int) -> Told[B]:
    """Read the records of a file (rule 2)."""
    kept = kept_checkpoint(path)
    note = read_file(kept) if kept.exists() else None
    heads: list[Checkpoint] = []
    if note is not None:
        with checking(str(kept)):
            heads = [parse_checkpoint(note)]
    with shown_progress(_READING, heads[0].size if heads else None) as progress:
        count, marked = _take(history, exported_entries(path), heads, progress, mark)
    source = f"These are the {count} records of {path}, held against no checkpoint of the log."
    if note is not None:
        if history.policy is None:
            sentence = "the records lead from the roots to no trust policy"
            raise Discrepant(Discrepancy.POLICY_UNTRUSTED, sentence)
        source = f"{_vouched(trusted_head(note, history.policy.log, now=invocation.now()))}."
    return Told(history=history, records=count, source=source, marked=marked)


def _vouched(head: Head) -> str:
    return f"The {head.size} records are those of the log, cosigned at {stamp(head.cosigned_at)}"


def _take(
    history: Book,
    entries: Iterable[tuple[int, Entry]],
    heads: Sequence[Checkpoint],
    progress: _Progress,
    mark: int,
) -> tuple[int, bytes | None]:
    """Take in every record, hold their tree against the heads, the last of which covers them all.

    Return how many there are, and the root at ``mark``; raises Discrepant (rule 3).
    """
    tree, marked = Frontier(), None
    _require_roots(tree, heads)
    for index, entry in entries:
        if index != tree.size:
            sentence = f"record {index} stands in the place of record {tree.size}"
            raise Discrepant(Discrepancy.RECORD_MISSING, sentence, index=tree.size)
        _apply(history, index, entry)
        tree.append(leaf_hash(entry.leaf()))
        _require_roots(tree, heads)
        if tree.size == mark:
            marked = tree.root()
        progress(tree.size)
    if heads and tree.size != heads[-1].size:
        raise _others(heads[-1])
    return tree.size, marked


def _apply(history: Book, index: int, entry: Entry) -> None:
    try:
        history.take(index, entry)
    except Refused as refused:
        sentence = f"record {index}: {refused.detail}"
        raise Discrepant(Discrepancy.RECORD_ALTERED, sentence, index=index) from refused


def _require_roots(tree: Frontier, heads: Sequence[Checkpoint]) -> None:
    for head in heads:
        if tree.size == head.size and tree.root() != head.root:
            raise _others(head)


def _others(head: Checkpoint) -> Discrepant:
    return Discrepant(
        Discrepancy.RECORD_ALTERED,
        f"the records are not those of the checkpoint over {head.size} entries: something was "
        "added, changed or left out; `callguard log verify` says what",
    )
