"""What the use cases need from the outside: the ledger, the clock, chance.

1. The ledger is the store and the log as one. What a plan decides is durable and under a signed
   checkpoint when `execute` returns, or it did not happen.
2. There is one writer. Plans run one after another, each seeing all that earlier ones changed.
3. Records are dated in order: one that is older than the record before it gets that one's time.
4. A plan reads, decides and describes; it changes nothing itself. A plan that raises leaves no
   trace. It may be run on another thread than its caller's.
5. Whoever changes a row writes a record: a plan with changes and without records is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from guard.app.changes import AuthorityRow, CaptureRow, Change, SegmentRow
from guard.core.incidents import Hook, Incident
from guard.core.record import Entry, Record

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_RECEIPT = "0" * 64


class LedgerUnavailable(Exception):  # noqa: N818  # a state of the ledger, told to the caller
    """Nothing was decided: the ledger cannot write, is full, is stopped or is overloaded."""


class LedgerInDoubt(LedgerUnavailable):
    """The disk failed so that nobody knows what is on it; a new start has to look."""


class LedgerUnusable(Exception):  # noqa: N818  # a state of the ledger, told at the start
    """The ledger does not start: another guard holds it, or what it signed is not what it holds."""


class ChangeRefused(Exception):  # noqa: N818  # the plan is refused, the ledger is well
    """A change breaks a rule of the store, such as one request id per principal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[T_co]):
    """What a plan decided: what to answer, what to record, what to change."""

    result: T_co
    records: Sequence[Record] = ()
    changes: Sequence[Change] = ()


class Reads(Protocol):
    """A consistent view of the store."""

    def authority(self, authority_id: str) -> AuthorityRow | None:
        """Return one authority."""

    def authorities(self, *, limit: int, before: int | None) -> list[AuthorityRow]:
        """Return authorities with a revision below `before`, newest revision first."""

    def unfinished_authorities(self) -> list[AuthorityRow]:
        """Return those registered, provisional or approved, by id."""

    def capture(self, capture_id: str) -> CaptureRow | None:
        """Return one capture."""

    def capture_by_request(self, principal: str, request_id: str) -> CaptureRow | None:
        """Return the capture that this principal's request made."""

    def captures(
        self, *, authority_id: str | None, limit: int, before: int | None
    ) -> list[CaptureRow]:
        """Return captures, of one authority or all, newest revision first."""

    def live_captures(
        self, *, node: str | None = None, authority_id: str | None = None
    ) -> list[CaptureRow]:
        """Return those granted, armed or stopping, oldest revision first."""

    def overdue_captures(self, now: datetime) -> list[CaptureRow]:
        """Return live ones whose grant is over, oldest revision first."""

    def changes(self, node: str, after: int) -> list[CaptureRow]:
        """Return the node's captures changed after a revision, oldest first; after 0 only live."""

    def segments(self, capture_id: str) -> list[SegmentRow]:
        """Return a capture's segments by number, deleted ones included."""

    def segments_older(self, stored_before: datetime) -> list[SegmentRow]:
        """Return segments stored before a time and not deleted, oldest first."""

    def trust_policies(self, after_version: int) -> list[bytes]:
        """Return the envelopes of the versions above this one, in order."""

    def last_receipt(self, node: str) -> tuple[int, str]:
        """Return a node's last sequence and digest, or 0 and 64 zeros."""

    def incident(self, incident_id: int) -> Incident | None:
        """Return one incident."""

    def incidents(self, *, limit: int, before: int | None, only_open: bool) -> list[Incident]:
        """Return incidents with an id below `before`, newest first."""

    def incidents_of(self, node: str, since: datetime) -> list[Incident]:
        """Return a node's incidents that began after a time, oldest first; "" means no node."""

    def untold(self, hook: Hook, now: datetime, *, limit: int) -> list[Incident]:
        """Return what a hook is to be told now (`Incident.due`), oldest first."""

    def entries(self, start: int, limit: int) -> list[Entry]:
        """Return the log's records from an index on, erased ones without salt and body."""

    def first_kept(self) -> int:
        """Return the index of the first record that may be erased and is not; else the size."""

    def size(self) -> int:
        """Return the number of records."""

    def checkpoint(self) -> bytes | None:
        """Return the newest checkpoint that the log signed; None while the log is empty."""

    def cosigned_checkpoint(self) -> bytes | None:
        """Return the newest checkpoint that a quorum of witnesses cosigned."""


class Ledger(Protocol):
    """The store and the log, behind one writer."""

    async def execute(self, plan: Callable[[Reads, int], Plan[T]]) -> T:
        """Run `plan(view, next_index)` on the writer and return its result once it is durable.

        Raises what the plan raises, ChangeRefused, or LedgerUnavailable.
        """

    @property
    def latest(self) -> datetime | None:
        """Return the time of the newest record; None while the log is empty."""

    def reads(self) -> AbstractContextManager[Reads]:
        """Return a view of what is durable now."""

    async def scrub(self) -> bool:
        """Leave nothing of what was erased in any file; say whether that is so (`Store.scrub`)."""

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove a record's leaf under the root at `size`. Raises ValueError beyond the log."""

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the log at `new` continues that at `old`. Raises ValueError beyond the log."""


class Transaction(Reads, Protocol):
    """The one writer's transaction; its reads see its own writes."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all of these changes or none. Raises ChangeRefused or LedgerUnavailable."""

    def append(self, start: int, entries: Sequence[Entry]) -> None:
        """Add records to the log from index `start` on. Raises LedgerUnavailable."""

    def put_checkpoint(self, checkpoint: bytes, *, size: int, previous: bytes | None) -> None:
        """Replace exactly `previous`, None being no checkpoint yet.

        Raises LedgerUnavailable when another one is stored, be it of the same size.
        """

    def put_cosigned(self, checkpoint: bytes, *, size: int) -> None:
        """Store a cosigned checkpoint unless one of a larger size is stored."""

    def commit(self) -> None:
        """Make it durable.

        Raises LedgerInDoubt, or LedgerUnavailable when certainly nothing of it is.
        """

    def rollback(self) -> None:
        """Forget it; does nothing after `commit`."""


class Store(Protocol):
    """Where the rows and the records are kept."""

    def begin(self, *, sync: bool = True) -> Transaction:
        """Begin the writer's transaction.

        Without `sync` its commit may be lost with the machine's power, whole and not in part, and
        is on the disk when a later commit with `sync` is.
        """

    def read(self) -> AbstractContextManager[Reads]:
        """Return a view of what is committed now."""

    def leaves(self) -> Iterator[bytes]:
        """Yield every leaf's data in order, each held against what is left of its record.

        Raises LedgerUnavailable for a record that was altered or is missing.
        """

    def scrub(self) -> bool:
        """Leave nothing of what was erased in any file of the store.

        Returns whether that is so now; a reader in the way is a reason to ask again.
        """

    def close(self) -> None:
        """Let go of files and locks."""


class Quorum(Protocol):
    """The witnesses, as far as granting depends on them."""

    async def reached(self) -> bool:
        """Say whether a quorum answers: a moment ago, or now within a few seconds."""


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> datetime:
        """Return the time in UTC, aware."""


class Entropy(Protocol):
    """Where chance comes from."""

    def new_id(self) -> str:
        """Return a new lower-case UUID."""

    def new_salt(self) -> bytes:
        """Return 32 random bytes."""
