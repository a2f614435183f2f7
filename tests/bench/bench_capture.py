"""What capturing costs: a thousand calls at once through ring, pcapng and sealing, and the end.

1. A sender in C offers 100,000 packets a second, 1,000 flows of G.711 in turn, on a wire in a
   network namespace; the capturing process is on the other end of it.
2. The peer is dumpcap, which writes the same traffic, unsealed and unfiltered, to the same disk.
   Both are given their CPU time, user and system, per million packets. Rounds alternate, and the
   best of each is taken, so that a busy machine does not decide.
3. The end is measured in the ring itself, before the process compares a second time, and with the
   process stopped (SIGSTOP) from well before the deadline until well after it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.agents.kernel.wire import Wire

FLOWS = 1_000
RATE = 100_000
SECONDS = 6
ROUNDS = 2
CPU_BUDGET = 2.0
END_BUDGET_MS = 1.0
END_AFTER_MS = 1_500
HERE = Path(__file__).parent


def rows() -> Iterator[dict[str, Any]]:
    """Yield the capture's figures."""
    with tempfile.TemporaryDirectory(prefix="cg-capture-") as name, Wire() as wire:
        folder = Path(name)
        sender = compiled(folder)
        yield from thousand_calls(wire, sender, folder)
        yield end_of_authority(wire, sender, folder)


def compiled(folder: Path) -> Path:
    """Compile the sender."""
    compiler = shutil.which("gcc") or shutil.which("clang") or "cc"
    made = folder / "media_sender"
    subprocess.run([compiler, "-O2", "-o", made, HERE / "media_sender.c"], check=True)
    return made


def thousand_calls(wire: Wire, sender: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Offer the traffic to dumpcap, to one grant with every flow, and to a hundred grants."""
    cases = {1: "of one grant", 100: "of 100 grants"}
    cost = dict.fromkeys(cases, float("inf"))
    lost = dict.fromkeys(cases, 0)
    offered = dict.fromkeys(cases, float("inf"))
    peer = float("inf")
    for number in range(ROUNDS):
        peer = min(peer, dumpcap(wire, sender, folder / "peer.pcapng"))
        for grants in cases:
            spool = folder / f"spool-{number}-{grants}"
            sent, rate, seen = captured(wire, sender, spool, grants)
            lost[grants] += sent - seen["sealed_packets"]
            offered[grants] = min(offered[grants], rate)
            cost[grants] = min(cost[grants], seen["cpu"] / sent * 1e6)
    for grants, words in cases.items():
        yield {
            "name": f"{FLOWS:,} calls {words}, {offered[grants]:,.0f} packets/s: not sealed",
            "unit": "packets", "ours": lost[grants], "budget": 0, "met": lost[grants] == 0,
        }  # fmt: skip
        ratio = cost[grants] / peer
        yield {
            "name": f"{FLOWS:,} calls {words}: captured and sealed (dumpcap: unsealed)",
            "unit": "CPU s/million", "ours": cost[grants], "peer": peer, "ratio": ratio,
            "budget": CPU_BUDGET, "met": ratio <= CPU_BUDGET,
        }  # fmt: skip


def captured(
    wire: Wire, sender: Path, spool: Path, grants: int
) -> tuple[int, float, dict[str, Any]]:
    """Let a node capture what is sent: how much was sent, how fast, and what the node says."""
    node = start_node(wire, spool, "--grants", str(grants))
    sent, rate = send(wire, sender)
    seen = stop_node(node)
    return sent, rate, seen


def end_of_authority(wire: Wire, sender: Path, folder: Path) -> dict[str, Any]:
    """Freeze the capturing process over its deadline; how long after it the last packet came."""
    node = start_node(wire, folder / "spool-end", "--lasts-ms", str(END_AFTER_MS))
    freeze = END_AFTER_MS / 3000
    traffic = subprocess.Popen(
        [sender, wire.near, str(FLOWS), "20000", "3"], stdout=subprocess.DEVNULL
    )
    time.sleep(freeze)
    os.kill(node.pid, signal.SIGSTOP)
    traffic.wait()
    os.kill(node.pid, signal.SIGCONT)
    seen = stop_node(node)
    after = (seen["last_ring_ns"] - seen["deadline_wall_ns"]) / 1e6
    if after < -5:
        raise RuntimeError("the traffic ended before the authority did: nothing was measured")
    return {
        "name": "end of authority, process frozen: last packet in the ring after the deadline",
        "unit": "ms", "ours": after, "budget": END_BUDGET_MS, "met": after <= END_BUDGET_MS,
    }  # fmt: skip


def start_node(wire: Wire, spool: Path, *options: str) -> subprocess.Popen[str]:
    """Start the capturing process and wait until it is armed."""
    node = subprocess.Popen(
        [sys.executable, HERE / "capture_node.py", "--interface", wire.far,
         "--spool", spool, "--flows", str(FLOWS), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
    )  # fmt: skip
    assert node.stdout
    if node.stdout.readline() != "ready\n":
        node.wait()
        raise RuntimeError("the capturing process did not start")
    return node


def stop_node(node: subprocess.Popen[str]) -> dict[str, Any]:
    """End the capturing process and return what it says."""
    said, _ = node.communicate(timeout=120)
    return dict(json.loads(said))


def send(wire: Wire, sender: Path) -> tuple[int, float]:
    """Send; how many packets, and how many in a second."""
    said = subprocess.run(
        [sender, wire.near, str(FLOWS), str(RATE), str(SECONDS)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    sent, took = said.split()
    return int(sent), int(sent) / float(took)


def dumpcap(wire: Wire, sender: Path, out: Path) -> float:
    """Let dumpcap write the same; its CPU seconds per million packets."""
    process = subprocess.Popen(
        ["dumpcap", "-q", "-B", "64", "-i", wire.far, "-w", out],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    while "File:" not in process.stderr.readline():
        if process.poll() is not None:
            raise RuntimeError("dumpcap did not start")
    time.sleep(0.5)
    sent, _ = send(wire, sender)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    out.unlink()
    received = re.search(r": (\d+)/\d+ ", said)
    if not received or int(received[1]) < sent * 0.99:
        raise RuntimeError("dumpcap lost packets: it is no peer for the cost of all of them")
    return (used.ru_utime + used.ru_stime) / sent * 1e6
