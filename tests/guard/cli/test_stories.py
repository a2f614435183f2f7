"""Longer stories, each with a deployment of its own where it changes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest

from guard.cli.profile import load_profile
from guard.cli.roster import NOBODY
from tests.guard.cli.node import Node
from tests.guard.cli.running import ROOT, Answer, Running
from tests.guard.cli.test_commands import warrant
from tests.guard.cli.test_segments import section

Callguard = Callable[..., Answer]
pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "config/roster.example.toml"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """Run a deployment for one test."""
    running = Running(tmp_path / "d")
    try:
        running.start()
        yield running
    finally:
        running.stop_all()


def test_an_emergency_is_under_embargo_until_a_second_person_signs(
    own: Running, callguard: Callguard, tmp_path: Path
) -> None:
    """It starts by itself under one signature; its segments can be fetched after the second."""

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    with Node(own.folder / "nodes/node-1") as node:
        path = warrant(tmp_path, interception_order="emergency")
        registered = as_("legal-1", "warrant", "register", path, "--json").json()
        assert registered["state"] == "provisional"
        own.wait(lambda: node.live, "the emergency has started by itself")
        (capture,) = node.live
        legal = load_profile(own.person("legal-1")).identity().to_public()
        node.seal(capture, 1, pyrage.encrypt(section(b"voice"), [legal]))
        fetch = ("legal-1", "capture", "fetch", capture, "--out", tmp_path / "out", "--open")
        assert as_(*fetch).denied() == "embargoed"
        approved = as_("legal-2", "authority", "approve", registered["id"], "--yes")
        assert approved.code == 0
        assert "in force already" in approved.out
        assert as_(*fetch).code == 0
        (opened,) = (tmp_path / "out").glob("*.pcapng")
        assert opened.read_bytes() == section(b"voice")


def test_from_nobody_to_a_running_house(callguard: Callguard, tmp_path: Path) -> None:
    """A deployment without people gets its first by a signed version put beside the guard."""
    running = Running(tmp_path / "d", NOBODY)
    folder = running.folder
    try:
        running.start()
        assert callguard("trust", "propose", EXAMPLE, "--deployment", folder).code == 0
        for root in (2, 3):
            key = folder / f"roots/root-{root}.key"
            assert (
                callguard("trust", "sign", folder / "trust/2.json", "--root", key, "--yes").code
                == 0
            )
        running.stop("guard")
        shutil.copy(folder / "trust/2.json", folder / "guard/trust.json")
        running.start_guard()
        status = callguard("--profile", running.person("legal-1"), "status", "--json").json()
        assert (status["trust_version"], status["roles"]) == (2, ["legal"])
    finally:
        running.stop_all()


def test_a_watcher_waits_for_a_guard_that_restarts(own: Running, callguard: Callguard) -> None:
    """While the guard is away the watcher says so on standard error, and goes on afterwards."""

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    with Node(own.folder / "nodes/node-1") as node:
        ticket = as_(
            *("operator-1", "ticket", "open", "--reference", "INC-9", "--reason", "echo", "--json"),
            *("--node", "node-1", "--level", "signalling", "--number", "+15550001", "--for", "5m"),
        ).json()["id"]
        assert as_("lead-1", "authority", "approve", ticket, "--yes").code == 0
        start = ("operator-1", "capture", "start", ticket, "--node", "node-1", "--json")
        capture = as_(*start).json()["id"]
        own.wait(lambda: node.live, "the node has armed it")
    command = [sys.executable, "-m", "guard", "capture", "watch", capture, "--json"]
    with subprocess.Popen(
        [*command, "--profile", own.person("operator-1")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as watcher:
        assert watcher.stdout
        assert watcher.stderr
        assert json.loads(watcher.stdout.readline())["id"] == capture
        own.stop("guard")
        assert "cannot reach the guard" in watcher.stderr.readline()
        own.start_guard()
        with Node(own.folder / "nodes/node-1") as again:
            own.wait(lambda: again.live, "the node has armed it again")
            as_("operator-1", "capture", "stop", capture)
            last = [json.loads(line) for line in watcher.stdout][-1]
        assert watcher.wait(20) == 0
    assert last["state"] == "ended"


def test_both_servers_end_in_order_and_start_only_when_all_fits(
    own: Running, callguard: Callguard
) -> None:
    """SIGTERM ends each with status 0; a key that others can read ends the start in one line."""
    assert own.stop("guard") == 0
    assert own.stop("witness") == 0
    for config, key in (
        ("guard/guard.toml", "guard/signing.key"),
        ("witness/witness-1/witness.toml", "witness/witness-1/witness.key"),
    ):
        (own.folder / key).chmod(0o644)
        words = ("serve",) if config.startswith("guard") else ("witness", "serve")
        answer = callguard(*words, "--config", own.folder / config)
        assert answer.code == 1
        assert f"chmod 600 {own.folder / key}" in answer.err
        assert "Traceback" not in answer.err
