"""The published folder: what is in it, what refuses to be in it, and what it says to a start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.ports import LedgerUnusable, Plan
from guard.core.checkpoint import verify_log_signature
from guard.core.logpolicy import parse_log_policy
from guard.core.note import KeyType, parse_note, parse_vkey, verifier_key
from guard.core.record import Record, RecordKind
from guard.core.tiles import TileLog, bundle_path, tile_path, tiles
from guard.log.publishing import NotPublished, PublicLog
from guard.log.sequencer import Sequencer
from guard.store.memory import MemoryStore
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import LOG_NAME, NOW, Deployment

DEPLOYMENT = Deployment()
LOG = parse_vkey(DEPLOYMENT.policy.log.vkey)


def record(number: int = 0) -> Record:
    body = {"secret": f"body {number}"}
    return Record(kind=RecordKind.CAPTURE_DENIED, time=NOW, body=body, salt=os.urandom(32))


async def grow(ledger: Sequencer, count: int) -> bytes:
    """Add records in one plan; return the checkpoint over them."""
    records = [record(number) for number in range(count)]
    await ledger.execute(lambda view, index: Plan(result=None, records=records))
    with ledger.reads() as view:
        checkpoint = view.checkpoint()
    assert checkpoint is not None
    return checkpoint


@contextmanager
def ledger_of(store) -> Iterator[Sequencer]:
    ledger = Sequencer(store, origin=LOG_NAME, key=DEPLOYMENT.log_key)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def public_at(folder: Path) -> Iterator[PublicLog]:
    public = PublicLog(folder, log=LOG)
    try:
        yield public
    finally:
        public.close()


@pytest.fixture
def ledger() -> Iterator[Sequencer]:
    with ledger_of(MemoryStore()) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "log"
    made.mkdir(mode=0o700)
    return made


def published(folder: Path) -> TileLog:
    """Read the folder as anybody would, and check all of it against its checkpoint."""
    head = verify_log_signature(parse_note((folder / "checkpoint").read_bytes()), LOG)
    log = TileLog(lambda path: (folder / path).read_bytes(), head.size)
    assert log.check() == head.root == log.root()
    return log


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found - {".lock"}


def expected(size: int) -> set[str]:
    hashes = {tile.path for tile in tiles(size)}
    bundles = {bundle_path(tile.index, tile.width) for tile in tiles(size) if tile.level == 0}
    return hashes | bundles | {"checkpoint", "policy"}


@pytest.mark.parametrize("sizes", [(1, 2, 3), (255, 256, 257), (10, 700), (66_000,)])
async def test_the_folder_holds_the_log(ledger, folder, sizes):
    """Every published size can be read from the files, and no body and no salt is in any of them."""
    with public_at(folder) as public:
        for size in sizes:
            checkpoint = await grow(ledger, size - ledger.size)
            public.publish(checkpoint, ledger, DEPLOYMENT.policy)
            assert (folder / "checkpoint").read_bytes() == checkpoint
            assert published(folder).size == public.size == size
            assert expected(size) <= files(folder)
    log = published(folder)
    assert list(log.leaves(0, log.size)) == ledger.leaves(0, log.size)
    assert not any(b"secret" in (folder / name).read_bytes() for name in files(folder))


async def test_a_partial_tile_goes_when_the_full_one_is_covered(ledger, folder):
    """Partial tiles of published sizes stay until a checkpoint covers the full tile."""
    with public_at(folder) as public:
        for count in (200, 50):
            public.publish(await grow(ledger, count), ledger, DEPLOYMENT.policy)
        assert files(folder) == expected(200) | expected(250)
        public.publish(await grow(ledger, 10), ledger, DEPLOYMENT.policy)
        assert files(folder) == expected(260)


async def test_everybody_may_read_what_is_published(ledger, folder):
    """Whatever the guard's umask is, files are 0644 and folders 0755; only the lock is its own."""
    before = os.umask(0o077)
    try:
        with public_at(folder) as public:
            public.publish(await grow(ledger, 300), ledger, DEPLOYMENT.policy)
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert modes.pop(folder / ".lock") == 0o600
    assert all(mode == (0o755 if path.is_dir() else 0o644) for path, mode in modes.items())


