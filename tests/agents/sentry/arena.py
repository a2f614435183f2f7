"""A network namespace with a flood on its loopback, two cgroups, and the attackers of escapes.c.

Whatever kills in these tests kills below the cgroup `inside` alone; `outside` is a cgroup beside it
in which the same attackers must come to no harm. Both are made here, and go with what is in them.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from pyroute2 import netns

from agents.sentry.cgroups import OwnCgroup

__all__ = ["Arena", "Outcome", "Timed", "compiled"]

_SOURCE = Path(__file__).with_name("escapes.c")


def compiled(folder: Path) -> Path:
    made = folder / "escapes"
    subprocess.run(["gcc", "-O2", "-pthread", "-o", str(made), str(_SOURCE)], check=True)
    return made


class Outcome(NamedTuple):
    killed: int
    refused: int
    survived: int
    packets: int


class Timed(NamedTuple):
    """What an attacker had of it: how long it lived, in microseconds, and what it heard."""

    lived: int
    packets: int


@dataclass
class Arena:
    """Use it as a context manager."""

    program: Path
    name: str = field(default_factory=lambda: f"cg-sentry-{secrets.token_hex(4)}")
    undo: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with self.undo as undo:
            netns.create(self.name)
            undo.callback(netns.remove, self.name)
            subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
            self.inside = undo.enter_context(OwnCgroup("callguard-inside"))
            self.outside = undo.enter_context(OwnCgroup("callguard-outside"))
            flood = subprocess.Popen(self.command(self.program, "flood"))
            undo.callback(flood.wait)
            undo.callback(flood.kill)
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.undo.close()

    def command(self, *words: object, group: OwnCgroup | None = None) -> list[str]:
        here = ["ip", "netns", "exec", self.name, *map(str, words)]
        return group.command(*here) if group else here

    def attack(self, way: str, kind: str, times: int, group: OwnCgroup) -> Outcome:
        done = subprocess.run(
            self.command(self.program, way, kind, times, group=group),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return Outcome(*(int(each) for each in done.stdout.split()[1::2]))

    def timed(self, way: str, kind: str, times: int, *group: str, handed: int = -1) -> list[Timed]:
        """Let an attacker try so often in a group, which is given as the words that enter it."""
        done = subprocess.run(
            [*group, *self.command(self.program, "timed", way, kind, times)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            pass_fds=[handed] if handed >= 0 else [],
            env=os.environ | {"HANDED": str(handed)},
        )
        rows = [Timed(*map(int, line.split())) for line in done.stdout.splitlines()]
        assert len(rows) == times
        return rows

    @contextmanager
    def held(self, way: str, kind: str, group: OwnCgroup, handed: int = -1):
        """Let an attacker hold what it got; yield the process that has it in the end, 0 if none."""
        process = subprocess.Popen(
            self.command(self.program, "hold", way, kind, group=group),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[handed] if handed >= 0 else [],
            env=os.environ | {"HANDED": str(handed)},
        )
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate(timeout=10)
