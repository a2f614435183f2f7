"""The sequencer over real stores."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.changes import AuthorityRow, PutAuthority, PutTrustPolicy
from guard.app.ports import (
    ChangeRefused,
    LedgerInDoubt,
    LedgerUnavailable,
    LedgerUnusable,
    Plan,
)
from guard.core.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    sign_checkpoint,
    verify_log_signature,
)
from guard.core.lifecycle import AuthorityState
from guard.core.merkle import leaf_hash, verify_consistency, verify_inclusion
from guard.core.note import KeyType, parse_note, verifier_key
from guard.core.record import Record, RecordKind
from guard.log import sequencer as module
from guard.log.sequencer import Sequencer
from guard.store.memory import MemoryStore
from guard.store.sqlite import SqliteStore

CHILD = Path(__file__).with_name("crashing_guard.py")
ORIGIN = "guard.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
LOG = verifier_key(ORIGIN, KeyType.NOTE, KEY.public_key())
TIME = datetime(2026, 11, 23, 22, tzinfo=UTC)


def record(number: int = 0) -> Record:
    return Record(
        kind=RecordKind.CAPTURE_DENIED, time=TIME, body={"number": number}, salt=os.urandom(32)
    )


def authority(name: str, revision: int = 0) -> AuthorityRow:
    return AuthorityRow(
        id=name,
        envelope=b"envelope",
        state=AuthorityState.REGISTERED,
        registrant="legal-1",
        revision=revision,
        window_end=TIME,
    )


def adding(number: int = 0):
    """Make a plan that records something and returns its index."""
    return lambda view, index: Plan(result=index, records=[record(number)])


@contextmanager
def running(store) -> Iterator[Sequencer]:
    ledger = Sequencer(store, origin=ORIGIN, key=KEY)
    try:
        yield ledger
    finally:
        ledger.close()


class Gate:
    """Keeps the writer inside a plan, so that what is asked meanwhile makes one batch."""

    def __init__(self, ledger: Sequencer) -> None:
        self._ledger = ledger
        self._release = threading.Event()

    async def __aenter__(self) -> None:
        entered, loop = asyncio.Event(), asyncio.get_running_loop()

        def wait(view, index):
            loop.call_soon_threadsafe(entered.set)
            assert self._release.wait(30)
            return Plan(result=None)

        self._task = asyncio.ensure_future(self._ledger.execute(wait))
        await entered.wait()

    async def __aexit__(self, *_error: object) -> None:
        self._release.set()
        await self._task


async def asked(*coroutines) -> list[asyncio.Future]:
    """Start these in order, and return once each has been handed to the writer."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "guard.db")
    yield made
    made.close()


async def test_a_result_is_durable_and_signed_when_it_is_told(store):
    """When execute returns, the record, the row and a checkpoint over both can be read."""
    with running(store) as ledger:
        index = await ledger.execute(
            lambda view, index: Plan(
                result=index, records=[record(5)], changes=[PutAuthority(authority("a", index))]
            )
        )
        with ledger.reads() as view:
            assert (index, view.size()) == (0, 1)
            assert view.entries(0, 1)[0].record().body == {"number": 5}
            assert view.authority("a") == authority("a")
            head = verify_log_signature(parse_note(view.checkpoint()), LOG)
        proof = ledger.inclusion(0, head.size)
        with ledger.reads() as view:
            data = leaf_hash(view.entries(0, 1)[0].leaf())
        verify_inclusion(data, index=0, size=head.size, proof=proof, root=head.root)


async def test_plans_of_a_batch_see_each_other_in_order(store):
    """In one batch, with one checkpoint, each plan sees what the ones before it did."""
    with running(store) as ledger:
        checkpoints = []
        ledger.listen(lambda: checkpoints.append(None))

        def plan(number):
            def decide(view, index):
                seen = view.authority(str(number - 1)) is not None
                changes = [PutAuthority(authority(str(number), index))]
                return Plan(result=(seen, view.size(), index), records=[record()], changes=changes)

            return decide

        async with Gate(ledger):
            tasks = await asked(*(ledger.execute(plan(n)) for n in range(20)))
        results = await asyncio.gather(*tasks)
    assert results == [(n > 0, n, n) for n in range(20)]
    assert len(checkpoints) == 1


