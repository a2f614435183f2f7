"""A complete Callguard run as its users run it: real processes, real keys, the real commands.

With a :class:`~tests.lab.network.Network` the guard lives in the guard's namespace and the agent on
the node; without one everything is on loopback and there is no agent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.lab.network import Network, end

__all__ = ["Answer", "Deployment"]

ROOT = Path(__file__).resolve().parents[2]
WARRANT = """\
instrument = "{instrument}"
reference = "3 Gs 1234/26"
level = "{level}"
nodes = ["node-1"]
{end}
recipients = ["legal-1"]
legal_basis = "StPO section 100a"
issuing_authority = "Amtsgericht Musterstadt"
issuing_signer = "RiAG Muster"
presenting_officer = "KHK Beispiel"
presenting_agency = "LKA Musterland"
order = "order.pdf"

[subjects]
telephone = ["{number}"]
"""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse the output of a ``--json`` command; raises with its error output when it failed."""
        if self.code != 0:
            raise RuntimeError(f"exit status {self.code}: {self.err.strip()}")
        return json.loads(self.out)


@dataclass
class Deployment:
    """``folder`` is made by ``callguard init --demo``; use as a context manager."""

    folder: Path
    network: Network | None = None
    port: int = 7443
    witnesses: int = 1
    allowed: tuple[str, ...] = ()
    """Further units that may hear whole interfaces."""
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        places = [f"127.0.0.1:{7480 + number}" for number in range(self.witnesses)]
        witnesses = [word for place in places for word in ("--witness-address", place)]
        made = self.run("init", str(self.folder), "--demo", "--address", self.address, *witnesses)
        if made.code != 0:
            raise RuntimeError(made.err)
        if self.network:
            self.edit_agent('interfaces = ["voice-a", "voice-b"]')
            self.narrow_sentry()
        return self

    def __exit__(self, *exc: object) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    @property
    def address(self) -> str:
        """Where the guard listens."""
        return f"10.77.9.2:{self.port}" if self.network else f"127.0.0.1:{self.port}"

    @property
    def dhcp_client(self) -> str:
        """Name the unit that may listen on the node."""
        assert self.network
        return f"{self.network.name('dhcp')}.service"

    # -- commands ------------------------------------------------------------------------------

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> Answer:
        """Run ``callguard`` with these arguments where the guard is."""
        command = self._in("guard", [sys.executable, "-m", "guard", *arguments])
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
            check=False,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "110"},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def as_(self, person: str, *arguments: str, **options: Any) -> Answer:
        """Run ``callguard`` with the profile of ``person``."""
        return self.run("--profile", str(self.folder / "people" / person), *arguments, **options)

    def json(self, person: str, *arguments: str, **options: Any) -> Any:
        """Run ``callguard --json`` with the profile of ``person`` and parse the answer."""
        return self.as_(person, "--json", *arguments, **options).json()

    # -- processes -----------------------------------------------------------------------------

    def start(self) -> Deployment:
        """Start witnesses, guard and (with a network) the agent, and wait until all is up."""
        for number in range(1, self.witnesses + 1):
            self.start_witness(number)
        self.start_guard()
        if self.network:
            self.start_agent()
        return self

    def start_witness(self, number: int = 1) -> None:
        """Start a witness; its process is called `witness`, `witness-2` and so on."""
        name = "witness" if number == 1 else f"witness-{number}"
        config = f"witness/witness-{number}/witness.toml"
        self._start(name, "guard", "guard", "witness", "serve", "--config", config)

    def start_guard(self) -> None:
        """Start the gatekeeper and wait until it answers."""
        self._start("guard", "guard", "guard", "serve", "--config", "guard/guard.toml")
        self.wait_for(
            lambda: self.as_("auditor-1", "log", "checkpoint").code == 0, "the guard answers"
        )

    def start_agent(self, *prefix: str) -> None:
        """Start the agent of ``node-1``; ``prefix`` goes before it, such as ``faketime``."""
        config = "nodes/node-1/agent.toml"
        self._start("agent", "node", "agents", "run", "--config", config, prefix=prefix)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """Return the running process ``witness``, ``guard`` or ``agent``."""
        return self._processes[name]

    def stop(self, name: str) -> int:
        """End one process and return its exit status."""
        return end(self._processes.pop(name))

    def kill(self, name: str) -> None:
        """Kill one process with SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def log_of(self, name: str) -> str:
        """Return everything that the process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        """Wait until ``condition()`` is true and return its value; raises with the logs' ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(
                        f"{name} ended with {process.returncode}: {self.log_of(name)[-2000:]}"
                    )
            time.sleep(0.1)
        logs = "\n".join(f"--- {name}: {self.log_of(name)[-1500:]}" for name in self._processes)
        raise TimeoutError(f"waited {seconds} s in vain until {what}\n{logs}")

    # -- the story's usual steps ---------------------------------------------------------------

    def ticket(
        self,
        *,
        level: str = "media_headers",
        number: str = "+15550001",
        lasts: str = "10m",
        approve: bool = True,
        demand: str | None = None,
    ) -> str:
        """Open a ticket as operator-1, let lead-1 approve it, and return its id."""
        opened = self.json(
            "operator-1",
            "ticket",
            "open",
            "--reference",
            "INC-1",
            "--reason",
            "one-way audio",
            "--node",
            "node-1",
            "--level",
            level,
            "--number",
            number,
            "--for",
            lasts,
            *(("--enforcement", demand) if demand else ()),
        )
        if approve:
            self.json("lead-1", "authority", "approve", opened["id"], "--yes")
        return str(opened["id"])

    def warrant(
        self,
        *,
        number: str,
        instrument: str = "interception_order",
        level: str = "content",
        not_after: datetime | None = None,
        approve: bool = True,
    ) -> str:
        """Register a warrant as legal-1, let legal-2 approve it, and return its id."""
        folder = self.folder / "orders"
        folder.mkdir(exist_ok=True)
        (folder / "order.pdf").write_bytes(b"%PDF-1.7 the scanned order")
        end = f"not_after = {not_after.isoformat()}" if not_after else 'lasts = "20m"'
        draft = folder / f"{len(list(folder.glob('*.toml')))}.toml"
        draft.write_text(WARRANT.format(instrument=instrument, level=level, number=number, end=end))
        registered = self.json("legal-1", "warrant", "register", str(draft))
        if approve:
            self.json("legal-2", "authority", "approve", registered["id"], "--yes")
        return str(registered["id"])

    def warranted_capture(self, **order: Any) -> str:
        """Register and approve a warrant and wait until its capture is armed; returns its id."""
        return self.await_capture(self.warrant(**order))

    def await_capture(self, authority: str) -> str:
        """Wait until a capture under ``authority`` is armed and return its id."""

        def armed() -> str | None:
            for capture in self.captures():
                if capture["authority_id"] == authority and capture["state"] == "armed":
                    return str(capture["id"])
            return None

        return str(self.wait_for(armed, "the warrant's capture is armed"))

    def count_armed(self) -> int:
        """Count the captures that are armed."""
        listed = self.captures()
        return sum(capture["state"] == "armed" for capture in listed)

    def capture(self, person: str, authority: str, *more: str) -> str:
        """Start a capture and wait until the node has armed it; returns its id."""
        capture = self.json(person, "capture", "start", authority, "--node", "node-1", *more)["id"]
        self.await_state(capture, "armed")
        return str(capture)

    def captures(self) -> list[dict[str, Any]]:
        """Return every capture, newest first."""
        return list(self.json("auditor-1", "capture", "list", "--limit", "500")["captures"])

    def state(self, capture: str) -> dict[str, Any]:
        """Return one capture as ``capture list`` shows it."""
        found = [c for c in self.captures() if c["id"] == capture]
        return dict(found[0]) if found else {}

    def await_state(self, capture: str, *states: str, seconds: float = 20) -> dict[str, Any]:
        """Wait until the capture is in one of ``states``."""

        def reached() -> dict[str, Any] | None:
            now = self.state(capture)
            return now if now.get("state") in states else None

        return dict(self.wait_for(reached, f"the capture is {' or '.join(states)}", seconds))

    def fetch(self, person: str, capture: str, folder: Path) -> Path:
        """Fetch and open an ended capture; returns the ``.pcapng``."""
        self.json(person, "capture", "fetch", capture, "--out", str(folder), "--open")
        (opened,) = folder.glob("*.pcapng")
        return opened

    def records(self) -> list[dict[str, Any]]:
        """Return the whole log as the auditor reads it."""
        return list(self.json("auditor-1", "log", "entries")["records"])

    # -- inside --------------------------------------------------------------------------------

    def edit_agent(self, *lines: str) -> None:
        """Replace options of the node's configuration, one ``key = value`` a line."""
        path = self.folder / "nodes/node-1/agent.toml"
        text = path.read_text().splitlines()
        for line in lines:
            key = line.split("=")[0].strip()
            text = [t for t in text if t.split("=")[0].strip() != key]
            text.insert(0, line)
        path.write_text("\n".join(text) + "\n")

    def narrow_sentry(self) -> None:
        """Let the sentry judge only what is on the lab's node: others use this machine, too."""
        assert self.network
        path = self.folder / "nodes/node-1/agent.toml"
        scope = f'test_namespaces = ["{self.network.name("node")}"]'
        allow = f"allow = {json.dumps([self.dhcp_client, *self.allowed])}"
        below = f'test_cgroup = "{self.network.slice.path}"\n' if self.network.slice else ""
        path.write_text(f"{path.read_text()}\n[sentry]\n{scope}\n{allow}\n{below}")

    def let_sentry_enforce(self) -> None:
        """Sign and publish a trust policy that lets the node's sentry enforce; wait until it does."""
        self.set_sentry("enforce")

    def set_sentry(self, mode: str) -> None:
        """Sign and publish a trust policy with this mode for the node; wait until it is in force."""
        roster = self.folder / f"{mode}.toml"
        roster.write_text(f'[[nodes]]\nname = "node-1"\nsentry = "{mode}"\n')
        proposed = self.run(
            "trust", "propose", str(roster), "--deployment", str(self.folder), "--json"
        )
        version = self.folder / f"trust/{proposed.json()['version']}.json"
        for root in ("root-1", "root-2"):
            key = str(self.folder / f"roots/{root}.key")
            self.run("trust", "sign", str(version), "--yes", "--json", "--root", key).json()
        self.json("auditor-1", "trust", "publish", str(version))
        self.wait_for(
            lambda: self.status_or_nothing().get("sentry", {}).get("mode") == mode,
            f"the sentry's mode is {mode}",
        )

    def let_recorders_ask(self) -> None:
        """Let recorders on the node ask at a socket."""
        path = self.folder / "nodes/node-1/agent.toml"
        socket = self.folder / "decisions/decisions.sock"
        path.write_text(f'{path.read_text()}\n[decisions]\nsocket = "{socket}"\n')

    def check(self, call_id: str, *, what: str = "whole-call") -> Answer:
        """Ask as a recorder on the node does, the Call-ID over standard input."""
        config = str(self.folder / "nodes/node-1/agent.toml")
        asking = ("check", "--who", "pbx", "--what", what, "--stdin", "json", "--json")
        done = subprocess.run(
            self._in("node", [sys.executable, "-m", "agents", *asking, "--config", config]),
            capture_output=True,
            text=True,
            input=json.dumps({"call_id": call_id}),
            timeout=30,
            check=False,
            cwd=ROOT,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def node_status(self) -> dict[str, Any]:
        """Return what ``callguard-agent status`` says."""
        config = str(self.folder / "nodes/node-1/agent.toml")
        command = [sys.executable, "-m", "agents", "status", "--json", "--config", config]
        done = subprocess.run(
            self._in("node", command),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=ROOT,
        )
        return dict(Answer(done.returncode, done.stdout, done.stderr).json())

    def status_or_nothing(self) -> dict[str, Any]:
        """Return what the agent's status says, or nothing while there is none."""
        try:
            return self.node_status()
        except RuntimeError:
            return {}

    def add_relay(self, *lines: str) -> None:
        """Give the node of the deployment a media relay, with further options of its table."""
        path = self.folder / "nodes/node-1/agent.toml"
        path.write_text("\n".join([path.read_text(), "[relay]", *lines, ""]))

    def _in(self, place: str, command: list[str]) -> list[str]:
        return self.network.inside(place, *command) if self.network else command

    def _start(
        self, name: str, place: str, module: str, *arguments: str, prefix: tuple[str, ...] = ()
    ) -> None:
        *words, config = arguments
        command = [*prefix, sys.executable, "-m", module, *words, str(self.folder / config)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._in(place, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
