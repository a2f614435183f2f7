"""The ledger: one writer, and one commit and one signed checkpoint per batch.

1. Plans run on one thread, in the order they came, in one transaction per batch, each seeing what
   the ones before it changed. A batch is what was waiting when it began, at most 256 plans.
2. A result is told only after the batch with its records and its checkpoint is on the disk. If the
   batch cannot be written, every plan in it fails with LedgerUnavailable.
3. The checkpoint is signed before the commit and seen by nobody before it. So the log never shows
   two histories, wherever the process dies.
4. At the start the tree is rebuilt from the records and must have the root that was signed. Records
   without a checkpoint, a checkpoint without records, and a strange signature refuse the start.
5. A plan that raises, or whose changes break a rule, leaves no trace and harms no other plan.
6. After a failure of the disk that leaves in doubt what is on it, nothing is written until a new
   start has looked. A full disk is no such failure.
7. At most 4096 plans wait. Further ones fail at once: the guard denies rather than decide late.
8. Times never run backwards in the log: a record is dated no earlier than the one before it. How
   far the clock is behind the log is for whoever permits to judge (`latest`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.ports import (
    LedgerInDoubt,
    LedgerUnavailable,
    LedgerUnusable,
    Plan,
    Reads,
    Store,
    Transaction,
)
from guard.core.checkpoint import Checkpoint, sign_checkpoint, verify_log_signature
from guard.core.fields import parse_time
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import KeyType, parse_note, verifier_key
from guard.core.reasons import Refused
from guard.core.record import Record, entry_of

T = TypeVar("T")

MAX_BATCH: Final = 256
MAX_WAITING: Final = 4096


@dataclass(slots=True)
class _Job:
    """Work for the writer, and where to tell what came of it."""

    work: Callable[[Transaction], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    sync: bool
    result: Any = None
    error: Exception | None = None


class Sequencer:
    """A ledger over a store; `origin` and `key` are the log's name and signing key.

    Raises LedgerUnusable when the store does not hold what the log signed.
    """

    def __init__(self, store: Store, *, origin: str, key: Ed25519PrivateKey) -> None:
        self._store = store
        self._origin = origin
        self._key = key
        self._tree, self._head = _rebuild(store, origin, key)
        self._durable = self._tree.size
        self._latest = _latest(store)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._stopped: str | None = None
        self._doubt: str | None = None
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Return the log's name."""
        return self._origin

    @property
    def size(self) -> int:
        """Return the number of records that are durable."""
        return self._durable

    @property
    def latest(self) -> datetime | None:
        """Return the time of the newest record; None while the log is empty."""
        return self._latest

    async def execute(self, plan: Callable[[Reads, int], Plan[T]]) -> T:
        """Run `plan(view, next_index)` on the writer and return its result once it is durable.

        Raises what the plan raises, ChangeRefused, or LedgerUnavailable.
        """
        result: T = await self._submit(lambda transaction: self._run(plan, transaction))
        return result

    async def store_cosigned(self, checkpoint: bytes, *, size: int) -> None:
        """Keep a checkpoint that a quorum cosigned. Raises LedgerUnavailable."""
        # It need not survive a power failure: the witnesses give it again.
        await self._submit(
            lambda transaction: transaction.put_cosigned(checkpoint, size=size), sync=False
        )

    def reads(self) -> AbstractContextManager[Reads]:
        """Return a view of what is durable now."""
        return self._store.read()

    async def scrub(self) -> bool:
        """Leave nothing of what was erased in any file; say whether that is so."""
        return await asyncio.to_thread(self._store.scrub)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove a record's leaf under the root at `size`. Raises ValueError beyond the log."""
        self._require_durable(size)
        return self._tree.inclusion(index, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the log at `new` continues that at `old`. Raises ValueError beyond the log."""
        self._require_durable(new)
        return self._tree.consistency(old, new)

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` records. Raises ValueError beyond the log."""
        self._require_durable(size)
        return self._tree.root(size)

    def nodes(self, level: int, start: int, end: int) -> bytes:
        """Return the hashes of the full subtrees [start, end) of 2**level leaves, joined.

        Raises ValueError beyond the log.
        """
        self._require_durable(end << level)
        return self._tree.nodes(level, start, end)

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Return the data of the leaves [start, end), computed from the stored records.

        Raises LedgerUnavailable when they are not what was signed.
        """
        with self.reads() as view:
            leaves = [each.leaf() for each in view.entries(start, end - start)]
        hashes = b"".join(leaf_hash(each) for each in leaves)
        if hashes != self.nodes(0, start, end):
            raise LedgerUnavailable(f"the records from {start} on are not those that were signed")
        return leaves

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the writer's thread after each new checkpoint."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Finish what waits, then end the writer. The store stays open."""
        with self._gate:
            self._stopped = self._stopped or "the ledger is closed"
            self._queue.put(None)
        self._thread.join()

    async def _submit(self, work: Callable[[Transaction], Any], *, sync: bool = True) -> Any:  # noqa: ANN401  # the work's result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._gate:
            if self._stopped is not None:
                raise LedgerUnavailable(self._stopped)
            if self._queue.qsize() >= MAX_WAITING:  # Rule 7.
                raise LedgerUnavailable("too many decisions are waiting")
            self._queue.put(_Job(work, loop, future, sync))
        return await future

    def _require_durable(self, size: int) -> None:
        """Refuse a size that the current batch has appended: it may yet be taken back."""
        if size > self._durable:
            # The store knows of a commit a moment before this object does.
            with self.reads() as view:
                if size > view.size():
                    raise ValueError("no such leaves in the log")

    def _write(self) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            grown = self._write_batch(batch) if batch else False
            _tell(batch)
            if grown:
                for listener in self._listeners:
                    listener()

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """Wait for work; return all there is and whether more may come."""
        batch: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            if len(batch) == MAX_BATCH:
                return batch, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _write_batch(self, batch: list[_Job]) -> bool:
        """Run and commit a batch; return whether the log has grown."""
        start, head, latest = self._tree.size, self._head, self._latest
        transaction = None
        try:
            transaction = self._begin(sync=any(job.sync for job in batch))
            for job in batch:
                self._run_job(job, transaction)
            if self._tree.size > start:
                head = self._sign(transaction)
            transaction.commit()
        except Exception as error:  # noqa: BLE001  # whatever it is, the callers must hear of it
            self._latest = latest
            self._abandon(batch, start, transaction, error)
            return False
        self._durable, self._head = self._tree.size, head
        return self._tree.size > start

    def _begin(self, *, sync: bool) -> Transaction:
        if self._doubt is not None:  # Rule 6.
            raise LedgerUnavailable(self._doubt)
        return self._store.begin(sync=sync)

    def _run_job(self, job: _Job, transaction: Transaction) -> None:
        if job.future.cancelled():
            return
        try:
            job.result = job.work(transaction)
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  # it belongs to the plan's caller (rule 5)
            job.error = error

    def _run(self, plan: Callable[[Reads, int], Plan[T]], transaction: Transaction) -> T:
        decided = plan(transaction, self._tree.size)
        if decided.changes and not decided.records:
            raise ValueError("a plan changes rows without a record")
        records, latest = _in_order(decided.records, self._latest)
        entries = [entry_of(record) for record in records]
        # The changes come first: they alone can be refused, and then nothing has been appended.
        transaction.apply(decided.changes)
        transaction.append(self._tree.size, entries)
        for entry in entries:
            self._tree.append(leaf_hash(entry.leaf()))
        self._latest = latest
        return decided.result

    def _sign(self, transaction: Transaction) -> bytes:
        head = Checkpoint(origin=self._origin, size=self._tree.size, root=self._tree.root())
        checkpoint = sign_checkpoint(head, self._origin, self._key)
        transaction.put_checkpoint(checkpoint, size=head.size, previous=self._head)
        return checkpoint

    def _abandon(
        self, batch: list[_Job], start: int, transaction: Transaction | None, error: Exception
    ) -> None:
        self._tree.truncate(start)
        try:
            if transaction is not None:
                transaction.rollback()
        except LedgerUnavailable as doubt:
            self._doubt = f"the ledger has stopped until a new start: {doubt}"
        if isinstance(error, LedgerInDoubt):
            self._doubt = f"the ledger has stopped until a new start: {error}"
        if self._doubt is not None:
            with self._gate:
                self._stopped = self._doubt
        if not isinstance(error, LedgerUnavailable):
            error = LedgerUnavailable(f"the ledger failed: {error}")
        for job in batch:
            job.result, job.error = None, error


def _in_order(
    records: Sequence[Record], latest: datetime | None
) -> tuple[list[Record], datetime | None]:
    """Date every record no earlier than the one before it (rule 8)."""
    dated: list[Record] = []
    for record in records:
        latest = record.time if latest is None else max(record.time, latest)
        dated.append(record if record.time == latest else replace(record, time=latest))
    return dated, latest


def _latest(store: Store) -> datetime | None:
    with store.read() as view:
        last = view.entries(view.size() - 1, 1) if view.size() else []
    return parse_time(last[0].time) if last else None


def _rebuild(store: Store, origin: str, key: Ed25519PrivateKey) -> tuple[Tree, bytes | None]:
    """Return the tree of the stored records and the stored checkpoint that it fits (rule 4)."""
    tree = Tree()
    try:
        with store.read() as view:
            checkpoint = view.checkpoint()
        for data in store.leaves():
            tree.append(leaf_hash(data))
    except LedgerUnavailable as error:
        raise LedgerUnusable(str(error)) from error
    if checkpoint is None:
        if tree.size:
            raise LedgerUnusable("the store holds records and no checkpoint")
        return tree, None
    try:
        log = verifier_key(origin, KeyType.NOTE, key.public_key())
        signed = verify_log_signature(parse_note(checkpoint), log)
    except Refused as error:
        raise LedgerUnusable(f"the stored checkpoint is not this log's: {error.detail}") from error
    if signed.size != tree.size or signed.root != tree.root():
        raise LedgerUnusable(
            f"the store holds {tree.size} records that do not make up the tree of {signed.size} "
            "that was signed: it was altered or is damaged"
        )
    return tree, checkpoint


def _tell(batch: list[_Job]) -> None:
    """Wake the callers: one wake-up per event loop and batch."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in batch:
        by_loop[job.loop].append(job)
    for loop, jobs in by_loop.items():
        # A loop that was closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        elif isinstance(job.error, StopIteration):
            # A future cannot carry it.
            job.future.set_exception(RuntimeError("the plan raised StopIteration"))
        else:
            job.future.set_exception(job.error)
