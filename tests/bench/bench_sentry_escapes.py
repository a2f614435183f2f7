"""How soon who tries to hear calls is ended, and how soon who gets by the kernel's programs is found.

1. Everything that is killed is killed below a cgroup made here, in a namespace made here, through
   which a flood passes; attackers listen to it for a second unless they are ended.
2. How long an attacker lived is its own last sign of life; reports and acts are read by the clock.
"""

from __future__ import annotations

import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agents.core.sentry import What
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from agents.sentry.rogue import Deed, Entrance, Scope
from guard.core.enforcement import SentryMode
from tests.agents.sentry.arena import Arena, Timed, compiled
from tests.agents.sentry.place import Place, path_of, slice_made, unit_in
from tests.agents.sentry.test_escapes_found import LENDER
from tests.bench.bench_sentry import row

KILLS, ESCAPES, STARTS, DUMPS = 20, 100, 20, 200
EMPTY = 24
PROMISED = 25.0
DIES = "import socket,time,sys; print(time.clock_gettime_ns(7), flush=True); socket.socket(*map(int, sys.argv[1:]))"
ESCAPING = {
    "shared_table": "a shared descriptor table",
    "uring_linked": "linked requests of io_uring",
    "shared_table_mapped": "a shared table, then a mapped ring alone",
    "shared_ring": "a shared ring of io_uring",
}


def rows() -> Iterator[dict[str, Any]]:
    """Yield the figures."""
    with tempfile.TemporaryDirectory(prefix="cg-bench-") as folder, ExitStack() as stack:
        arena = stack.enter_context(Arena(compiled(Path(folder))))
        with attached(arena.inside) as entrance:
            yield from deaths(arena, entrance)
        with enforced(arena, path_of(arena.inside), arena.inside.number) as place:
            for way, name in ESCAPING.items():
                tried = arena.timed(way, "packet", ESCAPES, *arena.inside.command())
                yield from lived(
                    name, tried, PROMISED if way in {"shared_table", "uring_linked"} else None
                )
            yield dumps(arena, place, Path(folder))
        yield from lived("a socket passed on by a unit that may hold it", passed(arena), PROMISED)
        yield from before(arena)


@contextmanager
def attached(inside: OwnCgroup) -> Iterator[Entrance]:
    """Attach the second tier alone; it kills below `inside`."""
    with OwnCgroup("callguard-canary") as canary:
        entrance = Entrance(Scope(canary=canary.number, within=inside.number, enforce=True))
        try:
            yield entrance
        finally:
            entrance.close()


@contextmanager
def enforced(arena: Arena, path: str, number: int, **parts: Any) -> Iterator[Place]:
    """Let a whole sentry enforce below a cgroup, in the arena's namespace."""

    def doors() -> Doors:
        return Doors(identify, within=number)

    with Place(name=arena.name, cgroup=path, doors=doors, **parts) as place:
        place.watch.set_mode(SentryMode.ENFORCE)
        place.proven()
        place.swept(2)
        yield place


def lived(name: str, tried: list[Timed], budget: float | None) -> Iterator[dict[str, Any]]:
    """Yield how long they lived, and how much they heard."""
    took = sorted(each.lived / 1e3 for each in tried)
    heard = sum(each.packets for each in tried)
    what = f"sentry: escape by {name}"
    yield row(f"{what}: lives, p50 of {len(took)}", "ms", statistics.median(took), budget)
    yield row(f"{what}: lives, longest", "ms", took[-1], budget)
    yield row(f"{what}: packets heard of a flood, a try", "", heard / len(took))


def passed(arena: Arena) -> list[Timed]:
    """Have a unit that may hold a socket pass it on."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ExitStack() as stack:
        path, number = stack.enter_context(slice_made())
        may = stack.enter_context(unit_in(path, "cg-may.service"))
        other = stack.enter_context(unit_in(path, "cg-other.service"))
        units = ("cg-may.service",)
        place = stack.enter_context(enforced(arena, path, number, units=units))
        lends = [sys.executable, "-c", LENDER, str(ours.fileno()), str(ESCAPES)]
        lender = subprocess.Popen(
            [*may, *place.command(*lends)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[ours.fileno()],
        )
        stack.callback(lender.communicate, timeout=10)
        assert lender.stdout
        lender.stdout.readline()
        place.swept(3)
        return arena.timed("received", "packet", ESCAPES, *other, handed=theirs.fileno())


def before(arena: Arena) -> Iterator[dict[str, Any]]:
    """Time from the sentry's first look to the end of one who held a socket before."""
    waits = []
    for _ in range(STARTS):
        words = arena.command(arena.program, "hold", "call", "packet", group=arena.inside)
        listener = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert listener.stdout
        listener.stdout.readline()
        place = Place(name=arena.name, cgroup=path_of(arena.inside))
        place.watch.set_mode(SentryMode.ENFORCE)
        started = time.monotonic()
        with place:
            place.found(What.CAPTURE_SOCKET)
        waits.append((place.killed_at[0] - started) * 1e3)
        listener.communicate(timeout=10)
    name = "sentry: a socket from before the agent, from its first look to the end of who has it"
    yield row(f"{name}, p50 of {len(waits)}", "ms", statistics.median(waits), PROMISED)
    yield row(f"{name}, longest", "ms", max(waits), PROMISED)


def deaths(arena: Arena, entrance: Entrance) -> Iterator[dict[str, Any]]:
    """Time from just before the call to its report here, through the ring's descriptor."""
    poll = select.poll()
    poll.register(entrance.fileno(), select.POLLIN)
    for name, words in (("raw", (2, 3, 17)), ("packet", (17, 3, 768))):
        waits: list[float] = []
        ended: list[float] = []
        for _ in range(KILLS):
            command = (sys.executable, "-I", "-S", "-c", DIES, *map(str, words))
            process = subprocess.Popen(arena.inside.command(*command), stdout=subprocess.PIPE)
            poll.poll(5_000)
            told = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            before = int(process.communicate()[0])
            (report,) = entrance.reports()
            assert report.deed is Deed.KILLED
            waits.append((told - before) / 1e3)
            ended.append((time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before) / 1e3)
        yield row(
            f"sentry: {name} socket, from before the call to its report",
            "µs",
            statistics.median(waits),
            10_000.0,
        )
        yield row(
            f"sentry: {name} socket, from before the call until its process is reaped",
            "µs",
            statistics.median(ended),
        )


def dumps(arena: Arena, place: Place, folder: Path) -> dict[str, Any]:
    """Count the tcpdumps that did not die with an empty file."""
    hurt = 0
    for attempt in range(DUMPS):
        file = folder / f"{attempt}.pcap"
        command = arena.command(
            "tcpdump", "-i", "lo", "-U", "-Z", "root", "-w", file, group=arena.inside
        )
        died = subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
        hurt += died != -9 or (file.exists() and file.stat().st_size > EMPTY)
    place.found(What.CAPTURE_SOCKET, DUMPS)
    return row(f"sentry: tcpdumps of {DUMPS} that got a packet or lived", "", hurt, 0)
