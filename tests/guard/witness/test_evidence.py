"""What a witness keeps against a log, put to it over real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guard.core.checkpoint import parse_checkpoint, verify_log_signature
from guard.core.note import parse_note
from guard.core.witnessing import encode_add_checkpoint
from guard.witness.evidence import EvidenceUnreadable, read_evidence
from tests.guard.witness.test_server import (
    CHILD,
    FORK,
    LOG,
    NOW,
    ORIGIN,
    TREE,
    WITNESS,
    Running,
    checkpoint,
    request,
)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    assert made.add(request(0, 70))[0] == 200
    yield made
    made.stop()


def evidence(folder: Path) -> list:
    return read_evidence(folder / "state")


def files(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "evidence").iterdir())


def test_both_sides_of_a_split_view_are_kept(witness, tmp_path):
    """Two checkpoints of one size with two roots, both signed by the log: anybody can judge it."""
    witness.clock.time = NOW + timedelta(seconds=7, microseconds=5)
    assert witness.add(request(70, 70, tree=FORK))[0] == 422
    (kept,) = evidence(tmp_path)
    assert (kept.conflict, kept.origin, kept.at) == ("split_view", ORIGIN, "2026-11-23T22:00:07Z")
    ours, theirs = parse_note(kept.our_note.encode()), parse_note(kept.their_note.encode())
    mine, yours = verify_log_signature(ours, LOG), verify_log_signature(theirs, LOG)
    assert (mine.size, mine.root) == (70, TREE.root(70))
    assert (yours.size, yours.root) == (70, FORK.root(70))
    assert ours.by(WITNESS)


def test_a_split_view_is_kept_whatever_size_it_claims_to_follow(witness, tmp_path):
    """Answered as a stale guess, it convicts the log all the same."""
    assert witness.add(request(0, 70, tree=FORK))[0] == 409
    assert [kept.conflict for kept in evidence(tmp_path)] == ["split_view"]


def test_an_unproven_continuation_and_a_rollback_are_kept(witness, tmp_path):
    """With the proof that came along, and the size it was offered for."""
    assert witness.add(request(70, 90, tree=FORK))[0] == 422
    assert witness.add(encode_add_checkpoint(70, [], checkpoint(30)))[0] == 400
    assert witness.add(request(20, 40))[0] == 409
    found = {(kept.conflict, kept.their_size): kept for kept in evidence(tmp_path)}
    assert found.keys() == {("not_continued", 90), ("rolled_back", 30), ("rolled_back", 40)}
    kept = found["not_continued", 90]
    assert (kept.old_size, len(kept.proof)) == (70, len(FORK.consistency(70, 90)))
    assert parse_checkpoint(kept.their_note.encode()).root == FORK.root(90)


def test_what_the_log_did_not_do_is_not_kept(witness, tmp_path):
    """Stale guesses, strangers' signatures and repetitions speak against nobody."""
    other = request(70, 70, tree=FORK).replace(b"\n70\n", b"\n71\n")
    for body in (request(0, 90), request(20, 70), other, b"nonsense"):
        assert witness.add(body)[0] in {400, 403, 409}
    assert evidence(tmp_path) == []


def test_the_same_view_is_kept_once_and_warned_of_once(witness, tmp_path):
    """A log that insists fills neither the folder nor the log."""
    with capture_logs() as logs:
        for _ in range(3):
            assert witness.add(request(70, 70, tree=FORK))[0] == 422
    said = [line for line in logs if line["event"] == "view_refused"]
    assert len(evidence(tmp_path)) == len(said) == 1
    assert said[0]["log_level"] == "warning"
    assert (said[0]["origin"], said[0]["conflict"]) == (ORIGIN, "split_view")
    assert said[0]["kept"] == files(tmp_path)[0].name


def test_evidence_survives_a_restart(tmp_path):
    """What was kept before is listed after, and is not kept again."""
    first = Running(tmp_path)
    first.add(request(0, 9))
    first.add(request(9, 9, tree=FORK))
    before = evidence(tmp_path)
    first.stop()
    again = Running(tmp_path)
    try:
        assert again.add(request(9, 9, tree=FORK))[0] == 422
        assert evidence(tmp_path) == before
        assert len(before) == 1
    finally:
        again.stop()


def test_evidence_is_on_the_disk_before_the_answer(tmp_path):
    """A witness killed as soon as it has refused has kept why."""
    code = CHILD.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = iter(process.stdout.readline, b"")
    client = Running.__new__(Running)
    client.port = next(int(line.split()[1]) for line in lines if line.startswith(b"port:"))
    assert client.add(request(0, 9))[0] == 200
    assert client.add(request(9, 9, tree=FORK))[0] == 422
    process.kill()
    process.communicate()
    assert [kept.conflict for kept in evidence(tmp_path)] == ["split_view"]


def test_the_first_64_of_a_kind_are_kept(witness, tmp_path):
    """Old checkpoints sent without end take no room from the split view that comes after them."""
    with capture_logs() as logs:
        for size in range(1, 70):
            assert witness.add(request(0, size))[0] == 409
        assert witness.add(request(70, 70, tree=FORK))[0] == 422
    kept = evidence(tmp_path)
    assert len(kept) == 65
    sizes = sorted(each.their_size for each in kept if each.conflict == "rolled_back")
    assert sizes == list(range(1, 65))
    assert [line["dropped"] for line in logs if "dropped" in line] == [1, 2, 4]


def test_a_file_is_small_and_nobody_elses(witness, tmp_path):
    """Signatures of strangers are not kept, and only the witness reads its folder."""
    strange = "— stranger.example " + "A" * 4096 + "\n"
    body = request(70, 90, tree=FORK) + strange.encode() * 20
    assert witness.add(body)[0] == 422
    (path,) = files(tmp_path)
    assert path.stat().st_size < 16 * 1024
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "stranger" not in path.read_text()


def test_a_refusal_stands_without_its_evidence(witness, tmp_path):
    """With no room for evidence the view is refused all the same, and the loss is said."""
    (tmp_path / "state" / "evidence").write_text("in the way")
    with capture_logs() as logs:
        assert witness.add(request(70, 70, tree=FORK))[0] == 422
    assert "evidence_not_kept" in [line["event"] for line in logs]
    assert witness.add(request(70, 90))[0] == 200


def test_unreadable_evidence_is_named(witness, tmp_path):
    """A damaged file is not passed over in silence."""
    witness.add(request(70, 70, tree=FORK))
    (path,) = files(tmp_path)
    for text in ("", "[]", "{}", json.dumps({"conflict": "split_view"})):
        path.write_text(text)
        with pytest.raises(EvidenceUnreadable, match=path.name):
            evidence(tmp_path)
