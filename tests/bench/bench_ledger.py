"""What a durable, logged decision costs, beside bare SQLite with one synced insert each.

A plan is one `capture request` as the ledger sees it: two reads, one record, one new row, and what
was decided is signed and on the disk before the caller hears of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import structlog

from guard.app.changes import AuthorityRow, CaptureRow, PutAuthority, PutCapture
from guard.app.ports import Plan, Reads
from guard.clock import SystemClock
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.note import parse_vkey
from guard.core.record import Record, RecordKind
from guard.core.trust import TrustPolicy
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import LOG_NAME, WITNESS_NAME, Deployment
from tests.builders.witnesses import RunningWitness, SetClock

CALLERS = 32
SECONDS = 2.0
AUTHORITY = str(uuid.uuid4())
NOW = SystemClock.now()
HOME = Deployment()


def record(kind: RecordKind, **body: str) -> Record:
    return Record(kind=kind, time=NOW, body=body, salt=os.urandom(32))


def first(_view: Reads, index: int) -> Plan[None]:
    row = AuthorityRow(
        id=AUTHORITY,
        envelope=b"e" * 1500,
        state=AuthorityState.APPROVED,
        registrant="operator-1",
        revision=index,
        window_end=NOW + timedelta(hours=1),
    )
    registered = record(RecordKind.AUTHORITY_REGISTERED, authority_id=AUTHORITY)
    return Plan(result=None, records=[registered], changes=[PutAuthority(row)])


def decision() -> Callable[[Reads, int], Plan[int]]:
    name = str(uuid.uuid4())

    def plan(view: Reads, index: int) -> Plan[int]:
        assert view.authority(AUTHORITY)
        assert view.capture_by_request("operator-1", name) is None
        row = CaptureRow(
            id=name,
            authority_id=AUTHORITY,
            node="node-1",
            level=Level.MEDIA_HEADERS,
            state=CaptureState.GRANTED,
            why="",
            grant=b"g" * 900,
            evidence_index=index,
            not_before=NOW,
            not_after=NOW + timedelta(hours=1),
            lease_seconds=30,
            principal="operator-1",
            request_id=name,
            revision=index,
        )
        granted = record(
            RecordKind.CAPTURE_GRANTED,
            grant_digest="a" * 64,
            grant_id=name,
            authority_id=AUTHORITY,
            node="node-1",
            principal="operator-1",
        )
        return Plan(result=index, records=[granted], changes=[PutCapture(row)])

    return plan


async def writer_seconds(ledger: Sequencer) -> float:
    """Return the CPU time that the writer's thread has used."""
    return await ledger.execute(lambda _view, _index: Plan(result=time.thread_time()))


async def load(ledger: Sequencer, callers: int) -> tuple[float, float, float]:
    """Return plans a second, the writer's CPU seconds a plan, and the 99th percentile's seconds."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS

    async def caller() -> None:
        while (start := time.perf_counter()) < end:
            await ledger.execute(decision())
            took.append(time.perf_counter() - start)

    cpu, begin = await writer_seconds(ledger), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed = time.perf_counter() - begin
    cpu = await writer_seconds(ledger) - cpu
    return len(took) / elapsed, cpu / len(took), p99(sorted(took))


def bare_inserts(folder: Path) -> list[float]:
    """Return seconds of inserts into bare SQLite, each in a synced transaction of its own."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE entries (position INTEGER PRIMARY KEY, body BLOB)")
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        connection.execute("INSERT INTO entries VALUES (?, ?)", (len(took), os.urandom(1500)))
        took.append(time.perf_counter() - start)
    connection.close()
    return sorted(took)


