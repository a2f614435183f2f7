"""A network namespace of the test's own, and a sentry that judges what is in it and nothing else."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import netns

from agents.sentry.cgroups import mount
from agents.sentry.watch import Watch, WatchParts

__all__ = ["ALL_PACKETS", "HOLD", "Place", "path_of", "slice_made", "unit_in"]

ALL_PACKETS = "socket.htons(3)"
HOLD = """
import socket, sys
kept = socket.socket({family}, socket.SOCK_RAW, {protocol})
print("ready", flush=True)
sys.stdin.read()
"""


def path_of(group):
    """Return the path of a control group as /proc/PID/cgroup writes it."""
    return str(group.path).removeprefix(str(mount()))


@contextmanager
def slice_made():
    """Make a slice; yield its path as /proc/PID/cgroup writes it, and its number."""
    path = f"/cg{secrets.token_hex(4)}.slice"
    made = Path(f"{mount()}{path}")
    made.mkdir()
    try:
        yield path, made.stat().st_ino
    finally:
        made.rmdir()


@contextmanager
def unit_in(path, name):
    """Yield the words that start a command in a group of this name."""
    made = Path(f"{mount()}{path}/{name}")
    made.mkdir()
    try:
        yield ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', str(made / "cgroup.procs")]
    finally:
        made.rmdir()


class Place:
    """See the module's docstring; ``parts`` are those of `WatchParts`."""

    def __init__(self, *, name=None, units=(), mute=(), **parts):
        self.own = name is None
        self.name = name or f"cgs-{secrets.token_hex(4)}"
        self.told = []
        self.killed_at = []
        self.failures = []
        if self.own:
            netns.create(self.name)
        self.watch = Watch(
            WatchParts(
                now=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                deliver=self.hear,
                fail=self.failures.append,
                units=frozenset(units),
                mute=frozenset(mute),
                scope=(self.name,),
                **parts,
            )
        )

    def hear(self, incident):
        self.told.append(incident)
        if incident.details.get("action") == "killed":
            self.killed_at.append(time.monotonic())

    def __enter__(self):
        self.watch.start()
        return self

    def __exit__(self, *exc):
        self.watch.close()
        if self.own:
            with contextlib.suppress(FileNotFoundError):
                netns.remove(self.name)
        assert self.failures == []

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words):
        subprocess.run(self.command(*words), check=True, capture_output=True, timeout=20)

    @contextmanager
    def holding(self, family, protocol, *before, script=HOLD):
        script = script.format(family=int(family), protocol=protocol)
        process = subprocess.Popen(
            [*before, *self.command(sys.executable, "-c", script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.communicate(timeout=10)

    def found(self, what, count=1, within=15):
        until = time.monotonic() + within
        while time.monotonic() < until:
            found = [each.details for each in self.told if each.what is what]
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{what} was not found: {self.told}")

    def proven(self, challenge=""):
        """Wait for the doors to have been proven with a challenge."""
        until = time.monotonic() + 20
        while not (self.watch.health().proven and self.watch.health().challenge == challenge):
            assert time.monotonic() < until
            time.sleep(0.01)

    def swept(self, more=4):
        """Wait for this many sweeps."""
        until = time.monotonic() + 20
        goal = self.watch.status()["sweeps"] + more
        while self.watch.status()["sweeps"] < goal:
            assert time.monotonic() < until
            time.sleep(0.01)
