"""A real rtpengine in a network namespace of its own, to be asked what it knows.

1. It has one interface, which is the loopback, and records to a directory when it is told to.
2. It is asked in plain NG, with nothing of ours in between but the encoding.
3. Leaving the ``with`` block ends it, by its id, and removes the namespace, also after an error.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from pyroute2 import netns

from agents.core.ngcodec import Encoding, NgDict, decode, encode, split

PROGRAM = "rtpengine"
PORT = 2223


def missing() -> str:
    """Say what is missing to start a relay; an empty string when nothing is."""
    if shutil.which(PROGRAM) is None:
        return "NOT RUN: needs rtpengine: install Debian's package rtpengine-daemon"
    return ""


class NgRelay:
    """The relay and a client of its control port; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "relay.log"
        self.directory = directory
        self.spool = directory / "spool"
        self.namespace = f"cg-ng-{secrets.token_hex(3)}"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            netns.create(self.namespace)
            stack.callback(netns.remove, self.namespace)
            within = ["ip", "netns", "exec", self.namespace]
            subprocess.run([*within, "ip", "link", "set", "lo", "up"], check=True)
            log = stack.enter_context(self.log.open("wb"))
            process = subprocess.Popen(
                [*within, PROGRAM, "--config-file=none", "--table=-1", "--interface=127.0.0.1",
                 f"--listen-ng=127.0.0.1:{PORT}", "--num-threads=1", "--foreground",
                 "--log-stderr", "--log-level=6",
                 f"--recording-dir={self.spool}", "--recording-method=pcap", f"--pidfile={self.directory}/relay.pid"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
            )  # fmt: skip
            stack.callback(process.wait, timeout=20)
            stack.callback(process.terminate)
            self._socket = stack.enter_context(self._connect())
            self._wait_until_it_answers(process)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ask(self, message: NgDict) -> NgDict:
        """Send one message, and return the answer to it."""
        cookie = secrets.token_hex(8).encode()
        self._socket.send(cookie + b" " + encode(message, Encoding.BENCODE))
        while True:
            answered, body = split(self._socket.recv(65535))
            if answered == cookie:
                return decode(body, Encoding.BENCODE)

    def said(self, since: int) -> str:
        """Return what the log has gained since it was ``since`` octets long."""
        return self.log.read_bytes()[since:].decode("latin-1")

    def _connect(self) -> socket.socket:
        """Open the client's socket in the namespace; only a thread that ends goes there."""

        def there() -> socket.socket:
            netns.setns(self.namespace)
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.connect(("127.0.0.1", PORT))
            return client

        with ThreadPoolExecutor(1) as pool:
            client = pool.submit(there).result()
        client.settimeout(0.5)
        return client

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(40):
            with contextlib.suppress(OSError):
                if self.ask({b"command": b"ping"}) == {b"result": b"pong"}:
                    self._socket.settimeout(5)
                    return
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"rtpengine did not start: {self.log.read_text()[-600:]}")