async def test_a_plan_that_raises_leaves_no_trace(store):
    """The plans before and after a raising one in the same batch are done, and it is told why."""

    def fail(view, index):
        raise KeyError("no")

    with running(store) as ledger:
        async with Gate(ledger):
            tasks = await asked(
                ledger.execute(adding(1)), ledger.execute(fail), ledger.execute(adding(2))
            )
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], results[2]] == [0, 1]
        assert isinstance(results[1], KeyError)
        with ledger.reads() as view:
            assert [e.record().body["number"] for e in view.entries(0, 9)] == [1, 2]


async def test_a_refused_change_takes_its_record_along(store):
    """A plan whose change breaks a rule adds neither rows nor records."""

    def twice(view, index):
        changes = [PutAuthority(authority("x")), PutTrustPolicy(1, b"a"), PutTrustPolicy(1, b"b")]
        return Plan(result=None, records=[record()], changes=changes)

    with running(store) as ledger:
        async with Gate(ledger):
            tasks = await asked(ledger.execute(twice), ledger.execute(adding(7)))
        refused, index = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(refused, ChangeRefused)
        with ledger.reads() as view:
            assert (index, view.size(), view.authority("x")) == (0, 1, None)
            assert view.trust_policies(0) == []
            assert parse_checkpoint(view.checkpoint()).size == 1


async def test_changes_without_a_record_are_refused(store):
    """Nothing changes off the record."""
    with running(store) as ledger:
        with pytest.raises(ValueError, match="without a record"):
            await ledger.execute(
                lambda view, index: Plan(result=None, changes=[PutAuthority(authority("a"))])
            )
        with ledger.reads() as view:
            assert view.authority("a") is None


async def test_only_looking_signs_nothing(store):
    """A plan without records returns its result and leaves the log as it is."""
    with running(store) as ledger:
        assert await ledger.execute(lambda view, index: Plan(result=(view.size(), index))) == (0, 0)
        with ledger.reads() as view:
            assert view.checkpoint() is None


async def test_every_checkpoint_continues_every_earlier_one(store):
    """Any two checkpoints that were ever shown are proven consistent, and every record included."""
    with running(store) as ledger:
        heads = []
        for size in (1, 3, 2, 7):
            await asyncio.gather(*(ledger.execute(adding(n)) for n in range(size)))
            with ledger.reads() as view:
                heads.append(parse_checkpoint(view.checkpoint()))
        for new in heads:
            for old in (head for head in heads if head.size <= new.size):
                verify_consistency(
                    old_size=old.size,
                    old_root=old.root,
                    new_size=new.size,
                    new_root=new.root,
                    proof=ledger.consistency(old.size, new.size),
                )
        with ledger.reads() as view:
            for index, found in enumerate(view.entries(0, 99)):
                verify_inclusion(
                    leaf_hash(found.leaf()),
                    index=index,
                    size=heads[-1].size,
                    proof=ledger.inclusion(index, heads[-1].size),
                    root=heads[-1].root,
                )


async def test_nothing_is_proven_beyond_what_is_durable(store):
    """A size that the log has not reached is an error."""
    with running(store) as ledger:
        await ledger.execute(adding())
        with pytest.raises(ValueError, match="no such leaves"):
            ledger.inclusion(0, 2)
        with pytest.raises(ValueError, match="no such leaves"):
            ledger.consistency(1, 2)


async def test_a_cancelled_plan_that_waits_is_not_run(store):
    """A caller that gave up before its turn leaves no record."""
    with running(store) as ledger:
        async with Gate(ledger):
            (task,) = await asked(ledger.execute(adding()))
            task.cancel()
            await asyncio.wait([task])
        assert await ledger.execute(adding()) == 0


async def test_an_overload_is_told_at_once(store, monkeypatch):
    """When too many plans wait, the next one is denied rather than decided late."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    with running(store) as ledger:
        async with Gate(ledger):
            tasks = await asked(*(ledger.execute(adding()) for _ in range(3)))
            with pytest.raises(LedgerUnavailable, match="too many"):
                await ledger.execute(adding())
        assert await asyncio.gather(*tasks) == [0, 1, 2]


async def test_more_than_a_batch_is_done_in_several(store, monkeypatch):
    """What waits beyond a batch's size comes in the next one, in order."""
    monkeypatch.setattr(module, "MAX_BATCH", 4)
    with running(store) as ledger:
        async with Gate(ledger):
            tasks = await asked(*(ledger.execute(adding()) for _ in range(11)))
        assert await asyncio.gather(*tasks) == list(range(11))


