"""The SQLite store's file: its tables, its owner, and what it refuses."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, text

from guard.app.changes import PutReceipt, PutTrustPolicy
from guard.app.ports import LedgerUnavailable, LedgerUnusable, Plan
from guard.core.record import Entry, Record, RecordKind
from guard.log.sequencer import Sequencer
from guard.store.migrate import _SCRIPTS, NEWEST
from guard.store.schema import METADATA
from guard.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "guard.db"


def test_the_migrations_make_the_tables_that_the_code_uses(path):
    """After all migrations the database differs in nothing from the tables' definition."""
    SqliteStore(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == NEWEST
    engine.dispose()


@pytest.mark.parametrize("sync", [True, False])
def test_commits_reach_the_disk(path, sync):
    """The writer writes ahead, holds foreign keys, and syncs every commit unless told otherwise."""
    store = SqliteStore(path)
    for asked in (not sync, sync):
        store.begin(sync=asked).rollback()
    pragmas = {
        name: store._cursor.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    store.close()
    full, normal = 2, 1
    expected = full if sync else normal
    assert pragmas == {"journal_mode": "wal", "synchronous": expected, "foreign_keys": 1}


def test_only_the_owner_can_read(path):
    """The file and everything beside it is its owner's, whatever the umask."""
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        transaction = store.begin()
        transaction.put_cosigned(b"x", size=1)
        transaction.commit()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert len(modes) >= 3
    assert set(modes.values()) == {0o600}


def test_a_newer_releases_file_is_refused(path):
    """A database of a version that this release does not know is left alone."""
    SqliteStore(path).close()
    with sqlite3.connect(path) as future:
        future.execute("UPDATE alembic_version SET version_num = '9999'")
    future.close()
    with pytest.raises(LedgerUnusable, match="newer release"):
        SqliteStore(path)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00"])
def test_a_damaged_file_is_refused_and_let_go(path, content):
    """A file that is no database refuses the start, and its lock is free afterwards."""
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match=r"guard\.db cannot be opened"):
            SqliteStore(path)
    path.unlink()
    SqliteStore(path).close()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """A path that cannot be made is named with its reason."""
    with pytest.raises(LedgerUnusable, match="nowhere"):
        SqliteStore(tmp_path / "nowhere" / "guard.db")


def test_a_link_in_place_of_the_lock_is_refused(path, tmp_path):
    """Nobody redirects the lock to a file of his choice."""
    (tmp_path / "guard.db.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerUnusable, match="cannot be locked"):
        SqliteStore(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_migration_leaves_nothing(path, monkeypatch):
    """A step that fails half way takes everything before it back."""
    with monkeypatch.context() as broken:
        broken.setattr("alembic.op.create_index", lambda *_a, **_k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            SqliteStore(path)
    with sqlite3.connect(path) as look:
        assert look.execute("SELECT name FROM sqlite_master").fetchall() == []
    look.close()
    SqliteStore(path).close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one mebibyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.privileged
async def test_on_a_really_full_disk_nothing_is_answered(small_disk):
    """When the disk fills up, plans fail; with room again the log continues without a gap."""
    store = SqliteStore(small_disk / "guard.db")
    key = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    ledger = Sequencer(store, origin="guard.example/log", key=key)

    def plan(view, index):
        record = Record(
            kind=RecordKind.INCIDENT,
            time=datetime(2026, 11, 23, 22, tzinfo=UTC),
            body={"x": "y" * 20_000},
            salt=os.urandom(32),
        )
        return Plan(result=index, records=[record])

    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    done, full = 0, False
    while not full and done < 100:
        try:
            assert await ledger.execute(plan) == done
            done += 1
        except LedgerUnavailable:
            full = True
    assert full
    assert done
    with ledger.reads() as view:
        assert view.size() == done
    ballast.unlink()
    assert await ledger.execute(plan) == done
    ledger.close()
    again = Sequencer(store, origin="guard.example/log", key=key)
    assert await again.execute(plan) == done + 1
    again.close()
    store.close()


def test_records_of_the_first_release_get_their_digests(path):
    """A database with the first tables is brought up to date, every leaf as it was signed."""
    engine = create_engine(f"sqlite:///{path}")
    salt, body = bytes(32), b'{"a":1}'
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(_SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        put = text("INSERT INTO entries VALUES (0, 'incident', '2026-11-23T22:00:00Z', :s, :b)")
        connection.execute(put, {"s": salt, "b": body})
    engine.dispose()
    store = SqliteStore(path)
    digest = sha256(salt + body).digest()
    entry = Entry("incident", "2026-11-23T22:00:00Z", digest, salt, body)
    with store.read() as view:
        assert view.entries(0, 9) == [entry]
    assert list(store.leaves()) == [entry.leaf()]
    store.close()


def test_changes_that_the_driver_cannot_take_leave_none(path):
    """A number that SQLite has no room for: no row stands without the record that tells of it."""
    store = SqliteStore(path)
    transaction = store.begin()
    with pytest.raises(OverflowError):
        transaction.apply([PutTrustPolicy(1, b"lost"), PutReceipt("node-1", 2**70, "0" * 64)])
    transaction.apply([PutTrustPolicy(2, b"after")])
    transaction.commit()
    with store.read() as view:
        assert view.trust_policies(0) == [b"after"]
    store.close()
