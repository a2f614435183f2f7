"""What the sentry costs those it leaves alone, and how soon it ends or finds those it does not.

1. What a system call and a voice packet cost is the CPU time of a process outside the scope, with the
   program attached and without it in turns; the best of each counts.
2. Sweeps are timed with so many more descriptors open in this process, one of them a packet socket.
3. Everything that is killed is killed below a cgroup made here, in a namespace made here.
"""

from __future__ import annotations

import os
import resource
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

from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Deed, Entrance, Scope
from agents.sentry.sweep import Sweeper
from agents.sentry.tiers import Tiers
from tests.agents.sentry.arena import Arena, compiled

ROUNDS = 7
DESCRIPTORS = (100, 10_000)
KILLS = 20
DUMPS = 200
BUDGETS = {"call": 150.0, "pair": 1.25, 100: 5.0, 10_000: 25.0}
DIES = "import socket,time,sys; print(time.clock_gettime_ns(7), flush=True); socket.socket(*map(int, sys.argv[1:]))"


def row(
    name: str, unit: str, ours: float, budget: float | None = None, **rest: Any
) -> dict[str, Any]:
    """Fill in what a row of the table has."""
    met = None if budget is None else ours <= budget
    empty = {"peer": None, "ratio": None}
    return {"name": name, "unit": unit, "ours": ours, "budget": budget, "met": met} | empty | rest


def rows() -> Iterator[dict[str, Any]]:
    """Yield the sentry's figures."""
    with tempfile.TemporaryDirectory(prefix="cg-bench-") as folder, ExitStack() as stack:
        cost = Path(folder) / "cost"
        source = Path(__file__).with_name("sentry_cost.c")
        subprocess.run(["gcc", "-O2", "-o", str(cost), str(source)], check=True)
        yield from costs(cost)
        yield from sweeps()
        yield proof()
        arena = stack.enter_context(Arena(compiled(Path(folder))))
        entrance = stack.enter_context(attached(arena.inside))
        yield from deaths(arena, entrance)
        yield dumps(arena, Path(folder))
        yield found(arena, entrance)


@contextmanager
def attached(inside: OwnCgroup) -> Iterator[Entrance]:
    """Attach the program; it kills below `inside`."""
    with OwnCgroup("callguard-canary") as canary:
        entrance = Entrance(Scope(canary=canary.number, within=inside.number, enforce=True))
        try:
            yield entrance
        finally:
            entrance.close()


def costs(program: Path) -> Iterator[dict[str, Any]]:
    """Rule 1."""
    measured: dict[tuple[str, bool], list[float]] = {}
    with OwnCgroup("callguard-bench") as inside:
        for _ in range(ROUNDS):
            for what in ("call", "pair"):
                measured.setdefault((what, False), []).append(timed(program, what))
            with attached(inside):
                for what in ("call", "pair"):
                    measured.setdefault((what, True), []).append(timed(program, what))
    best = {key: min(values) for key, values in measured.items()}
    yield row(
        "sentry: a system call costs more by", "ns", best["call", True] - best["call", False],
        BUDGETS["call"],
    )  # fmt: skip
    yield row(
        "sentry: a UDP send and receive, with / without", "ratio",
        best["pair", True] / best["pair", False], BUDGETS["pair"],
    )  # fmt: skip


def timed(program: Path, what: str) -> float:
    """Run the C program and return its figure."""
    return float(subprocess.run([program, what], check=True, capture_output=True).stdout)


def sweeps() -> Iterator[dict[str, Any]]:
    """Rule 2."""
    sweeper = Sweeper()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(17, 3, socket.htons(3)):
        for count in DESCRIPTORS:
            opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
            for thorough in (False, True):
                name = f"sentry: {'thorough ' if thorough else ''}sweep, {count:,} descriptors more"
                yield row(name, "ms", best_of(sweeper, thorough=thorough), BUDGETS[count])
            for each in opened:
                os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    sweeper.close()


def best_of(sweeper: Sweeper, *, thorough: bool) -> float:
    """Return the median of some sweeps, in milliseconds."""
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        sweeper.sweep(thorough=thorough)
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def proof() -> dict[str, Any]:
    """Time the canaries at all doors."""
    with OwnCgroup("callguard-bench") as inside:
        tiers = Tiers(within=inside.number)
        start = time.perf_counter()
        tiers.prove()
        taken = (time.perf_counter() - start) * 1e3
        tiers.close()
    return row("sentry: proving every door", "ms", taken, 2_000.0)


def deaths(arena: Arena, entrance: Entrance) -> Iterator[dict[str, Any]]:
    """Time from just before the call to its report here, through the ring's descriptor."""
    poll = select.poll()
    poll.register(entrance.fileno(), select.POLLIN)
    for name, words in (("raw", (2, 3, 17)), ("packet", (17, 3, 768))):
        waits = []
        for _ in range(KILLS):
            command = (sys.executable, "-I", "-S", "-c", DIES, *map(str, words))
            process = subprocess.Popen(arena.inside.command(*command), stdout=subprocess.PIPE)
            poll.poll(5_000)
            told = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            before = int(process.communicate()[0])
            (report,) = entrance.reports()
            assert report.deed is Deed.KILLED
            waits.append((told - before) / 1e3)
        yield row(
            f"sentry: {name} socket, from before the call to its report",
            "µs",
            statistics.median(waits),
            10_000.0,
        )


def dumps(arena: Arena, folder: Path) -> dict[str, Any]:
    """Count the tcpdumps that did not die with an empty file."""
    hurt = 0
    for attempt in range(DUMPS):
        file = folder / f"{attempt}.pcap"
        command = arena.command(
            "tcpdump", "-i", "lo", "-U", "-Z", "root", "-w", file, group=arena.inside
        )
        died = subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
        hurt += died != -9 or (file.exists() and file.stat().st_size > 0)
    return row(f"sentry: tcpdumps of {DUMPS} that got a packet or lived", "", hurt, 0)


def found(arena: Arena, entrance: Entrance) -> dict[str, Any]:
    """Time from the report of the sacrificed process to the sweep that shows who has its socket."""
    sweeper, waits = Sweeper(), []
    poll = select.poll()
    poll.register(entrance.fileno(), select.POLLIN)
    for _ in range(KILLS):
        entrance.reports()
        with arena.held("shared_table", "packet", arena.inside) as holder:
            (report,) = entrance.reports()
            start = time.perf_counter()
            seen = {each.pid for each in sweeper.sweep(thorough=False)}
            waits.append((time.perf_counter() - start) * 1e3)
            assert holder in seen
            assert report.pid not in seen
    sweeper.close()
    return row(
        "sentry: sweep that finds the accomplice of a killed process", "ms", max(waits), 25.0
    )
