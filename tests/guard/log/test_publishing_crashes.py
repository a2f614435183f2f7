"""A guard that is killed at every single step, or whose disk is full, forks and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from guard.app.ports import Reads
from guard.core.checkpoint import cosignature_times, parse_checkpoint, verify_log_signature
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import parse_note
from guard.core.record import Entry
from guard.core.tiles import TileLog
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import NOW, WITNESS_NAME
from tests.builders.witnesses import RunningWitness, SetClock
from tests.guard.log.publishing_guard import LOG, POLICY, RECORDS, WITNESS, WITNESS_KEY

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("publishing_guard.py")
# The first full tile is made, and its partial ones go, within the first guard's life.
FIRST, SECOND = 6, 3


class Guards:
    """The process that forks guards."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(self, *words: object) -> tuple[int, list[list[str]]]:
        """Run a guard to its end or its death; return its status and what it said."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        said: list[list[str]] = []
        for line in self._process.stdout:
            said.append(line.split())
            if said[-1][0] == "ended":
                return int(said.pop()[1]), said
        raise AssertionError("the forking process has died")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Site:
    """A guard's folder, and the witness of its log, which lives on while the guard dies."""

    def __init__(self, folder: Path, guards: Guards) -> None:
        self.folder, self._guards = folder, guards
        folder.mkdir()
        (folder / "log").mkdir()
        self.witness = RunningWitness(
            folder / "witness",
            name=WITNESS_NAME,
            key=WITNESS_KEY,
            logs=(LOG,),
            clock=SetClock(NOW),
        )

    def run(self, plans: int, step: int = 0) -> tuple[int, list[list[str]]]:
        """Run the guard to its end or its death; return its status and what it said."""
        return self._guards.run(self.folder, self.witness.url, plans, step)

    def entries(self) -> list[Entry]:
        """Return what the database holds."""
        with self._view() as view:
            return view.entries(0, 1000)

    def cosigned(self) -> int:
        """Return the size that agents are given evidence under."""
        with self._view() as view:
            checkpoint = view.cosigned_checkpoint()
        return parse_checkpoint(checkpoint).size if checkpoint else 0

    @contextmanager
    def _view(self) -> Iterator[Reads]:
        with closing(SqliteStore(self.folder / "guard.db")) as store, store.read() as view:
            yield view

    def published(self) -> TileLog | None:
        """Read the log as anybody may, checked against its checkpoint and its cosignature."""
        try:
            note = parse_note((self.folder / "log" / "checkpoint").read_bytes())
        except FileNotFoundError:
            return None
        head = verify_log_signature(note, LOG)
        assert cosignature_times(note, POLICY.log) == {WITNESS.name: NOW}
        log = TileLog(lambda path: (self.folder / "log" / path).read_bytes(), head.size)
        assert log.check() == head.root
        return log


def said(lines: list[list[str]], word: str) -> list[int]:
    return [int(value) for key, value in lines if key == word]


@pytest.fixture(scope="module")
def guards() -> Iterator[Guards]:
    made = Guards()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, guards: Guards) -> Iterator[Site]:
    made = Site(tmp_path / "site", guards)
    yield made
    made.witness.stop()


def held(site: Site, told: list[int]) -> list[Entry]:
    """Hold the database against what was told, and what was published against the database."""
    entries = site.entries()
    numbers = [json.loads(entry.body)["number"] for entry in entries]
    # Each plan's records are there together, and every plan that was told is among them.
    assert numbers == [number for number in numbers[::RECORDS] for _ in range(RECORDS)]
    assert len(told) == len(set(told))
    assert set(told) <= set(range(0, len(entries), RECORDS))
    log, tree = site.published(), Tree()
    for entry in entries:
        tree.append(leaf_hash(entry.leaf()))
    if log is not None:
        assert tree.root(log.size) == log.root()
        assert list(log.leaves(0, log.size)) == [entry.leaf() for entry in entries[: log.size]]
    return entries


def killed_and_started_again(site: Site, step: int) -> bool:
    """Kill a first guard at a step, hold what it left, run a second; False when it ended first."""
    status, first = site.run(FIRST, step)
    if status == 0:
        return False
    assert status == -signal.SIGKILL
    kept, left = held(site, said(first, "done")), site.published()
    numbers = [json.loads(entry.body)["number"] for entry in kept[::RECORDS]]
    assert len(set(numbers)) == len(numbers)
    # Nothing was announced or kept as evidence that had not been published before.
    evident = max([*said(first, "cosigned"), site.cosigned()])
    assert evident <= (left.size if left else 0)
    status, second = site.run(SECOND)
    assert status == 0
    held(site, said(first, "done") + said(second, "done"))
    # What was there is there still, what is new follows it, and all of it is cosigned.
    assert site.entries()[: len(kept)] == kept
    size = len(kept) + RECORDS * SECOND
    assert site.published().size == site.cosigned() == size
    assert sorted(said(second, "done")) == list(range(len(kept), size, RECORDS))
    return True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_every_step_it_continues(tmp_path, guards):
    """Killed anywhere: what was told is there once, and the log goes on without a fork."""
    for step in count(1):
        site = Site(tmp_path / str(step), guards)
        try:
            if not killed_and_started_again(site, step):
                break
        finally:
            site.witness.stop()
        shutil.rmtree(site.folder)
    # So many there are at least: the matrix was one.
    assert step > 50


def test_a_run_without_death_does_what_it_says(site):
    """The child as such: everything is told, cosigned and published, in very many steps."""
    status, lines = site.run(FIRST)
    assert status == 0
    assert sorted(said(lines, "done")) == list(range(0, RECORDS * FIRST, RECORDS))
    assert said(lines, "cosigned")[-1] == site.published().size == RECORDS * FIRST
    assert said(lines, "steps")[0] > 50
