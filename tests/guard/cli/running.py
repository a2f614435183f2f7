"""What the tests of the command line share: answers, and a deployment whose processes run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guard.cli.deployment import Deployment, Site, create
from guard.cli.roster import DEMO, Roster
from guard.clock import SystemClock

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse standard output, which must be one JSON value."""
        return json.loads(self.out)

    def denied(self) -> str:
        """Return the reason, having seen that standard error is one line of the agreed form."""
        assert self.code == 3, self
        match = re.fullmatch(r"denied: ([a-z_]+): [^\n]+\n", self.err)
        assert match, self.err
        return match[1]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A deployment with its witness and its guard as processes of their own."""

    def __init__(self, folder: Path, roster: Roster = DEMO) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        site = Site(addresses=(self.address,), witnesses=(f"127.0.0.1:{free_port()}",))
        self.deployment: Deployment = create(folder, roster, site, now=SystemClock.now())
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start witness and guard; return when the guard has a cosigned checkpoint."""
        self.start_witness()
        self.start_guard()

    def start_witness(self) -> None:
        """Start the witness; whoever needs it waits for what it does."""
        self._start("witness", "witness", "serve", "--config", "witness/witness-1/witness.toml")

    def start_guard(self) -> None:
        """Start the guard; return when it serves."""
        log = self.folder / "guard.log"
        before = log.read_text().count('"serving"') if log.exists() else 0
        self._start("guard", "serve", "--config", "guard/guard.toml")
        self.wait(lambda: log.read_text().count('"serving"') > before, "the guard serves")

    def stop(self, name: str) -> int:
        """End one process and return its status."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def kill(self, name: str) -> None:
        """End one process as a power failure would end it."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(20)

    def stop_all(self) -> None:
        """End what runs."""
        for name in reversed(list(self._processes)):
            self.stop(name)

    def person(self, name: str) -> Path:
        """Return somebody's profile."""
        return self.folder / "people" / name

    def log_of(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        """Wait until the condition holds and return its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended: {self.log_of(name)[-2000:]}"
            time.sleep(0.05)
        raise AssertionError(f"waited in vain until {what}")

    def _start(self, name: str, *words: str) -> None:
        *before, config = words
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "guard", *before, str(self.folder / config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