async def test_the_policy_is_beside_the_log(ledger, folder):
    """The file `policy` names the log, the witnesses and the quorum, and follows the policy."""
    with public_at(folder) as public:
        public.publish(await grow(ledger, 1), ledger, DEPLOYMENT.policy)
    assert parse_log_policy((folder / "policy").read_text()) == DEPLOYMENT.policy.log


@pytest.mark.parametrize(
    "path", [tile_path(0, 0), tile_path(1, 0, 1), bundle_path(0), bundle_path(1, 44)]
)
async def test_a_file_with_other_content_is_never_overwritten(ledger, folder, path):
    """What stands where the log would write is left as it is, and nothing newer is published."""
    with public_at(folder) as public:
        public.publish(await grow(ledger, 10), ledger, DEPLOYMENT.policy)
        before = (folder / "checkpoint").read_bytes()
        strange = folder / path
        strange.parent.mkdir(parents=True, exist_ok=True)
        strange.write_bytes(b"strange")
        checkpoint = await grow(ledger, 290)
        with pytest.raises(NotPublished, match="holds something else than the log"):
            public.publish(checkpoint, ledger, DEPLOYMENT.policy)
        assert strange.read_bytes() == b"strange"
        assert (folder / "checkpoint").read_bytes() == before
        strange.unlink()
        public.publish(checkpoint, ledger, DEPLOYMENT.policy)
    assert published(folder).size == 300


async def test_the_checkpoint_never_goes_back(ledger, folder):
    """An older checkpoint, and one of another log of the same name, are not published."""
    with public_at(folder) as public, ledger_of(MemoryStore()) as other:
        older = await grow(ledger, 5)
        newer = await grow(ledger, 5)
        public.publish(newer, ledger, DEPLOYMENT.policy)
        with pytest.raises(NotPublished, match="10 records are published already, not 5"):
            public.publish(older, ledger, DEPLOYMENT.policy)
        fork = await grow(other, 10)
        with pytest.raises(NotPublished, match="not one of the ledger's"):
            public.publish(fork, ledger, DEPLOYMENT.policy)
        await grow(ledger, 5)
        with pytest.raises(NotPublished, match="not one of the ledger's"):
            public.publish(await grow(other, 10), ledger, DEPLOYMENT.policy)
    assert (folder / "checkpoint").read_bytes() == newer


async def test_a_restart_continues(tmp_path, folder):
    """A new guard on the same database and folder publishes what is new."""
    store = SqliteStore(tmp_path / "guard.db")
    for size in (100, 300):
        with ledger_of(store) as ledger, public_at(folder) as public:
            public.hold_against(ledger)
            public.publish(await grow(ledger, size - ledger.size), ledger, DEPLOYMENT.policy)
    store.close()
    assert published(folder).size == 300
    assert files(folder) == expected(300)


async def test_a_restart_tidies_up(ledger, folder):
    """Partial tiles that a guard left, which died after its checkpoint, go; needed ones stay."""
    with public_at(folder) as public:
        public.publish(await grow(ledger, 300), ledger, DEPLOYMENT.policy)
    for stale in (tile_path(0, 0, 7), bundle_path(0, 7)):
        (folder / stale).parent.mkdir()
        (folder / stale).write_bytes(b"stale")
    # Died after the tiles and before the checkpoint: the partial tiles of 300 are needed still.
    (folder / tile_path(0, 1)).write_bytes(b"full")
    with public_at(folder) as public:
        public.hold_against(ledger)
    assert files(folder) == expected(300) | {tile_path(0, 1)}


