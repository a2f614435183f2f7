"""The store on a database, by plain statements on the driver's connection.

1. There is one writer's transaction at a time; readers have connections and views of their own.
2. What a transaction has written, its own reads see. Records wait in memory until somebody reads
   them or the transaction commits, and are then inserted all at once.
3. A set of changes is made whole or not at all: it stands under a savepoint.
4. A checkpoint replaces only the very checkpoint it was built on (compare and swap of all its
   bytes), so two guards never sign two histories into one store.
5. Every failure of the driver is LedgerUnavailable, except a broken rule, which is ChangeRefused.

Longer than other files because a view has one method for each question that is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Engine

from guard.app.changes import (
    AuthorityRow,
    CaptureRow,
    Change,
    EraseBefore,
    PutTrustPolicy,
    SegmentRow,
)
from guard.app.ports import (
    NO_RECEIPT,
    ChangeRefused,
    LedgerInDoubt,
    LedgerUnavailable,
    Reads,
    Transaction,
)
from guard.core.incidents import WINDOW, Hook, Incident
from guard.core.reasons import Refused
from guard.core.record import Entry
from guard.store import rows
from guard.store.statements import Statement, Statements

# Above every revision: "no upper end" for the pages.
_LAST: Final = 2**63 - 1
_FETCH: Final = 1000
_SIGNED: Final = "signed"
_COSIGNED: Final = "cosigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """What differs from one database to another.

    `begin` begins a writer's transaction; `synced` and `unsynced` make the commits that follow wait
    for the disk or not; `certain` tells of a failed commit whether certainly nothing was committed.
    """

    statements: Statements
    driver: ModuleType
    begin: str
    synced: str
    unsynced: str
    certain: Callable[[Exception], bool]


class SqlReads:
    """A view through one cursor, inside one transaction of the database."""

    def __init__(self, cursor: Any, database: Database) -> None:  # noqa: ANN401  # a DB-API cursor has no common type
        self._cursor = cursor
        self._database = database
        self._statements = database.statements
        self._driver = database.driver

    def authority(self, authority_id: str) -> AuthorityRow | None:
        """Return one authority."""
        row = self._one(self._statements.authority, {"id": authority_id})
        return None if row is None else rows.authority(row)

    def authorities(self, *, limit: int, before: int | None) -> list[AuthorityRow]:
        """Return authorities with a revision below `before`, newest revision first."""
        page = {"limit": limit, "before": _LAST if before is None else before}
        return [rows.authority(row) for row in self._all(self._statements.authorities, page)]

    def unfinished_authorities(self) -> list[AuthorityRow]:
        """Return those registered, provisional or approved, by id."""
        return [rows.authority(row) for row in self._all(self._statements.unfinished, {})]

    def capture(self, capture_id: str) -> CaptureRow | None:
        """Return one capture."""
        row = self._one(self._statements.capture, {"id": capture_id})
        return None if row is None else rows.capture(row)

    def capture_by_request(self, principal: str, request_id: str) -> CaptureRow | None:
        """Return the capture that this principal's request made."""
        row = self._one(
            self._statements.capture_by_request,
            {"principal": principal, "request_id": request_id},
        )
        return None if row is None else rows.capture(row)

    def captures(
        self, *, authority_id: str | None, limit: int, before: int | None
    ) -> list[CaptureRow]:
        """Return captures, of one authority or all, newest revision first."""
        page = {"limit": limit, "before": _LAST if before is None else before}
        if authority_id is None:
            return self._captures(self._statements.captures, page)
        page_of = {**page, "authority_id": authority_id}
        return self._captures(self._statements.captures_of_authority, page_of)

    def live_captures(
        self, *, node: str | None = None, authority_id: str | None = None
    ) -> list[CaptureRow]:
        """Return those granted, armed or stopping, oldest revision first."""
        given = {"node": node, "authority_id": authority_id}
        values = {key: value for key, value in given.items() if value is not None}
        statement = {
            (False, False): self._statements.live,
            (True, False): self._statements.live_of_node,
            (False, True): self._statements.live_of_authority,
            (True, True): self._statements.live_of_both,
        }[node is not None, authority_id is not None]
        return self._captures(statement, values)

    def overdue_captures(self, now: datetime) -> list[CaptureRow]:
        """Return live ones whose grant is over, oldest revision first."""
        return self._captures(self._statements.overdue, {"now": rows.microseconds(now)})

    def changes(self, node: str, after: int) -> list[CaptureRow]:
        """Return the node's captures changed after a revision, oldest first; after 0 only live."""
        if after == 0:
            return self.live_captures(node=node)
        return self._captures(self._statements.changes, {"node": node, "after": after})

    def segments(self, capture_id: str) -> list[SegmentRow]:
        """Return a capture's segments by number, deleted ones included."""
        found = self._all(self._statements.segments, {"capture_id": capture_id})
        return [rows.segment(row) for row in found]

    def segments_older(self, stored_before: datetime) -> list[SegmentRow]:
        """Return segments stored before a time and not deleted, oldest first."""
        before = {"before": rows.microseconds(stored_before)}
        return [rows.segment(row) for row in self._all(self._statements.segments_older, before)]

    def trust_policies(self, after_version: int) -> list[bytes]:
        """Return the envelopes of the versions above this one, in order."""
        found = self._all(self._statements.trust_policies, {"after": after_version})
        return [envelope for (envelope,) in found]

    def last_receipt(self, node: str) -> tuple[int, str]:
        """Return a node's last sequence and digest, or 0 and 64 zeros."""
        row = self._one(self._statements.last_receipt, {"node": node})
        return (0, NO_RECEIPT) if row is None else (row[0], row[1])

    def incident(self, incident_id: int) -> Incident | None:
        """Return one incident."""
        row = self._one(self._statements.incident, {"id": incident_id})
        return None if row is None else rows.incident(row)

    def incidents(self, *, limit: int, before: int | None, only_open: bool) -> list[Incident]:
        """Return incidents with an id below `before`, newest first."""
        statement = self._statements.open_incidents if only_open else self._statements.incidents
        page = {"limit": limit, "before": _LAST if before is None else before}
        return [rows.incident(row) for row in self._all(statement, page)]

    def incidents_of(self, node: str, since: datetime) -> list[Incident]:
        """Return a node's incidents that began after a time, oldest first; "" means no node."""
        values = {"node": node, "since": rows.microseconds(since)}
        return [rows.incident(row) for row in self._all(self._statements.incidents_of, values)]

    def untold(self, hook: Hook, now: datetime, *, limit: int) -> list[Incident]:
        """Return what a hook is to be told now (`Incident.due`), oldest first."""
        values = {"since": rows.microseconds(now - WINDOW), "limit": limit}
        return [rows.incident(row) for row in self._all(self._statements.untold[hook], values)]

    def entries(self, start: int, limit: int) -> list[Entry]:
        """Return the log's records from an index on, erased ones without salt and body."""
        found = self._all(self._statements.entries, {"start": start, "limit": limit})
        return [Entry(*row) for row in found]

    def first_kept(self) -> int:
        """Return the index of the first record that may be erased and is not; else the size."""
        row = self._one(self._statements.first_kept, {})
        return self.size() if row is None else int(row[0])

    def size(self) -> int:
        """Return the number of records."""
        row = self._one(self._statements.size, {})
        return 0 if row is None else int(row[0])

    def checkpoint(self) -> bytes | None:
        """Return the newest checkpoint that the log signed; None while the log is empty."""
        row = self._one(self._statements.head, {"kind": _SIGNED})
        return None if row is None else bytes(row[1])

    def cosigned_checkpoint(self) -> bytes | None:
        """Return the newest checkpoint that a quorum of witnesses cosigned."""
        row = self._one(self._statements.head, {"kind": _COSIGNED})
        return None if row is None else bytes(row[1])

    def _captures(self, statement: Statement, values: Mapping[str, Any]) -> list[CaptureRow]:
        return [rows.capture(row) for row in self._all(statement, values)]

    def _one(self, statement: Statement, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        self._execute(statement, values)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def _all(self, statement: Statement, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        self._execute(statement, values)
        try:
            found: list[tuple[Any, ...]] = self._cursor.fetchall()
        except self._driver.Error as error:
            raise unavailable(error) from error
        return found

    def _execute(self, statement: Statement, values: Mapping[str, Any]) -> None:
        try:
            self._cursor.execute(
                statement.text, {**statement.fixed, **values} if statement.fixed else values
            )
        except self._driver.IntegrityError as error:
            raise ChangeRefused("the change breaks a rule of the store") from error
        except self._driver.Error as error:
            raise unavailable(error) from error


class SqlTransaction(SqlReads):
    """The writer's transaction; the database has begun it."""

    def __init__(self, cursor: Any, database: Database) -> None:  # noqa: ANN401  # a DB-API cursor has no common type
        super().__init__(cursor, database)
        self._waiting: list[tuple[int, Entry]] = []
        self._open = True

    def entries(self, start: int, limit: int) -> list[Entry]:
        """Return the log's records from an index on, this transaction's included."""
        self._flush()
        return super().entries(start, limit)

    def first_kept(self) -> int:
        """Return the index of the first record that may be erased and is not; else the size."""
        self._flush()
        return super().first_kept()

    def size(self) -> int:
        """Return the number of records, this transaction's included."""
        self._flush()
        return super().size()

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all of these changes or none. Raises ChangeRefused or LedgerUnavailable."""
        if len(changes) <= 1:  # A statement by itself is made whole or not at all.
            for change in changes:
                self._put(change)
            return
        self._plain("SAVEPOINT changes")
        try:
            for change in changes:
                self._put(change)
        except LedgerUnavailable:
            raise  # All of the transaction goes.
        except Exception:
            self._plain("ROLLBACK TO SAVEPOINT changes")
            raise
        finally:
            self._plain("RELEASE SAVEPOINT changes")

    def append(self, start: int, entries: Sequence[Entry]) -> None:
        """Add records to the log from index `start` on. Raises LedgerUnavailable."""
        self._waiting += enumerate(entries, start)

    def put_checkpoint(self, checkpoint: bytes, *, size: int, previous: bytes | None) -> None:
        """Replace exactly `previous`; LedgerUnavailable when another is stored."""
        if not self._swap(_SIGNED, checkpoint, size=size, previous=previous):
            raise LedgerUnavailable("another guard has written to this store")

    def put_cosigned(self, checkpoint: bytes, *, size: int) -> None:
        """Store a cosigned checkpoint unless one of a larger size is stored."""
        row = self._one(self._statements.head, {"kind": _COSIGNED})
        if row is None or row[0] <= size:
            self._swap(_COSIGNED, checkpoint, size=size, previous=bytes(row[1]) if row else None)

    def commit(self) -> None:
        """Make it durable.

        Raises LedgerInDoubt, or LedgerUnavailable when certainly nothing of it is.
        """
        self._flush()
        try:
            self._cursor.execute("COMMIT")
        except self._database.driver.Error as error:
            if self._database.certain(error):
                raise unavailable(error) from error
            raise LedgerInDoubt(f"the disk failed: {error}") from error
        self._open = False

    def rollback(self) -> None:
        """Forget it; does nothing after `commit`."""
        self._waiting.clear()
        if self._open:
            self._open = False
            try:
                # The connection knows whether the database has rolled back by itself.
                self._cursor.connection.rollback()
            except self._driver.Error as error:
                raise unavailable(error) from error

    def _put(self, change: Change) -> None:
        values = rows.columns(change)
        if isinstance(change, EraseBefore):
            self._flush()
            for statement in self._statements.erase:
                self._execute(statement, values)
            return
        if isinstance(change, PutTrustPolicy):
            self._execute(self._statements.add_trust_policy, values)
        else:
            self._execute(self._statements.puts[type(change)], values)

    def _swap(self, kind: str, checkpoint: bytes, *, size: int, previous: bytes | None) -> bool:
        values = {"kind": kind, "checkpoint": checkpoint}
        if previous is not None:
            moved = {**values, "previous": previous, "new_size": size}
            self._execute(self._statements.move_head, moved)
            return bool(self._cursor.rowcount == 1)
        try:
            self._execute(self._statements.add_head, {**values, "size": size})
        except ChangeRefused:
            return False
        return True

    def _flush(self) -> None:
        if not self._waiting:
            return
        values = [{"position": position, **entry._asdict()} for position, entry in self._waiting]
        self._waiting.clear()
        try:
            self._cursor.executemany(self._statements.add_entry.text, values)
        except self._driver.Error as error:
            raise unavailable(error) from error

    def _plain(self, text: str) -> None:
        try:
            self._cursor.execute(text)
        except self._driver.Error as error:
            raise unavailable(error) from error


class SqlStore:
    """The store on an engine whose connections begin and end nothing by themselves."""

    def __init__(self, engine: Engine, database: Database) -> None:
        self._engine = engine
        self._database = database
        self._driver = database.driver
        self._writer = engine.raw_connection()
        self._cursor = self._writer.cursor()
        self._sync: bool | None = None

    def begin(self, *, sync: bool = True) -> Transaction:
        """Begin the writer's transaction; without `sync` its commit does not wait for the disk."""
        try:
            if sync is not self._sync:
                self._cursor.execute(self._database.synced if sync else self._database.unsynced)
                self._sync = sync
            self._cursor.execute(self._database.begin)
        except self._driver.Error as error:
            raise unavailable(error) from error
        return SqlTransaction(self._cursor, self._database)

    def read(self) -> AbstractContextManager[Reads]:
        """Return a view of what is committed now."""
        return self._view()

    def leaves(self) -> Iterator[bytes]:
        """Yield every leaf's data in order, each held against what is left of its record."""
        with self._reader() as cursor:
            cursor.execute(self._database.statements.all_entries.text)
            expected = 0
            while found := cursor.fetchmany(_FETCH):
                for position, *parts in found:
                    if position != expected:
                        raise LedgerUnavailable(f"record {expected} is missing from the store")
                    expected += 1
                    yield _checked(Entry(*parts), position)

    def close(self) -> None:
        """Let go of files and locks."""
        self._cursor.close()
        self._writer.close()
        self._engine.dispose()

    @contextmanager
    def _view(self) -> Iterator[Reads]:
        with self._reader() as cursor:
            yield SqlReads(cursor, self._database)

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        # Returning the connection to its pool ends the transaction.
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            try:
                cursor.execute("BEGIN")
            except self._driver.Error as error:
                raise unavailable(error) from error
            yield cursor
        finally:
            connection.close()


def _checked(entry: Entry, position: int) -> bytes:
    try:
        entry.check()
    except Refused as refused:
        raise LedgerUnavailable(f"record {position} was altered: {refused.detail}") from refused
    return entry.leaf()


def unavailable(error: Exception) -> LedgerUnavailable:
    """Say what the driver said; its messages hold no values."""
    return LedgerUnavailable(f"the store cannot be used: {error}")
