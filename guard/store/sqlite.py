"""The store in one SQLite file.

1. The file belongs to one guard at a time: `FILE.lock` is locked for as long as the store is open,
   and by the kernel, so that it is free again after any death.
2. Write-ahead log, foreign keys held, and every commit synced to the disk unless the caller can do
   without (SQLite keeps the order of commits in any case).
3. The file and what SQLite puts beside it can be read by its owner only.
4. Opening brings the tables up to date; a file that a newer release wrote is refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from guard.app.ports import LedgerUnusable
from guard.store.migrate import upgrade
from guard.store.sql import Database, SqlStore
from guard.store.statements import Statements

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA trusted_schema=OFF",
    # What was erased is not left lying about in freed pages.
    "PRAGMA secure_delete=ON",
)
_MODE: Final = 0o600


class SqliteStore(SqlStore):
    """The store in the SQLite file at `path`, which is made if need be.

    Raises LedgerUnusable when another guard holds it or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = _lock(path)
        try:
            engine = _engine(path)
            upgrade(engine)
            super().__init__(engine, _database(engine))
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise LedgerUnusable(f"the store {path} cannot be opened: {error}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def scrub(self) -> bool:
        """Empty the write-ahead log into the file, whose freed pages are zeroed (`_PRAGMAS`)."""
        connection = self._engine.raw_connection()
        try:
            row = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        finally:
            connection.close()
        return bool(row[0] == 0)

    def close(self) -> None:
        """Close the file and let another guard open it."""
        super().close()
        os.close(self._lock)


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
    except OSError as error:
        raise LedgerUnusable(f"the store {path} cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise LedgerUnusable(f"another guard uses the store {path}") from error
    return handle


def _engine(path: Path) -> Engine:
    # Made here, because SQLite would make it readable by everybody.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, _MODE))
    engine = create_engine(
        f"sqlite:///{path}",
        paramstyle="named",
        # A view that is held open never keeps another reader waiting.
        max_overflow=-1,
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _database(engine: Engine) -> Database:
    return Database(
        statements=Statements(engine.dialect),
        driver=sqlite3,
        begin="BEGIN IMMEDIATE",
        synced="PRAGMA synchronous=FULL",
        unsynced="PRAGMA synchronous=NORMAL",
        certain=_is_certain,
    )


def _is_certain(error: Exception) -> bool:
    # SQLite leaves the transaction open when the disk is full or the file is locked. After any
    # other failure, of a sync above all, what the disk holds is unknown.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
    return code & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    # Only the migrations begin through SQLAlchemy; the driver is told not to begin by itself.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