async def cosigning(folder: Path, ledger: Sequencer) -> list[float]:
    """Return seconds from an answered decision to its announced cosigned checkpoint."""
    policy: TrustPolicy = replace(HOME.policy, checkpoint_max_age=timedelta(hours=1))
    log = parse_vkey(policy.log.vkey)
    witness = RunningWitness(
        folder, name=WITNESS_NAME, key=HOME.witness_key, logs=(log,), clock=SetClock(NOW)
    )
    news = asyncio.Event()
    (folder / "log").mkdir()
    public = PublicLog(folder / "log", log=log)
    cosigner = Cosigner(
        ledger,
        [WitnessEndpoint(name=WITNESS_NAME, url=witness.url)],
        policy=lambda: policy,
        public=public,
        clock=SystemClock(),
        announce=lambda _note: news.set(),
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    task = asyncio.ensure_future(cosigner.run())
    took = []
    await news.wait()
    for _ in range(200):
        news.clear()
        await ledger.execute(decision())
        start = time.perf_counter()
        await news.wait()
        took.append(time.perf_counter() - start)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    witness.stop()
    public.close()
    return sorted(took)


def p99(took: list[float]) -> float:
    return took[int(len(took) * 0.99)]


def rate(name: str, ours: float, took: list[float], least: float) -> dict[str, Any]:
    """Return a row of plans a second beside inserts a second."""
    peer = len(took) / sum(took)
    return {
        "name": name,
        "unit": "1/s",
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 2),
        "budget": f">= {least} x bare SQLite",
        "met": ours / peer >= least,
    }


def delay(name: str, ours: float, peer: float, most: float) -> dict[str, Any]:
    """Return a row of a delay beside that of one synced insert on the same disk."""
    return {
        "name": name,
        "unit": "ms",
        "ours": ours * 1e3,
        "peer": peer * 1e3,
        "ratio": round(ours / peer, 2),
        "budget": f"<= {most} x synced insert",
        "met": ours / peer <= most,
    }


def figure(name: str, unit: str, ours: float, budget: str, *, met: bool) -> dict[str, Any]:
    """Return a row without a peer."""
    return {"name": name, "unit": unit, "ours": ours, "budget": budget, "met": met}


def rows() -> Iterator[dict[str, Any]]:
    """Yield the ledger's figures, measured on the disk under /var/tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        store = SqliteStore(folder / "guard.db")
        ledger = Sequencer(store, origin=LOG_NAME, key=HOME.log_key)
        asyncio.run(ledger.execute(first))
        yield from _decisions(ledger, folder)
        yield from _cosigned(ledger, folder)
        with ledger.reads() as view:
            size = view.size()
        ledger.close()
        begin = time.perf_counter()
        Sequencer(store, origin=LOG_NAME, key=HOME.log_key).close()
        checked = size / (time.perf_counter() - begin)
        store.close()
    yield figure(
        "ledger: records checked at the start",
        "1/s",
        checked,
        ">= 20,000 /s",
        met=checked >= 20_000,
    )


def _decisions(ledger: Sequencer, folder: Path) -> Iterator[dict[str, Any]]:
    bare = bare_inserts(folder)
    many, cpu, slowest = asyncio.run(load(ledger, CALLERS))
    yield rate(f"ledger: durable decisions, {CALLERS} callers", many, bare, 1.0)
    yield delay(f"ledger: p99 of a decision, {CALLERS} callers", slowest, p99(bare), 10)
    yield figure(
        "ledger: writer's CPU for a decision", "us", cpu * 1e6, "<= 200 us", met=cpu <= 200e-6
    )
    alone, _, _ = asyncio.run(load(ledger, 1))
    yield rate("ledger: durable decisions, one at a time", alone, bare, 0.2)


def _cosigned(ledger: Sequencer, folder: Path) -> Iterator[dict[str, Any]]:
    (folder / "peer").mkdir()
    bare = bare_inserts(folder / "peer")
    took = asyncio.run(cosigning(folder, ledger))
    # On the way lie two syncs of the witness, of its file and of its folder.
    title = "ledger: from decision to cosigned checkpoint"
    yield delay(f"{title}, p50", median(took), median(bare), 10)
    yield delay(f"{title}, p99", p99(took), p99(bare), 10)
