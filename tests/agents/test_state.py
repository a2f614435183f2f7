"""The agent's memory on disk survives everything that a crash can do to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.core.commands import Progress
from agents.core.receipts import Link
from agents.state import StateDir, StateError
from tests.builders.deployment import new_id

A, B = new_id(), new_id()
WALL = datetime(2026, 11, 23, 22, 0, 0, 123, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def reopened(root: Path) -> StateDir:
    return StateDir(root)


def test_everything_comes_back(root: Path):
    """What was put is there after a restart, all of it."""
    state = StateDir(root)
    empty = state.load()
    state.put_trust((b"one", b"two"))
    state.put_latest(WALL)
    state.put_ended(A)
    state.put_revoked(B)
    state.put_progress(A, Progress(calls=1, packets=2, bytes=3))
    state.put_progress(B, Progress())
    state.put_progress(B, None)
    state.put_receipt(Link(sequence=1, envelope=b"r1"))
    state.put_segment(A, 7, b"s7")
    state.close()
    state = StateDir(root)
    kept = state.load()
    state.close()

    assert (empty.trust, empty.latest, empty.receipts) == ((), None, ())
    assert kept.trust == (b"one", b"two")
    assert kept.latest == WALL
    assert (kept.ended, kept.revoked) == ({A}, {B})
    assert kept.progress == {A: Progress(calls=1, packets=2, bytes=3)}
    assert kept.receipts == (Link(sequence=1, envelope=b"r1"),)
    assert kept.segments == {(A, 7): b"s7"}


def test_accepted_receipts_go_and_the_newest_stays(root: Path):
    """The next receipt holds the digest of the newest, so that one is kept."""
    state = StateDir(root)
    state.load()
    for number in range(1, 5):
        state.put_receipt(Link(sequence=number, envelope=b"r%d" % number))
    state.forget_receipts(2)
    assert [link.sequence for link in state.load().receipts] == [3, 4]
    state.forget_receipts(9)
    assert [link.sequence for link in state.load().receipts] == [4]
    state.put_receipt(Link(sequence=5, envelope=b"r5"))
    state.forget_receipts(4)
    assert [link.sequence for link in state.load().receipts] == [5]
    state.close()


def test_a_line_cut_short_by_a_crash_is_taken_out(root: Path):
    """It was never acted on; the lines before it stand and new ones follow cleanly."""
    state = StateDir(root)
    state.put_ended(A)
    state.close()
    with (root / "over").open("ab") as file:
        file.write(b"ended 1234")
    state = StateDir(root)
    state.put_revoked(B)
    kept = state.load()
    state.close()

    assert (kept.ended, kept.revoked) == ({A}, {B})


def test_a_draft_left_by_a_crash_is_no_receipt(root: Path):
    """A file that was not yet renamed does not exist."""
    state = StateDir(root)
    (root / "receipts" / ".000000000001.dsse.new").write_bytes(b"half")
    (root / ".trust.json.new").write_bytes(b"[")

    kept = state.load()
    state.close()
    assert (kept.receipts, kept.trust) == ((), ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trust.json", b"[1]"),
        ("trust.json", b'["not base64!"]'),
        ("over", b"ended ../x\n"),
        ("over", b"forgiven 00000000-0000-0000-0000-000000000000\n"),
        ("progress.json", b'{"a": {"unknown": 1}}'),
        ("latest.json", b'"yesterday"'),
        ("receipts/x.dsse", b""),
    ],
)
def test_half_a_memory_stops_the_agent(root: Path, name: str, content: bytes):
    """A file that cannot be read is named as damage, never skipped."""
    StateDir(root).close()
    (root / name).write_bytes(content)
    state = StateDir(root)

    with pytest.raises(StateError, match="damaged"):
        state.load()
    state.close()


def test_one_process_owns_the_folder(root: Path):
    """A second agent on the same state is refused until the first lets go."""
    state = StateDir(root)
    with pytest.raises(StateError, match="in use"):
        StateDir(root)
    state.close()

    StateDir(root).close()


def test_a_folder_open_to_others_is_refused(root: Path, tmp_path: Path):
    """The agent does not write its memory where others can read it, nor make the folder."""
    root.chmod(0o750)
    with pytest.raises(StateError, match="chmod 700"):
        StateDir(root)
    with pytest.raises(StateError, match="No such file"):
        StateDir(tmp_path / "missing")


def test_files_are_closed_to_others(root: Path):
    """Whatever the umask, only the agent's user reads its files."""
    before = os.umask(0)
    try:
        state = StateDir(root)
        state.put_trust((b"x",))
        state.put_receipt(Link(sequence=1, envelope=b"r"))
        state.close()
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*")}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes


def test_only_ids_are_remembered(root: Path):
    """A name that could break the file's lines is a mistake of the caller."""
    state = StateDir(root)
    with pytest.raises(ValueError, match="UUID"):
        state.put_ended("x\nrevoked y")
    state.close()


FILL = """
import os, sys
from pathlib import Path
from agents.core.receipts import Link
from agents.state import StateDir
root = Path(sys.argv[1])
state = StateDir(root)
state.load()
with (root / "capture").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
written = 0
try:
    for number in range(1, 10_000):
        state.put_receipt(Link(sequence=number, envelope=bytes(600)))
        state.put_ended("00000000-0000-0000-0000-%012d" % number)
        written = number
except OSError as error:
    print("full", error.errno)
state.close()
kept = StateDir(root).load()
assert len(kept.receipts) >= written and len(kept.ended) >= written
print("written", written)
"""


@pytest.mark.privileged
def test_a_full_disk_leaves_room_for_the_receipts_that_say_so(tmp_path: Path):
    """On a tmpfs of four megabytes that captures have filled: hundreds of receipts still fit."""
    done = subprocess.run(
        [
            "unshare", "--mount", "sh", "-c",
            'mount -t tmpfs -o size=4m,mode=0700 tmpfs "$1" && exec "$2" -c "$3" "$1"',
            "sh", str(tmp_path), sys.executable, FILL,
        ],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    full, written = done.stdout.splitlines()
    assert full == f"full {errno.ENOSPC}"
    assert int(written.split()[1]) >= 100
