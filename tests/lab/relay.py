"""The media relay of the lab: Debian's rtpengine on the node, in user space, and a way to talk to it.

The relay's NG port is 127.0.0.1:2223, its CLI 2224, its HTTP 2225; the gate listens on 22222.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any, Self

from tests.lab.network import Network, end

__all__ = ["GATE", "NG", "Relay", "missing_relay"]

INTERFACES = ("a/10.77.1.1", "a/fd77:1::1", "b/10.77.2.1", "b/fd77:2::1")
NG, CLI, HTTP, GATE = 2223, 2224, 2225, 22222
ROOT = Path(__file__).resolve().parents[2]


def missing_relay() -> str:
    """Say in one line what this machine lacks for calls through a relay; empty when nothing."""
    packages = {"rtpengine": "rtpengine-daemon", "kamailio": "kamailio", "nft": "nftables"}
    for program, package in packages.items():
        if which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            return f"the lab needs {program}: install Debian's package {package} (make deps)"
    return ""


@dataclass
class Relay:
    """rtpengine in the node's namespace; use it as a context manager.

    ``folder`` holds its log and, in ``recordings``, whatever it records; ``options`` are added to
    its command line.
    """

    network: Network
    folder: Path
    options: tuple[str, ...] = ()
    records: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def recordings(self) -> Path:
        """Where the relay records when it is told to."""
        return self.folder / "recordings"

    def files(self) -> list[Path]:
        """Return what the relay has recorded."""
        return sorted(each for each in self.recordings.rglob("*") if each.is_file())

    def start(self) -> None:
        """Start the relay and wait until its ports are open."""
        recording = (
            f"--recording-dir={self.recordings}",
            "--recording-method=pcap",
            "--recording-format=eth",
        )
        with (self.folder / "rtpengine.log").open("ab") as log:
            self.process = self.network.start(
                "node",
                "rtpengine",
                "--config-file=none",
                "--table=-1",
                *(f"--interface={each}" for each in INTERFACES),
                *self._ports(),
                "--num-threads=2",
                "--timeout=60",
                "--delete-delay=0",
                "--foreground",
                "--log-stderr",
                "--log-level=5",
                *(recording if self.records else ()),
                *self.options,
                output=log,
                unit="rtpengine-daemon.service",
            )
        for _ in range(200):  # a ping would not do: a gate's fence lets none through
            listening = self.network.run("node", "ss", "-lnup", f"sport = :{self._ng()}")
            if f"pid={self.process.pid}," in listening:  # and not another relay's
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError((self.folder / "rtpengine.log").read_text()[-800:])

    def _ports(self) -> list[str]:
        """Return the usual ports, but for those that the options name."""
        usual = (
            f"--listen-ng=127.0.0.1:{NG}",
            f"--listen-cli=127.0.0.1:{CLI}",
            f"--listen-http=127.0.0.1:{HTTP}",
            "--port-min=30000",
            "--port-max=38999",
        )
        named = {each.partition("=")[0] for each in self.options}
        return [each for each in usual if each.partition("=")[0] not in named]

    def _ng(self) -> str:
        (port,) = (
            each.rpartition(":")[2]
            for each in (*self._ports(), *self.options)
            if each.startswith("--listen-ng=")
        )
        return port

    def stop(self) -> None:
        """End the relay."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def kill(self) -> None:
        """Kill the relay, which has no time to close anything."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """End the relay and start it anew."""
        self.stop()
        self.start()

    def ask(
        self,
        *questions: dict[str, Any],
        port: int = NG,
        transport: str = "udp",
        user: int = 0,
        source_port: int = 0,
    ) -> list[dict[str, Any]]:
        """Ask NG questions on the node, one after the other; an answer that never came is ``{}``.

        ``source_port``: where the questions come from; the kernel chooses when it is nought.
        """
        out = self.network.run(
            "node",
            *(("setpriv", f"--reuid={user}", "--clear-groups") if user else ()),
            sys.executable,
            "-m",
            "tests.lab.ngclient",
            transport,
            str(port),
            str(source_port),
            input=json.dumps(questions),
            cwd=ROOT,
        )
        return list(json.loads(out))
