"""The demo's last chapter: the record, from outside. It is told with the words of the demo."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lab.deployment import ROOT, Answer, Deployment

__all__ = ["tell_log"]

Check = Callable[[object, str], None]
Shown = Callable[..., Answer]
DATABASE = "guard/data/guard.db"


def tell_log(lab: Deployment, check: Check, shown: Shown, *, forged: bool) -> None:
    """Verify the log as outsider and auditor; alter a record and a tile, and be caught at both.

    ``forged``: whether a grant that nobody approved is among the records.
    """
    folder = lab.folder / "log"
    lab.wait_for((folder / "checkpoint").exists, "the log is published")
    outsider = _outsider(folder)
    check(
        outsider.code == 0,
        "an outsider with the public keys and the files alone verified the log: "
        f"{_witnesses(outsider)} witnesses, every entry's place",
    )
    answer = shown(lab, "auditor-1", "log", "verify", "--log", str(folder))
    check(answer.code == 0, "the auditor verified every record against it, and every receipt")
    _asked(lab, check, shown, forged=forged)
    with _altered_record(lab) as index:
        caught = shown(lab, "auditor-1", "log", "verify", "--log", str(folder))
        check(
            caught.code == 3 and "record_altered" in caught.err and str(index) in caught.err,
            f"one word of record {index} altered in the guard's database: caught, by its number",
        )
    with _altered(next(iter(sorted((folder / "tile/0").rglob("[0-9]*"), key=_age)))) as name:
        caught = _outsider(folder)
        check(
            caught.code == 3 and "tile_altered" in caught.err,
            f"one byte of {name.relative_to(folder)} altered: caught, by its name",
        )
    again = shown(lab, "auditor-1", "log", "verify", "--log", str(folder))
    check(again.code == 0, "both put back: the log is whole")


def _asked(lab: Deployment, check: Check, shown: Shown, *, forged: bool) -> None:
    """Ask for every interception since the demo began."""
    now = datetime.now(UTC)
    period = [f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", f"{now:%Y-%m-%dT%H:%M:%SZ}"]
    words = ("audit", "interceptions", "--from", period[0], "--to", period[1])
    answer = shown(lab, "auditor-1", *words)
    if forged:
        check(
            answer.code == 3 and "discrepancy:" in answer.err,
            "asked for every interception and its authority, it names the grant that was forged",
        )
    else:
        check(answer.code == 0, "every interception has its authority")


def _outsider(folder: Path) -> Answer:
    """Verify as somebody who has no profile and knows no guard."""
    command = [sys.executable, "-m", "guard", "log", "verify"]
    done = subprocess.run(
        [*command, "--log", str(folder), "--policy", str(folder / "policy")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def _witnesses(answer: Answer) -> int:
    return sum(line.startswith("witness:") for line in (answer.out + answer.err).splitlines())


def _age(path: Path) -> tuple[bool, float, str]:
    return (not path.is_file(), -path.stat().st_mtime, str(path))


@contextmanager
def _altered_record(lab: Deployment) -> Iterator[int]:
    """Change a word of one record in the guard's database, as its administrator could."""
    path = lab.folder / DATABASE
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
        index, body = database.execute(
            "SELECT position, body FROM entries WHERE kind = 'capture_denied' LIMIT 1"
        ).fetchone()
        changed = bytes(body).replace(b"operator-1", b"operator-9")
        alter = "UPDATE entries SET body = ? WHERE position = ?"
        database.execute(alter, (changed, index))
        try:
            yield int(index)
        finally:
            database.execute(alter, (body, index))


@contextmanager
def _altered(path: Path) -> Iterator[Path]:
    """Change one byte of a file."""
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    try:
        yield path
    finally:
        path.write_bytes(data)
