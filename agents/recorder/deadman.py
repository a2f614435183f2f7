"""A dead man's switch: when the agent dies, however it dies, its recordings end on the relay too.

1. A small process of its own holds the open subscriptions. The agent tells it of each, through a
   pipe, before the relay is told to send; the end of the pipe is the end of the agent.
2. It then asks the relay to end each, from the address that the fence lets through and that is free
   now, until the relay has answered or `_TRIES` are used up.
3. It takes no signal from the agent's terminal, knows nothing but Call-IDs and tags, and ends.
4. A dead switch is the agent's end: without it nothing is recorded.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import IO

from agents.core.ngcodec import Encoding, encode
from agents.core.owntags import unsubscribe

__all__ = ["DeadMan", "DeadManGone", "end_all", "main"]

_TRIES = 40
_PATIENCE = 0.1

Address = tuple[str, int]


class DeadManGone(Exception):  # noqa: N818  a state, named as such
    """The switch has died; nothing may be recorded without it."""


class DeadMan:
    """The agent's end of the pipe. ``source``: where the agent talks to the relay from."""

    def __init__(self, relay: Address, source: Address) -> None:
        arguments = [relay[0], str(relay[1]), source[0], str(source[1])]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, addresses as arguments
            [sys.executable, "-m", "agents.recorder.deadman", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._pipe: IO[bytes] = self._process.stdin

    @property
    def pid(self) -> int:
        """The switch's process."""
        return self._process.pid

    def ready(self) -> bool:
        """Wait until the switch says that it runs; false when it does not."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        return self._process.stdout.readline() == b"ready\n"

    def alive(self) -> bool:
        """Say whether the switch runs."""
        return self._process.poll() is None

    def holds(self, call_id: bytes, tag: bytes) -> None:
        """Let the switch end this subscription with the agent; raises DeadManGone."""
        self._tell(b"+", call_id, tag)

    def forgets(self, call_id: bytes, tag: bytes) -> None:
        """Let the switch forget a subscription that is over; raises DeadManGone."""
        self._tell(b"-", call_id, tag)

    def close(self) -> None:
        """End the switch, which ends what it still holds."""
        with contextlib.suppress(OSError):  # One that has died took no last word.
            self._pipe.close()
        try:
            self._process.wait(_TRIES * _PATIENCE + 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _tell(self, sign: bytes, call_id: bytes, tag: bytes) -> None:
        line = b"%s %s %s\n" % (sign, call_id.hex().encode(), tag.hex().encode())
        try:
            self._pipe.write(line)
            self._pipe.flush()
        except OSError as error:
            raise DeadManGone("the dead man's switch has died") from error


def end_all(held: Iterable[tuple[bytes, bytes]], relay: Address, source: Address) -> int:
    """Ask the relay to end subscriptions; return how many it has not answered for."""
    family = socket.AF_INET6 if ":" in relay[0] else socket.AF_INET
    waiting = {
        secrets.token_hex(12).encode(): encode(unsubscribe(*each), Encoding.BENCODE)
        for each in held
    }
    if not waiting:
        return 0
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_PATIENCE)
        bound = False
        for _ in range(_TRIES):
            try:
                if not bound:
                    asking.bind(source)
                    asking.connect(relay)
                    bound = True
                for cookie, question in waiting.items():
                    asking.send(cookie + b" " + question)
                while waiting:
                    waiting.pop(asking.recv(65535).partition(b" ")[0], None)
                break
            except TimeoutError:
                continue
            except OSError:
                # The address is not free yet, or the relay not there: that is said at once.
                time.sleep(_PATIENCE)
    return len(waiting)


def main() -> None:
    """Hold what the agent names until its pipe ends, then end that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    relay, source = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
    held: set[tuple[bytes, bytes]] = set()
    os.write(1, b"ready\n")
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):  # The agent died in the middle of it: rule 1.
            break
        sign, call_id, tag = line[:-1].split(b" ")
        each = bytes.fromhex(call_id.decode()), bytes.fromhex(tag.decode())
        (held.add if sign == b"+" else held.discard)(each)
    sys.exit(1 if end_all(sorted(held), relay, source) else 0)


if __name__ == "__main__":
    main()
