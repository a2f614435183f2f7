"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agents.status import NAME

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "config/agent.toml").read_text()
TOLD: dict[str, Any] = {
    "node": "node-1",
    "guard": "guard.example:7443",
    "version": "0.1.0",
    "session": True,
    "trust_version": 3,
    "revision": 17,
    "clock": "good",
    "armed": [],
    "receipts_waiting": 2,
    "segments_waiting": 1,
    "spool_bytes": 99,
    "messages_lost": 0,
}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("state", "spool"):
        (tmp_path / name).mkdir(mode=0o700)
    text = EXAMPLE.replace("/var/lib/callguard-agent/", "")
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def answering(folder: Path, told: dict[str, Any]) -> threading.Thread:
    """Answer one question as a running agent does."""
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = Path.cwd()
    os.chdir(folder)
    try:
        listener.bind(NAME)
    finally:
        os.chdir(before)
    listener.listen()

    def answer() -> None:
        with listener, listener.accept()[0] as asking:
            asking.sendall(json.dumps(told).encode())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_a_bad_configuration_is_wrong_usage(config: Path):
    """Exit status 2 and one line that names the file and the key."""
    config.write_text(EXAMPLE + "\nverify = false\n")
    for verb in ("run", "status"):
        done = command(verb, "--config", str(config))

        assert done.returncode == 2
        assert done.stderr == f"error: {config}: unknown key tls.verify\n"


def test_what_keeps_it_from_starting_is_one_line(config: Path):
    """Exit status 1, no traceback; what it logged before is JSON."""
    done = command("run", "--config", str(config))

    assert done.returncode == 1
    *logged, line = done.stderr.splitlines()
    assert all(json.loads(each)["event"] == "no_realtime" for each in logged)
    assert line.startswith("error: the agent does not start: cannot read ")
    assert line.endswith("signing.pem: No such file or directory")


def test_no_agent_is_an_agent_that_cannot_be_reached(config: Path):
    """Exit status 4."""
    done = command("status", "--config", str(config))

    assert done.returncode == 4
    assert done.stderr.startswith("error: no agent answers in ")


def test_status_for_machines_and_for_people(config: Path):
    """One JSON object, or a few plain lines."""
    armed = {
        "grant": "3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43",
        "level": "content",
        "calls": 1,
        "packets": 250,
        "bytes": 50_000,
        "drops": 0,
        "lease_until": "2026-11-23T22:00:30+00:00",
    }
    answering(config.parent / "state", TOLD | {"armed": [armed]}).join(0)
    machine = command("status", "--config", str(config), "--json")
    assert machine.returncode == 0
    assert json.loads(machine.stdout)["armed"] == [armed]

    (config.parent / "state" / NAME).unlink()
    answering(config.parent / "state", TOLD)
    people = command("status", "--config", str(config))
    assert people.stdout.splitlines() == [
        "node-1 in session with guard.example:7443",
        "trust policy 3, revision 17",
        "clock: good",
        "waiting for the guard: 2 receipts, 1 segments, 99 bytes",
        "nothing is armed",
    ]


def test_the_units_paths_are_the_examples():
    """The unit makes the folders that the example names, and gives no capability beside the three."""
    unit = (ROOT / "config/systemd/callguard-agent.service").read_text()

    assert "StateDirectory=callguard-agent callguard-agent/state callguard-agent/spool" in unit
    for line in ("CapabilityBoundingSet=", "AmbientCapabilities="):
        (found,) = [each for each in unit.splitlines() if each.startswith(line)]
        assert set(found.removeprefix(line).split()) == {
            "CAP_BPF",
            "CAP_NET_RAW",
            "CAP_NET_ADMIN",
        }
