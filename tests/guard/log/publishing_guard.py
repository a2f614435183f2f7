"""Ledger, cosigner and publisher in a process of its own, which dies by SIGKILL at a chosen step.

Reads lines `FOLDER WITNESS_URL COUNT STEP`, and for each forks a guard. That one runs COUNT plans of
50 records, some at once, and prints `done INDEX` for every plan whose result it was told, `cosigned
SIZE` for every checkpoint that was announced, and `steps N` at the end. A step is a call that changes
what is on the disk, or makes it last; the guard dies before its STEPth one, never when STEP is 0.
When it has ended, `ended CODE` is printed, negative for a signal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.ports import Plan
from guard.core.checkpoint import parse_checkpoint
from guard.core.note import KeyType, encode_vkey, verifier_key
from guard.core.record import Record, RecordKind
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import LOG_NAME, NOW, WITNESS_NAME, Deployment, log_policy
from tests.builders.witnesses import SetClock

LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
LOG = verifier_key(LOG_NAME, KeyType.NOTE, LOG_KEY.public_key())
WITNESS = verifier_key(WITNESS_NAME, KeyType.COSIGNATURE, WITNESS_KEY.public_key())
POLICY = replace(Deployment().policy, log=log_policy(encode_vkey(LOG), [encode_vkey(WITNESS)]))
TOGETHER = 3
RECORDS = 50


class Steps:
    """Counts the steps of the whole process, and dies before the chosen one."""

    def __init__(self, chosen: int) -> None:
        self.chosen, self.count = chosen, 0
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self.chosen:
                os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable) -> Callable:
        def stepped(*args, **kwargs):
            self.step()
            return call(*args, **kwargs)

        return stepped


class SteppedStore(SqliteStore):
    """A store whose every change and commit is a step."""

    steps: Steps

    def begin(self, *, sync: bool = True):
        transaction = super().begin(sync=sync)
        for name in ("append", "put_checkpoint", "put_cosigned", "commit"):
            setattr(transaction, name, self.steps.before(getattr(transaction, name)))
        return transaction


def watch(steps: Steps) -> None:
    """Make a step of every call with which Python changes the disk."""
    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "ftruncate", "fchmod"):
        setattr(os, name, steps.before(getattr(os, name)))
    opened = os.open

    def opening(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR):
            steps.step()
        return opened(path, flags, *args, **kwargs)

    os.open = opening


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def one(ledger: Sequencer, number: int) -> None:
    def plan(view, index):
        records = [
            Record(
                kind=RecordKind.CAPTURE_DENIED,
                time=NOW,
                body={"number": number},
                salt=os.urandom(32),
            )
            for _ in range(RECORDS)
        ]
        return Plan(result=index, records=records)

    say(f"done {await ledger.execute(plan)}")


async def work(ledger: Sequencer, public: PublicLog, url: str, count: int) -> None:
    cosigned: asyncio.Queue[int] = asyncio.Queue()

    def announce(note: bytes) -> None:
        size = parse_checkpoint(note).size
        say(f"cosigned {size}")
        cosigned.put_nowait(size)

    cosigner = Cosigner(
        ledger,
        [WitnessEndpoint(name=WITNESS_NAME, url=url)],
        policy=lambda: POLICY,
        public=public,
        clock=SetClock(NOW),
        announce=announce,
    )
    task = asyncio.ensure_future(cosigner.run())
    for first in range(0, count, TOGETHER):
        batch = range(first, min(first + TOGETHER, count))
        await asyncio.gather(*(one(ledger, number) for number in batch))
        while await cosigned.get() < ledger.size:
            pass
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def guard(folder: Path, url: str, count: int, chosen: int) -> None:
    store = SteppedStore(folder / "guard.db")
    steps = SteppedStore.steps = Steps(chosen)
    watch(steps)
    public = PublicLog(folder / "log", log=LOG)
    ledger = Sequencer(store, origin=LOG_NAME, key=LOG_KEY)
    public.hold_against(ledger)
    asyncio.run(work(ledger, public, url, count))
    ledger.close()
    public.close()
    store.close()
    say(f"steps {steps.count}")


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        folder, url, count, chosen = line.split()
        process = os.fork()
        if process == 0:
            guard(Path(folder), url, int(count), int(chosen))
            os._exit(0)
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}")


if __name__ == "__main__":
    main()
