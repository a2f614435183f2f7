"""Following a public log: what comes is shown once it is verified, what is wrong ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from queue import Empty, Queue

import pytest

from guard.core.fields import format_time
from tests.guard.cli.auditing import Case, again, found
from tests.guard.cli.running import ROOT, free_port

START = 400


class Following:
    """`callguard log follow` as a process of its own, looking five times a second at least."""

    def __init__(self, case: Case, where: str | Path, *words: str | Path) -> None:
        policy = case.log.folder.parent / "policy"
        policy.write_text(case.log.site.policy.log.text)
        command = [sys.executable, "-m", "guard", "log", "follow", "--every", "1s", "--json"]
        self.process = subprocess.Popen(
            [*command, "--log", where, "--policy", policy, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: Queue[str] = Queue()
        self.err: Queue[str] = Queue()
        for stream, queue in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._pump, args=(stream, queue), daemon=True).start()

    @staticmethod
    def _pump(stream, queue: Queue[str]) -> None:
        for line in stream:
            queue.put(line)

    def entry(self) -> int:
        """Return the index of the next entry shown."""
        return json.loads(self.out.get(timeout=30))["index"]

    def note(self) -> str:
        return self.err.get(timeout=30)

    def end(self, sign: int | None = None) -> int:
        if sign is not None:
            self.process.send_signal(sign)
        return self.process.wait(30)


@pytest.fixture
def follow(case: Case) -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def start(*words: str | Path, where: str | Path | None = None) -> Following:
        started.append(Following(case, where or case.log.folder, *words))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(10)
        each.process.stdout.close()
        each.process.stderr.close()


def grow(case: Case, size: int, entries=None) -> None:
    """Publish the first entries of the log, as a guard does: tiles first."""
    shown = (entries or case.entries)[:size]
    case.log.write_tiles(shown)
    fresh = case.log.folder / ".new"
    fresh.write_bytes(case.log.note(shown, case.at))
    fresh.replace(case.log.folder / "checkpoint")


def test_new_entries_are_shown_as_they_come(case: Case, follow, tmp_path: Path) -> None:
    """From the newest on; Control-C ends it well, and it goes on where it was."""
    state = tmp_path / "state"
    grow(case, START)
    following = follow("--state", state)
    assert f"from entry {START} on" in following.note()
    for size in (START + 1, 511, 513):
        grow(case, size)
    assert [following.entry() for _ in range(START, 513)] == list(range(START, 513))
    while state.read_bytes() != (case.log.folder / "checkpoint").read_bytes():
        time.sleep(0.05)
    assert following.end(signal.SIGINT) == 0
    assert "stopped" in following.note()
    grow(case, 514)
    following = follow("--state", state)
    assert "going on from the 513 entries" in following.note()
    assert following.entry() == 513
    assert following.end(signal.SIGINT) == 0


def test_a_server_that_is_away_is_waited_for(case: Case, follow, serve) -> None:
    """It is said once, and what came meanwhile is shown when it is back."""
    grow(case, START)
    port = free_port()
    following = follow(where=f"http://127.0.0.1:{port}")
    assert "cannot reach" in following.note()
    serve(case.log.folder, port=port)
    assert "following log.callguard.test" in following.note()
    assert "back" in following.note()
    grow(case, START + 1)
    assert following.entry() == START
    with pytest.raises(Empty):
        following.err.get_nowait()


def ended(case: Case, state: Path):
    """Follow in this process: it ends by what it finds."""
    return case.command("follow", "--state", state, "--every", "1s")


def test_a_state_that_is_none_is_named(case: Case, tmp_path: Path) -> None:
    """Whoever follows several logs must know which file is broken."""
    state = tmp_path / "my-state"
    state.write_text("no checkpoint\n")
    answer = ended(case, state)
    assert found(answer)[0] == "checkpoint_untrusted"
    assert str(state) in answer.err


@pytest.fixture
def state(case: Case, tmp_path: Path) -> Path:
    """Have seen the log up to START."""
    grow(case, START)
    made = tmp_path / "seen"
    made.write_bytes((case.log.folder / "checkpoint").read_bytes())
    return made


def test_a_fork_ends_it_and_is_kept(case: Case, state: Path) -> None:
    """Signed and cosigned, but not what was seen before: both checkpoints are kept."""
    before = state.read_bytes()
    grow(case, 500, [again(case.entries[7], body={"x": 1}), *case.entries[1:]])
    answer = ended(case, state)
    assert found(answer)[0] == "log_forked"
    assert answer.out == ""
    conflict = state.with_name("seen.conflict")
    assert conflict.read_bytes() == (case.log.folder / "checkpoint").read_bytes()
    assert state.read_bytes() == before


def test_a_fork_at_one_size_ends_it(case: Case, state: Path) -> None:
    grow(case, START, [again(case.entries[7], body={"x": 1}), *case.entries[1:]])
    assert found(ended(case, state))[0] == "log_forked"


def test_a_log_that_shrank_ends_it(case: Case, state: Path) -> None:
    grow(case, START - 1)
    assert found(ended(case, state))[0] == "log_shrunk"
    assert state.with_name("seen.conflict").exists()


def test_a_back_dated_entry_ends_it(case: Case, state: Path) -> None:
    """A new entry dated more than a minute before the last checkpoint was cosigned."""
    entries = list(case.entries)
    old = case.at - timedelta(seconds=61)
    entries[START] = again(entries[START], time=format_time(old))
    grow(case, START + 1, entries)
    assert found(ended(case, state)) == ("entry_backdated", START)


def test_a_new_entry_that_is_not_the_trees_ends_it(case: Case, state: Path) -> None:
    grow(case, 500)
    entries = list(case.entries)
    entries[450] = again(entries[450], body={"x": 1})
    path = next(case.log.folder.glob("tile/entries/001.p/244"))
    whole = case.log.folder / "other"
    case.log.folder, true = whole, case.log.folder
    case.log.write_tiles(entries[:500])
    case.log.folder = true
    path.write_bytes((whole / "tile/entries/001.p/244").read_bytes())
    assert found(ended(case, state)) == ("entry_altered", 450)


def test_a_quorum_that_is_missing_ends_it(case: Case, state: Path) -> None:
    case.log.write("checkpoint", case.log.note(case.entries[:450], case.at, by={}))
    assert found(ended(case, state))[0] == "quorum_missing"
