"""Call set-up through the gate beside straight to the relay, and under a flood of garbage.

Two relays run on one node, one behind the gate and one not; they are asked in turns, so that what
else the machine does meets both alike. Needs root; said where it is lacking.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.network import Network, end, missing_privilege
from tests.lab.relay import GATE, NG, ROOT, Relay, missing_relay

ADDED_P50_MS = 0.3
UNDER_FLOOD = 2.0
TURNS = 3
STRAIGHT = 2323
RATES = ((1, 4), (100, 3), (1000, 2))  # calls a second, seconds a turn
FLOOD = 20_000  # datagrams a second

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
            Relay(network, folder / "straight", records=False, options=_other_ports()),
        ):
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
                yield from _beside(network, gate.pid, rate, seconds)
            yield from _flooded(network)
            end(gate)


def _other_ports() -> tuple[str, ...]:
    return (
        f"--listen-ng=127.0.0.1:{STRAIGHT}",
        "--port-min=50000",
        "--port-max=59999",
        f"--listen-cli=127.0.0.1:{STRAIGHT + 1}",
        f"--listen-http=127.0.0.1:{STRAIGHT + 2}",
    )


def _load(network: Network, port: int, rate: float, seconds: float) -> dict[str, Any]:
    out = network.run(
        "node",
        *(sys.executable, "-m", "tests.bench.ng_load", str(port), str(rate), str(seconds)),
        cwd=ROOT,
    )
    return dict(json.loads(out))


def _beside(network: Network, gate: int, rate: int, seconds: int) -> Iterator[Row]:
    straight: list[float] = []
    through: list[float] = []
    lost = failed = 0
    spent = 0.0
    for _ in range(TURNS):
        straight += _load(network, STRAIGHT, rate, seconds)["taken"]
        before = _cpu_seconds(gate)
        told = _load(network, GATE, rate, seconds)
        spent += _cpu_seconds(gate) - before
        through += told["taken"]
        lost, failed = lost + told["lost"], failed + told["failed"]
    for share in (50, 99):
        ours, peer = _percentile(through, share), _percentile(straight, share)
        added = ours - peer
        yield {
            "name": f"set-up message at {rate} calls/s, added p{share}; peer: straight to rtpengine",
            "unit": "ms",
            "ours": added,
            "peer": peer,
            "ratio": ours / peer,
            "budget": ADDED_P50_MS if share == 50 else None,
            "met": share != 50 or added <= ADDED_P50_MS,
        }
    yield {
        "name": f"the same: CPU of the gate for a message, of {len(through):,}",
        "unit": "µs",
        "ours": spent / len(through) * 1e6,
        "met": True,
    }
    yield {
        "name": "the same: lost or failed",
        "unit": "",
        "ours": lost + failed,
        "budget": 0,
        "met": lost + failed == 0,
    }


def _flooded(network: Network) -> Iterator[Row]:
    quiet: list[float] = []
    flooded: list[float] = []
    for _ in range(TURNS):
        quiet += _load(network, GATE, 100, 3)["taken"]
        flood = network.start(
            "node",
            *(sys.executable, "-m", "tests.bench.ng_flood", str(GATE), str(FLOOD), "4"),
            cwd=ROOT,
        )
        flooded += _load(network, GATE, 100, 3)["taken"]
        flood.wait(10)
    for share in (50, 99):
        ours, peer = _percentile(flooded, share), _percentile(quiet, share)
        yield {
            "name": f"set-up under {FLOOD:,} datagrams of garbage a second, p{share}; peer: quiet",
            "unit": "ms",
            "ours": ours,
            "peer": peer,
            "ratio": ours / peer,
            "budget": UNDER_FLOOD,
            "met": ours / peer < UNDER_FLOOD,
        }


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def _cpu_seconds(pid: int) -> float:
    """Return what a process and its threads have spent; ``ip netns exec`` has become it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