async def test_closing_finishes_what_waits(store):
    """What was asked before the end is done, what is asked after it is refused."""
    ledger = Sequencer(store, origin=ORIGIN, key=KEY)
    async with Gate(ledger):
        tasks = await asked(*(ledger.execute(adding()) for _ in range(3)))
    ledger.close()
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.execute(adding())


async def test_a_cosigned_checkpoint_is_kept(store):
    """What the witnesses signed is stored beside what the log signed."""
    with running(store) as ledger:
        await ledger.execute(adding())
        await ledger.store_cosigned(b"cosigned", size=1)
        with ledger.reads() as view:
            assert view.cosigned_checkpoint() == b"cosigned"
            assert view.checkpoint() != b"cosigned"


async def test_a_restart_continues(tmp_path):
    """A ledger opened again goes on where it ended, consistent with what it had signed."""
    heads = []
    for _ in range(3):
        store = SqliteStore(tmp_path / "guard.db")
        with running(store) as ledger:
            start = len(heads)
            assert [await ledger.execute(adding()) for _ in range(2)] == [2 * start, 2 * start + 1]
            with ledger.reads() as view:
                heads.append(parse_checkpoint(view.checkpoint()))
            for old in heads:
                verify_consistency(
                    old_size=old.size,
                    old_root=old.root,
                    new_size=heads[-1].size,
                    new_root=heads[-1].root,
                    proof=ledger.consistency(old.size, heads[-1].size),
                )
        store.close()


FORGED = sign_checkpoint(Checkpoint(origin=ORIGIN, size=3, root=b"\x05" * 32), ORIGIN, KEY)
STRANGE = sign_checkpoint(
    Checkpoint(origin=ORIGIN, size=3, root=b"\x05" * 32),
    ORIGIN,
    Ed25519PrivateKey.from_private_bytes(b"\x09" * 32),
)


@pytest.mark.parametrize(
    ("statement", "values", "why"),
    [
        ("UPDATE entries SET body = ? WHERE position = 1", (b'{"number":9}',), "altered"),
        ("UPDATE entries SET kind = ? WHERE position = 1", ("incident",), "altered"),
        ("UPDATE entries SET time = ? WHERE position = 1", ("2026-11-23T22:00:01Z",), "altered"),
        ("UPDATE entries SET salt = ? WHERE position = 1", (b"\x00" * 32,), "altered"),
        ("DELETE FROM entries WHERE position = ?", (2,), "altered"),
        ("DELETE FROM entries WHERE position = ?", (1,), "missing"),
        (
            "INSERT INTO entries SELECT ?, kind, time, digest, salt, body FROM entries LIMIT 1",
            (3,),
            "alt",
        ),
        ("DELETE FROM heads WHERE kind = ?", ("signed",), "no checkpoint"),
        ("UPDATE heads SET checkpoint = ? WHERE kind = 'signed'", (FORGED,), "altered"),
        ("UPDATE heads SET checkpoint = ? WHERE kind = 'signed'", (STRANGE,), "not this log's"),
        ("UPDATE heads SET checkpoint = ? WHERE kind = 'signed'", (b"x",), "not this log's"),
    ],
)
async def test_a_store_altered_by_hand_refuses_the_start(tmp_path, statement, values, why):
    """Whatever is changed in the records or the checkpoint, the ledger does not start on it."""
    path = tmp_path / "guard.db"
    store = SqliteStore(path)
    with running(store) as ledger:
        for number in range(3):
            await ledger.execute(adding(number))
    store.close()
    with sqlite3.connect(path) as thief:
        assert thief.execute(statement, values).rowcount == 1
    thief.close()
    store = SqliteStore(path)
    with pytest.raises(LedgerUnusable, match=why):
        Sequencer(store, origin=ORIGIN, key=KEY)
    store.close()


