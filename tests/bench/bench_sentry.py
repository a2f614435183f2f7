"""What the sentry costs those whom it leaves alone, and the node.

1. What a system call and a voice packet cost is the CPU time of a process outside the scope, with
   each tier and without it in turns; the best of each counts. A tier that this kernel does not take
   has no figure. The third tier is the whole sentry, sweeping closely because a unit may listen.
2. Sweeps are timed with so many more descriptors open in this process, one of them a packet socket.
3. What an idle agent takes is the CPU time of a whole agent in the lab; what its sentry takes, that
   of a process that is nothing else.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from agents.kernel.errors import KernelError
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Entrance, Scope
from agents.sentry.shield import Flavour, Shield
from agents.sentry.sweep import Sweeper
from agents.sentry.tiers import Tiers
from guard.core.enforcement import SentryMode
from tests.agents.sentry.place import ALL_PACKETS, Place, slice_made, unit_in
from tests.lab.deployment import Deployment
from tests.lab.network import Network, missing_privilege

ROUNDS = 7
DESCRIPTORS = (100, 10_000)
IDLE = 20.0
BUDGETS = {"call": 150.0, "pair": 1.25, 100: 5.0, 10_000: 25.0, "agent": 5.0, "sentry": 2.0}


def row(
    name: str, unit: str, ours: float, budget: float | None = None, **rest: Any
) -> dict[str, Any]:
    """Fill in what a row of the table has."""
    met = None if budget is None else ours <= budget
    empty = {"peer": None, "ratio": None}
    return {"name": name, "unit": unit, "ours": ours, "budget": budget, "met": met} | empty | rest


def rows() -> Iterator[dict[str, Any]]:
    """Yield the sentry's figures."""
    with tempfile.TemporaryDirectory(prefix="cg-bench-") as folder:
        cost = Path(folder) / "cost"
        source = Path(__file__).with_name("sentry_cost.c")
        subprocess.run(["gcc", "-O2", "-o", str(cost), str(source)], check=True)
        yield from costs(cost)
        yield from sweeps()
        yield proof()
        yield from idle_sentry()
        yield from idle_agent(Path(folder) / "lab")


@contextmanager
def second(inside: OwnCgroup, *, enforce: bool) -> Iterator[None]:
    """Attach the second tier; whoever is measured is outside of its scope."""
    with OwnCgroup("callguard-canary") as canary, ExitStack() as stack:
        scope = Scope(canary=canary.number, within=inside.number, enforce=enforce)
        stack.callback(Entrance(scope).close)
        yield


@contextmanager
def first(inside: OwnCgroup) -> Iterator[None]:
    """Attach the first tier. Raises KernelError."""
    with OwnCgroup("callguard-canary") as canary, ExitStack() as stack:
        scope = Scope(canary=canary.number, within=inside.number, enforce=True)
        stack.callback(Shield(scope, flavour=Flavour.FMOD_RET).close)
        yield


@contextmanager
def third(_: OwnCgroup) -> Iterator[None]:
    """Sweep closely, as where a unit may listen."""
    with lending() as place:
        place.swept(2)
        yield


TIERS: dict[str, Callable[[OwnCgroup], AbstractContextManager[None]]] = {
    "none": lambda _: nullcontext(),
    "first tier": first,
    "second tier": partial(second, enforce=True),
    "second tier, observing": partial(second, enforce=False),
    "third tier": third,
}


def costs(program: Path) -> Iterator[dict[str, Any]]:
    """Rule 1."""
    measured: dict[tuple[str, str], list[float]] = {}
    with OwnCgroup("callguard-bench") as inside:
        for _ in range(ROUNDS):
            for tier, made in TIERS.items():
                with suppress(KernelError), made(inside):
                    for what in ("call", "pair"):
                        measured.setdefault((tier, what), []).append(timed(program, what))
    best = {key: min(values) for key, values in measured.items()}
    for tier in TIERS:
        if tier != "none" and (tier, "call") in best:
            more = best[tier, "call"] - best["none", "call"]
            yield row(f"sentry, {tier}: a system call costs more by", "ns", more, BUDGETS["call"])
            ratio = best[tier, "pair"] / best["none", "pair"]
            name = f"sentry, {tier}: a UDP send and receive, with / without"
            yield row(name, "ratio", ratio, BUDGETS["pair"])


@contextmanager
def lending() -> Iterator[Place]:
    """Let a sentry enforce, below a slice made here, where a unit holds what it could pass on."""
    unit = "cg-may.service"
    with ExitStack() as stack:
        path, _ = stack.enter_context(slice_made())
        may = stack.enter_context(unit_in(path, unit))
        place = stack.enter_context(Place(cgroup=path, units=(unit,)))
        place.watch.set_mode(SentryMode.ENFORCE)
        stack.enter_context(place.holding(17, ALL_PACKETS, *may))
        yield place


def idle_sentry() -> Iterator[dict[str, Any]]:
    """Rule 3."""
    with Place() as place:
        place.proven()
        yield row("sentry: idle, of a core", "%", used_here(), BUDGETS["sentry"])
    with lending() as place:
        place.swept(2)
        name = "sentry: idle, while a unit holds what it could pass on, of a core"
        yield row(name, "%", used_here(), BUDGETS["agent"])


def used_here() -> float:
    """Wait, and return the share of a core that this process took."""
    before = time.process_time()
    time.sleep(IDLE / 2)
    return (time.process_time() - before) / (IDLE / 2) * 100


def idle_agent(folder: Path) -> Iterator[dict[str, Any]]:
    """Rule 3."""
    if missing_privilege():
        return
    with Network() as network, Deployment(folder, network) as lab:
        lab.start()
        agent = Path(f"/proc/{lab.process('agent').pid}/stat")
        ticks = os.sysconf("SC_CLK_TCK")

        def used() -> float:
            fields = agent.read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        time.sleep(2)
        before = used()
        time.sleep(IDLE)
        share = (used() - before) / IDLE * 100
    yield row("agent: idle with its sentry, of a core", "%", share, BUDGETS["agent"])


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