async def test_an_older_database_refuses_the_start(tmp_path, folder):
    """A database from before the published checkpoint is refused, and told to be restored."""
    store = SqliteStore(tmp_path / "guard.db")
    with ledger_of(store) as ledger, public_at(folder) as public:
        await grow(ledger, 3)
        store.begin().rollback()
        shutil.copy(tmp_path / "guard.db", tmp_path / "older.db")
        shutil.copy(tmp_path / "guard.db-wal", tmp_path / "older.db-wal")
        public.publish(await grow(ledger, 4), ledger, DEPLOYMENT.policy)
    store.close()
    older = SqliteStore(tmp_path / "older.db")
    with ledger_of(older) as ledger, public_at(folder) as public:
        assert ledger.size == 3
        with pytest.raises(LedgerUnusable) as refused:
            public.hold_against(ledger)
        assert "the database is older than the log" in str(refused.value)
        assert "it holds 3 records and 7 were published" in str(refused.value)
        assert "never delete that folder" in str(refused.value)
        # Grown beyond the published size on another path, it is another log.
        await grow(ledger, 10)
        with pytest.raises(LedgerUnusable, match="is not the one of the log"):
            public.hold_against(ledger)
    older.close()


async def test_two_guards_never_share_a_folder(folder):
    """The second on the same folder is refused until the first is gone."""
    with (
        public_at(folder),
        pytest.raises(LedgerUnusable, match="another guard publishes its log"),
    ):
        PublicLog(folder, log=LOG)
    PublicLog(folder, log=LOG).close()


async def test_another_logs_folder_is_refused(ledger, folder):
    """A checkpoint of another key, or none at all, in the folder refuses the start."""
    with public_at(folder) as public:
        public.publish(await grow(ledger, 3), ledger, DEPLOYMENT.policy)
    other = verifier_key(LOG_NAME, KeyType.NOTE, Ed25519PrivateKey.generate().public_key())
    with pytest.raises(LedgerUnusable, match="not this log's"):
        PublicLog(folder, log=other)
    (folder / "checkpoint").write_bytes(b"nothing")
    with pytest.raises(LedgerUnusable, match="not this log's"):
        PublicLog(folder, log=LOG)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """The folder is never made by a start: a lost one must be noticed."""
    with pytest.raises(LedgerUnusable, match="No such file"):
        PublicLog(tmp_path / "none", log=LOG)


async def test_a_published_log_is_lost_and_made_again(ledger, folder):
    """From an empty folder the same files come again, byte by byte."""
    with public_at(folder) as public:
        checkpoint = await grow(ledger, 600)
        public.publish(checkpoint, ledger, DEPLOYMENT.policy)
    first = {name: (folder / name).read_bytes() for name in files(folder)}
    shutil.rmtree(folder)
    folder.mkdir()
    with public_at(folder) as public:
        public.hold_against(ledger)
        public.publish(checkpoint, ledger, DEPLOYMENT.policy)
    assert {name: (folder / name).read_bytes() for name in files(folder)} == first


async def test_a_record_altered_underneath_is_not_published(tmp_path, folder):
    """A record that was changed in the database while the guard ran is found before it is shown."""
    store = SqliteStore(tmp_path / "guard.db")
    with ledger_of(store) as ledger, public_at(folder) as public:
        checkpoint = await grow(ledger, 5)
        store._writer.execute("UPDATE entries SET kind = 'incident' WHERE position = 2")
        with pytest.raises(NotPublished, match="not those that were signed"):
            public.publish(checkpoint, ledger, DEPLOYMENT.policy)
    store.close()
    assert files(folder) == set()


async def test_a_stopped_guard_stops_publishing(ledger, folder):
    """After `close` nothing more is written."""
    public = PublicLog(folder, log=LOG)
    checkpoint = await grow(ledger, 5)
    public.close()
    with pytest.raises(NotPublished, match="stopping"):
        public.publish(checkpoint, ledger, DEPLOYMENT.policy)
    assert files(folder) == set()