async def test_another_log_key_or_name_refuses_the_start(tmp_path):
    """A store is continued only by the log that began it."""
    store = SqliteStore(tmp_path / "guard.db")
    with running(store) as ledger:
        await ledger.execute(adding())
    other = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    for origin, key in ((ORIGIN, other), ("other.example/log", KEY)):
        with pytest.raises(LedgerUnusable, match="not this log's"):
            Sequencer(store, origin=origin, key=key)
    store.close()


class FailingStore(MemoryStore):
    """A store whose commits fail with a given error for as long as one is set."""

    error: Exception | None = None

    def begin(self, *, sync=True):
        transaction = super().begin(sync=sync)
        if self.error is not None:
            error = self.error

            def commit():
                raise error

            transaction.commit = commit
        return transaction


async def test_a_full_disk_fails_the_batch_and_no_more():
    """Every plan of a batch that cannot be written fails; later ones go on without a gap."""
    store = FailingStore()
    with running(store) as ledger:
        assert await ledger.execute(adding(1)) == 0
        store.error = LedgerUnavailable("the disk is full")
        results = await asyncio.gather(
            *(ledger.execute(adding(2)) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(result, LedgerUnavailable) for result in results)
        store.error = None
        assert await ledger.execute(adding(3)) == 1
        with ledger.reads() as view:
            assert [e.record().body["number"] for e in view.entries(0, 9)] == [1, 3]
            head = verify_log_signature(parse_note(view.checkpoint()), LOG)
            data = leaf_hash(view.entries(1, 1)[0].leaf())
        verify_inclusion(data, index=1, size=2, proof=ledger.inclusion(1, 2), root=head.root)


async def test_a_disk_in_doubt_stops_the_ledger():
    """After a failed sync nothing is written any more, even if the disk seems well again."""
    store = FailingStore()
    with running(store) as ledger:
        store.error = LedgerInDoubt("input/output error")
        with pytest.raises(LedgerUnavailable):
            await ledger.execute(adding())
        store.error = None
        with pytest.raises(LedgerUnavailable, match="until a new start"):
            await ledger.execute(adding())


async def test_a_strange_fault_of_the_store_is_told():
    """A fault that nobody foresaw fails the batch too, and the writer lives on."""
    store = FailingStore()
    with running(store) as ledger:
        store.error = RuntimeError("strange")
        with pytest.raises(LedgerUnavailable, match="strange"):
            await ledger.execute(adding())
        store.error = None
        assert await ledger.execute(adding()) == 0


async def test_sqlite_full_and_then_room(tmp_path):
    """With SQLite really full, plans fail and nothing is answered as done; with room it goes on."""
    store = SqliteStore(tmp_path / "guard.db")
    with running(store) as ledger:
        await ledger.execute(adding(0))
        pages = store._cursor.execute("PRAGMA page_count").fetchone()[0]
        store._cursor.execute(f"PRAGMA max_page_count={pages + 2}")

        def large(view, index):
            big = Record(
                kind=RecordKind.INCIDENT, time=TIME, body={"x": "y" * 40_000}, salt=b"s" * 32
            )
            return Plan(result=index, records=[big])

        results = await asyncio.gather(
            ledger.execute(large), ledger.execute(adding(1)), return_exceptions=True
        )
        assert isinstance(results[0], LedgerUnavailable)
        assert "full" in str(results[0])
        store._cursor.execute("PRAGMA max_page_count=100000")
        index = await ledger.execute(large)
        with ledger.reads() as view:
            assert view.size() == index + 1
            assert parse_checkpoint(view.checkpoint()).size == index + 1
    with running(store):
        pass
    store.close()


def child(path: Path, step: str, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), step, str(number)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    "step",
    [
        "before begin",
        "before apply",
        "after append",
        "before put_checkpoint",
        "after put_checkpoint",
        "before commit",
        "after commit",
        "after checkpoint",
    ],
)
async def test_killed_at_any_step_it_continues(tmp_path, step, number):
    """After SIGKILL at any step, what was answered is there and the log continues consistently."""
    path = tmp_path / "guard.db"
    store = SqliteStore(path)
    with running(store) as ledger:
        await ledger.execute(adding())
        with ledger.reads() as view:
            before = parse_checkpoint(view.checkpoint())
    store.close()
    process = child(path, step, number)
    output, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == -signal.SIGKILL
    told = [int(line.split()[1]) for line in output.splitlines()]
    store = SqliteStore(path)
    with running(store) as ledger:
        with ledger.reads() as view:
            size = view.size()
            assert all(index + 2 <= size for index in told)
            # A plan's two records are both there or both missing.
            assert size % 2 == 1
        assert await ledger.execute(adding()) == size
        with ledger.reads() as view:
            after = parse_checkpoint(view.checkpoint())
        verify_consistency(
            old_size=before.size,
            old_root=before.root,
            new_size=after.size,
            new_root=after.root,
            proof=ledger.consistency(before.size, after.size),
        )
    store.close()


