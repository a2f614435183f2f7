"""Witnesses that count: without their quorum nothing new starts, and everything can be stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.core.checkpoint import cosignature_times
from guard.core.logpolicy import parse_log_policy
from guard.core.note import parse_note
from guard.core.tiles import TileLog
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.network import Network
from tests.lab.opened import Opened

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(180)]

SUBJECT = "+15550001"


@pytest.fixture
def witnessed(tmp_path: Path) -> Iterator[Deployment]:
    """Yield a running deployment with two witnesses, both of which must cosign."""
    folder = tmp_path / "d"
    with Network() as network, Deployment(folder, network, witnesses=2) as deployment:
        yield deployment.start()


def denials(lab: Deployment) -> list[str]:
    """Return why captures were denied."""
    return [each["body"]["reason"] for each in lab.records() if each["kind"] == "capture_denied"]


def test_a_lost_witness_stops_what_is_new_and_nothing_else(
    witnessed: Deployment, tmp_path: Path
) -> None:
    """One of two gone: a running capture goes on and can be ended; new ones wait for it."""
    assert witnessed.network
    capture = witnessed.warranted_capture(number=SUBJECT)
    ticket = witnessed.ticket(level="signalling")
    call = Call(witnessed.network, tmp_path / "call", caller=SUBJECT, packets=200).start()
    witnessed.kill("witness-2")
    time.sleep(1)  # Its last word must be old.

    asked = witnessed.as_("operator-1", "capture", "start", ticket, "--node", "node-1")
    assert asked.code == 4
    assert "witnesses do not answer" in asked.err
    second = witnessed.warrant(number="+15550009")
    call.wait()
    assert witnessed.state(capture)["state"] == "armed"
    witnessed.json(
        "legal-2",
        "authority",
        "revoke",
        witnessed.state(capture)["authority_id"],
        "--why",
        "order withdrawn",
    )
    witnessed.await_state(capture, "ended")
    assert [each["authority_id"] for each in witnessed.captures()] == [
        witnessed.state(capture)["authority_id"]
    ]

    witnessed.start_witness(2)
    witnessed.await_capture(second)
    witnessed.capture("operator-1", ticket)
    assert set(denials(witnessed)) == {"witness_quorum_missing"}
    heard = Opened(witnessed.fetch("legal-1", capture, tmp_path / "out"))
    assert len(heard.media) > 0


def test_outsiders_can_read_the_log_from_its_files(witnessed: Deployment) -> None:
    """Checkpoint, tiles and policy in the public folder verify with nothing else at hand."""
    witnessed.ticket()
    folder = witnessed.folder / "log"
    size = len(witnessed.records())

    def published() -> TileLog | None:
        note = parse_note((folder / "checkpoint").read_bytes())
        head = note.text.split("\n")
        if int(head[1]) < size:
            return None
        policy = parse_log_policy((folder / "policy").read_text())
        times = cosignature_times(note, policy)
        assert policy.is_met(set(times))
        log = TileLog(lambda path: (folder / path).read_bytes(), int(head[1]))
        assert log.check() == log.root()
        return log

    log = witnessed.wait_for(published, "the log is published")
    assert log is not None
    leaves = list(log.leaves(0, size))
    assert all(SUBJECT.encode() not in leaf and b"authority_id" not in leaf for leaf in leaves)
