"""Going through records, once: their places, what is signed in them, what does not meet.

1. Against the leaves of tiles that were verified, where there are some: then each record that is
   missing, altered or moved is named.
2. Without, the tree is built from the records, and its root is held against the checkpoint's and
   against that of the checkpoint seen before. Times are held against each other as well.
3. What reconciliation finds open at the checkpoint's time is shown. It is no discrepancy of the
   log: nodes and guard may be late, and the log says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from guard.core.checkpoint import Checkpoint
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.facts import Fact
from guard.core.fields import parse_time
from guard.core.findings import Finding
from guard.core.frontier import Frontier
from guard.core.logaudit import Dates, Head, parse_entry
from guard.core.merkle import leaf_hash
from guard.core.reconciliation import Reconciliation
from guard.core.record import Entry
from guard.core.recordaudit import RecordAudit, RecordCounts, audit_records
from guard.core.trust import PinnedRoots

__all__ = ["RecordReport", "audited_records"]

Numbered = Iterable[tuple[int, Entry]]
Taken = Iterator[tuple[int, Entry, Fact | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReport:
    """What was gone through, and what was open at the end."""

    counts: RecordCounts
    findings: list[Finding]

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        counts = self.counts
        yield f"records: {counts.records} open to their entries, {counts.erased} of them erased"
        yield f"trust policies: {counts.policies} follow from the roots"
        chains = ", ".join(f"{name} to its {last}." for name, last in counts.chains.items())
        yield f"receipts: {counts.receipts} signed by their nodes{f': {chains}' if chains else ''}"
        if counts.breaks:
            yield f"receipts: breaks in chains, on record as incidents: {counts.breaks}"
        for finding in self.findings:
            yield f"open finding: {finding.kind}: {finding.detail}"
        if not self.findings:
            yield "open findings: none"

    def json(self) -> dict[str, Any]:
        """Return it for machines."""
        counts = self.counts
        return {
            "count": counts.records,
            "erased": counts.erased,
            "trust_policies": counts.policies,
            "receipts": counts.receipts,
            "breaks": counts.breaks,
            "chains": counts.chains,
            "findings": [each.body() for each in self.findings],
        }


def audited_records(
    entries: Numbered,
    head: Head,
    roots: PinnedRoots,
    *,
    leaves: Iterator[bytes] | None = None,
    before: Checkpoint | None = None,
    progress: Callable[[int], None],
) -> RecordReport:
    """Go through the records of a log; raises Discrepant."""
    audit, meeting = RecordAudit(roots), Reconciliation()
    taken = (
        _rebuilt(audit, entries, head, before)
        if leaves is None
        else audit_records(audit, leaves, entries)
    )
    for index, entry, fact in taken:
        if entry.erased:
            meeting.erased(index, entry.kind, parse_time(entry.time))
        elif fact is not None:
            meeting.apply_fact(fact)
        progress(index + 1)
    counts = audit.finish()
    return RecordReport(counts=counts, findings=meeting.findings(head.cosigned_at))


def _rebuilt(audit: RecordAudit, entries: Numbered, head: Head, before: Checkpoint | None) -> Taken:
    """Yield records and hold their tree against the checkpoints (rule 2)."""
    tree, dates = Frontier(), Dates()
    heads = [head.checkpoint] if before is None else [before, head.checkpoint]
    for index, entry in entries:
        _require_roots(tree, heads)
        leaf = entry.leaf()
        tree.append(leaf_hash(leaf))
        dates.take(index, parse_entry(index, leaf).time)
        yield index, entry, audit.take(index, entry)
    _require_roots(tree, heads)
    if tree.size != head.size:
        raise _others(head.checkpoint)
    dates.finish(max(head.size - 1, 0), head)


def _require_roots(tree: Frontier, heads: list[Checkpoint]) -> None:
    for head in heads:
        if tree.size == head.size and tree.root() != head.root:
            raise _others(head)


def _others(head: Checkpoint) -> Discrepant:
    return Discrepant(
        Discrepancy.RECORD_ALTERED,
        f"the records are not those of the checkpoint over {head.size} entries: something was "
        "added, changed or left out; verify with --log to see what, and tell a witness",
    )
