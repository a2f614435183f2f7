"""Call set-up through the gate beside straight to the relay, and under a flood of garbage.

1. Two relays run on one node, one behind the gate and one not; they are asked in turns, so that
   what else the machine does meets both alike. Of the turns' figures the median counts.
2. CPU time is the kernel's account of the process and its threads over a turn; the peer is the relay
   that is asked straight.
3. Nothing may be lost that a proxy would ask for again; what was sent again is told. New clients
   come while the flood is on, and how often they ping until they are answered is told, too.
4. The flood is made on the same machine and takes a core. What that does to everybody shows in the
   relay that is asked straight meanwhile, which gets none of it.

Needs root; said where it is lacking.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.network import Network, end, missing_privilege
from tests.lab.relay import GATE, NG, ROOT, Relay, missing_relay

ADDED_P50_MS = 0.3
UNDER_FLOOD = 2.0
TURNS = 3
STRAIGHT = 2323
RATES = ((1, 12), (100, 5), (1000, 4))  # calls a second, seconds a turn
FLOODED = (100, 5)

Row = dict[str, Any]


def rows() -> Iterator[Row]:
    """Measure; nothing where the machine cannot."""
    lack = missing_privilege() or missing_relay()
    if lack:
        sys.stderr.write(f"   skipped: {lack}\n")
        return
    with tempfile.TemporaryDirectory() as made, Network() as network:
        folder = Path(made)
        with (
            Relay(network, folder / "gated", records=False),
            Relay(network, folder / "straight", records=False, options=_other_ports()) as straight,
        ):
            assert straight.process
            gate = network.start(
                "node",
                *(sys.executable, "-m", "tests.bench.gate_node", str(GATE), str(NG)),
                output=subprocess.PIPE,
                cwd=ROOT,
            )
            assert gate.stdout
            if gate.stdout.readline() != b"ready\n":
                raise RuntimeError("the gate does not start")
            for rate, seconds in RATES:
                yield from _beside(network, (gate.pid, straight.process.pid), rate, seconds)
            yield from _flooded(network, (gate.pid, straight.process.pid))
            end(gate)


def _other_ports() -> tuple[str, ...]:
    return (
        f"--listen-ng=127.0.0.1:{STRAIGHT}",
        "--port-min=50000",
        "--port-max=59999",
        f"--listen-cli=127.0.0.1:{STRAIGHT + 1}",
        f"--listen-http=127.0.0.1:{STRAIGHT + 2}",
    )


@dataclass
class Turns:
    """What the turns of one kind came to."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    messages: int = 0
    lost: int = 0
    again: int = 0
    pings: int = 0

    def take(self, network: Network, port: int, load: tuple[int, int], pid: int) -> None:
        """Make the load once more; ``pid``: whose CPU time counts."""
        before = _cpu_seconds(pid)
        out = network.run(
            "node",
            *(sys.executable, "-m", "tests.bench.ng_load", str(port), *map(str, load)),
            cwd=ROOT,
        )
        spent, told = _cpu_seconds(pid) - before, json.loads(out)
        taken = told["taken"]
        self.p50.append(_percentile(taken, 50))
        self.p99.append(_percentile(taken, 99))
        self.cpu.append(spent / len(taken) * 1e6)
        self.messages += len(taken)
        self.lost += told["lost"] + told["failed"]
        self.again += told["again"]
        self.pings = max(self.pings, told["pings"])


def _beside(network: Network, pids: tuple[int, int], rate: int, seconds: int) -> Iterator[Row]:
    through, straight = Turns(), Turns()
    for _ in range(TURNS):
        straight.take(network, STRAIGHT, (rate, seconds), pids[1])
        through.take(network, GATE, (rate, seconds), pids[0])
    where = f"set-up message at {rate:,} calls/s"
    for share, budget in (("p50", ADDED_P50_MS), ("p99", None)):
        peer = statistics.median(getattr(straight, share))
        ours = statistics.median(getattr(through, share))
        yield _row(
            f"{where}: added by the gate, {share} (relay alone: its time)",
            "ms", ours - peer, peer, ratio=ours / peer, budget=budget,
        )  # fmt: skip
    ours, peer = statistics.median(through.cpu), statistics.median(straight.cpu)
    yield _row(f"{where}: CPU of the gate (of the relay)", "µs", ours, peer, ratio=ours / peer)
    yield from _losses(through, straight)


def _flooded(network: Network, pids: tuple[int, int]) -> Iterator[Row]:
    quiet, flooded, straight, rates = Turns(), Turns(), Turns(), []
    for _ in range(TURNS):
        quiet.take(network, GATE, FLOODED, pids[0])
        flood = network.start(
            "node",
            *(sys.executable, "-m", "tests.bench.ng_flood", str(GATE)),
            output=subprocess.PIPE,
            cwd=ROOT,
        )
        flooded.take(network, GATE, FLOODED, pids[0])
        straight.take(network, STRAIGHT, FLOODED, pids[1])
        end(flood)
        assert flood.stdout
        rates.append(int(flood.stdout.read()))
    where = f"set-up message under {statistics.median(rates):,.0f} datagrams of garbage a second"
    for share in ("p50", "p99"):
        ours = statistics.median(getattr(flooded, share))
        peer = statistics.median(getattr(quiet, share))
        yield _row(
            f"{where}, {share} (quiet)", "ms", ours, peer, ratio=ours / peer, budget=UNDER_FLOOD,
            met=ours / peer < UNDER_FLOOD,
        )  # fmt: skip
    ours, peer = statistics.median(flooded.p99), statistics.median(straight.p99)
    yield _row(f"{where}, p99 (relay alone beside it)", "ms", ours, peer, ratio=ours / peer)
    yield from _losses(flooded, quiet)
    yield _row(
        "the same: pings until a new client is answered, at most", "", flooded.pings, quiet.pings
    )


def _losses(ours: Turns, peer: Turns) -> Iterator[Row]:
    name = f"the same: lost or failed of {ours.messages:,}"
    yield _row(name, "", ours.lost, peer.lost, budget=0)
    yield _row("the same: sent again", "", ours.again, peer.again)


def _row(
    name: str,
    unit: str,
    ours: float,
    peer: float,
    *,
    ratio: float | None = None,
    budget: float | None = None,
    met: bool | None = None,
) -> Row:
    if met is None:
        met = budget is None or ours <= budget
    return {
        "name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio,
        "budget": budget, "met": met,
    }  # fmt: skip


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def _cpu_seconds(pid: int) -> float:
    """Return what a process and its threads have spent; ``ip netns exec`` has become it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9