@pytest.mark.parametrize("limit", [150_001, 222_222, 300_000])
async def test_a_disk_that_refuses_to_write_loses_nothing_told(tmp_path, limit):
    """After a real write error the ledger stops, and a new start finds all that was answered."""
    path = tmp_path / "guard.db"
    process = child(path, "no more", limit)
    output, _ = await asyncio.to_thread(process.communicate)
    lines = output.splitlines()
    told = [int(line.split()[1]) for line in lines if line.startswith(b"done")]
    assert told == list(range(0, 2 * len(told), 2))
    assert told
    assert lines[-1] == b"stopped"
    store = SqliteStore(path)
    with running(store) as ledger:
        with ledger.reads() as view:
            assert view.size() in {told[-1] + 2, told[-1] + 4}
        await ledger.execute(adding())
    store.close()


def test_a_second_guard_is_refused_until_the_first_is_gone(tmp_path):
    """One store has one guard, also across processes, and is free again after kill -9."""
    path = tmp_path / "guard.db"
    store = SqliteStore(path)
    with pytest.raises(LedgerUnusable, match="another guard"):
        SqliteStore(path)
    process = child(path, "never", 1)
    assert process.wait(30) == 1
    store.close()
    SqliteStore(path).close()


def test_the_second_of_two_writers_cannot_commit(tmp_path):
    """Were the lock broken, the swap of the checkpoint would still refuse a second history."""
    path = tmp_path / "guard.db"
    first = SqliteStore(path)
    (tmp_path / "guard.db.lock").unlink()
    second = SqliteStore(path)

    async def scenario() -> None:
        with running(first) as one, running(second) as two:
            assert await one.execute(adding()) == 0
            with pytest.raises(LedgerUnavailable):
                await two.execute(adding())
            assert await one.execute(adding()) == 1

    asyncio.run(scenario())
    first.close()
    second.close()


async def test_no_record_is_dated_before_the_one_before_it(store):
    """A clock that goes back leaves a log that does not, in a batch, between two, and after a start."""

    def dated(*seconds):
        records = [
            Record(
                kind=RecordKind.CAPTURE_DENIED,
                time=TIME + timedelta(seconds=second),
                body={},
                salt=os.urandom(32),
            )
            for second in seconds
        ]
        return lambda _view, _index: Plan(result=None, records=records)

    with running(store) as ledger:
        assert ledger.latest is None
        await ledger.execute(dated(5, 3, 9))
        await ledger.execute(dated(4))
    with running(store) as ledger:
        assert ledger.latest == TIME + timedelta(seconds=9)
        await ledger.execute(dated(8, 12))
        with ledger.reads() as view:
            times = [entry.record().time for entry in view.entries(0, 9)]
    assert times == [TIME + timedelta(seconds=second) for second in (5, 5, 9, 9, 9, 12)]


async def test_a_failed_batch_leaves_the_time_alone(store, monkeypatch):
    """What was not written dates nothing."""
    begin = store.begin

    def failing(*, sync=True):
        transaction = begin(sync=sync)

        def commit():
            raise LedgerUnavailable("the disk is full")

        transaction.commit = commit
        return transaction

    late = Record(
        kind=RecordKind.CAPTURE_DENIED, time=TIME + timedelta(days=9), body={}, salt=os.urandom(32)
    )
    with running(store) as ledger:
        await ledger.execute(adding(1))
        monkeypatch.setattr(store, "begin", failing)
        with pytest.raises(LedgerUnavailable):
            await ledger.execute(lambda _view, _index: Plan(result=None, records=[late]))
        monkeypatch.undo()
        assert ledger.latest == TIME
