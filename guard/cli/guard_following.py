"""Following the log of a profile's guard: its records as they come, held against its checkpoints.

1. The tree is built from all records, in one reading that is on record, and has to have the root of
   each checkpoint that counts. Only records that such a checkpoint holds are shown.
2. After the guard was away, reading goes on where it stopped.
3. A guard that has lost its witnesses for a while contradicts nothing: it is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from guard.cli.connection import Connection
from guard.cli.exits import DiscrepancyError, UnreachableError, auditing
from guard.cli.invocation import Invocation
from guard.cli.log_verification import PASSING, Seen, checked_checkpoint, fetched_entries, remember
from guard.cli.output import Output
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.frontier import Frontier
from guard.core.logaudit import Dates, Older, PublicEntry, parse_entry
from guard.core.merkle import leaf_hash
from guard.core.record import Entry
from guard.core.trust import TrustPolicy

__all__ = ["GuardFollower"]


class GuardFollower:
    """Shows new records' entries through `show(index, entry)`."""

    def __init__(self, invocation: Invocation, show: Callable[[int, PublicEntry], None]) -> None:
        self._invocation, self._show = invocation, show
        self._tree, self._dates = Frontier(), Dates()
        self._waiting: deque[tuple[int, PublicEntry]] = deque()
        self._shown: int | None = None

    def run(self) -> None:
        """Follow until the guard goes away; raises a `Failure`."""
        with self._invocation.connected() as connection, auditing():
            policy = self._invocation.policy(connection).policy
            seen = self._newest(connection, policy)
            entries = fetched_entries(
                connection, purpose="log follow", start=self._tree.size, follow=True
            )
            for index, entry in entries:
                if self._tree.size >= seen.head.size:
                    seen = self._newest(connection, policy)
                self._take(index, entry)
                if self._tree.size == seen.head.size:
                    self._release(seen)

    def _newest(self, connection: Connection, policy: TrustPolicy) -> Seen:
        profile = self._invocation.profile
        try:
            seen = checked_checkpoint(connection, profile, policy, now=self._invocation.now)
        except DiscrepancyError as error:
            if error.kind in PASSING:  # Rule 3.
                raise UnreachableError(f"the guard has no cosigned checkpoint: {error}") from error
            raise
        if self._shown is None:
            self._shown = seen.before.size if seen.before else seen.head.size
            origin = seen.head.checkpoint.origin
            Output.note(f"following {origin} from record {self._shown} on")
        return seen

    def _take(self, index: int, entry: Entry) -> None:
        leaf = entry.leaf()
        self._tree.append(leaf_hash(leaf))
        public = parse_entry(index, leaf)
        self._dates.take(index, public.time)
        if self._shown is not None and index >= self._shown:
            self._waiting.append((index, public))

    def _release(self, seen: Seen) -> None:
        """Show what a checkpoint holds, once the tree has its root (rule 1)."""
        head = seen.head
        if self._tree.root() != head.root:
            raise Discrepant(
                Discrepancy.RECORD_ALTERED,
                f"the {head.size} records shown are not those of the checkpoint",
            )
        while self._waiting:
            index, public = self._waiting.popleft()
            self._show(index, public)
            self._shown = index + 1
        self._dates.go_on(Older(checkpoint=head.checkpoint, cosigned_at=head.cosigned_at))
        remember(self._invocation.profile, seen)
