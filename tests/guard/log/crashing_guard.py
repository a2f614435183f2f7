"""A guard's ledger in a process of its own, which dies by SIGKILL at a chosen step.

Usage: crashing_guard.py STORE STEP NUMBER. Prints `done INDEX` for every plan whose result it was
told, and dies at the NUMBERth time that STEP is reached. With the step `no more`, the system instead
refuses to let any file grow beyond NUMBER bytes, and it prints `stopped` when the ledger has.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.ports import LedgerUnavailable, Plan
from guard.core.record import Record, RecordKind
from guard.log.sequencer import Sequencer
from guard.store.sqlite import SqliteStore

ORIGIN = "guard.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TIME = datetime(2026, 11, 23, 22, tzinfo=UTC)


def record(number: int) -> Record:
    return Record(
        kind=RecordKind.CAPTURE_DENIED, time=TIME, body={"number": number}, salt=os.urandom(32)
    )


class Steps:
    """Counts how often the chosen step is reached, and dies."""

    def __init__(self, step: str, number: int) -> None:
        self.step, self.left = step, number

    def at(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """A transaction that dies before or after the chosen one of its steps."""

    def __init__(self, inner, steps: Steps) -> None:
        self._inner, self._steps = inner, steps

    def __getattr__(self, name: str):
        method = getattr(self._inner, name)

        def step(*args, **kwargs):
            self._steps.at(f"before {name}")
            result = method(*args, **kwargs)
            self._steps.at(f"after {name}")
            return result

        return step


class DyingStore(SqliteStore):
    steps: Steps

    def begin(self, *, sync=True):
        self.steps.at("before begin")
        return Dying(super().begin(sync=sync), self.steps)


async def one(ledger: Sequencer, number: int) -> None:
    index = await ledger.execute(
        lambda view, index: Plan(result=index, records=[record(number), record(number)])
    )
    os.write(1, f"done {index}\n".encode())


async def until_refused(ledger: Sequencer) -> None:
    for number in range(1000):
        try:
            await one(ledger, number)
        except LedgerUnavailable as error:
            if "until a new start" in str(error):
                os.write(1, b"stopped\n")
                return


async def work(ledger: Sequencer) -> None:
    for first in range(0, 40, 8):
        await asyncio.gather(*(one(ledger, number) for number in range(first, first + 8)))


def main() -> None:
    path, step, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    DyingStore.steps = Steps(step, number)
    ledger = Sequencer(DyingStore(path), origin=ORIGIN, key=KEY)
    if step == "no more":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
        asyncio.run(until_refused(ledger))
        return
    ledger.listen(lambda: DyingStore.steps.at("after checkpoint"))
    asyncio.run(work(ledger))


if __name__ == "__main__":
    main()
