"""What selecting in the kernel costs, beside the tools that people use for it.

1. Test runs (BPF_PROG_TEST_RUN) give the time of one background packet, and of scanning.
2. Real traffic in a namespace gives the CPU that the sender's packets cost with a filter on the
   wire, because a packet's filters run in the sender's time; runs are interleaved and the best
   of each is taken, so that a busy machine does not decide.
3. The peers are given the same 1,000 ports and timed until they really capture a packet.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.core.flow import FlowKey, mapped
from agents.kernel.bpf import run
from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.ring import RingSize
from guard.core.level import Level
from tests.agents.kernel.wire import (
    DESTINATION,
    FOREVER,
    Wire,
    ethernet,
    invite,
    ipv4,
    rtp,
    sip,
    udp,
)

FLOWS = (1, 1_000, 50_000)
BACKGROUND = ethernet(ipv4(udp(rtp(), to=9), to="203.0.113.250"))
PORTS = range(20000, 22000, 2)
REPEAT = 200_000
SENT = 150_000
ROUNDS = 5
SIP_MESSAGES = 10_000
PER_BYTE_BUDGET = 6.0
FLOWS_BUDGET = 1.1


def row(name: str, unit: str, ours: float, **rest: Any) -> dict[str, Any]:
    """Fill in what a row of the table has."""
    empty = {"peer": None, "ratio": None, "budget": None, "met": None}
    return {"name": name, "unit": unit, "ours": ours} | empty | rest


def rows() -> Iterator[dict[str, Any]]:
    """Yield the kernel's figures."""
    small = RingSize(block_bytes=1 << 16, blocks=4)
    with Wire() as wire:
        options = {
            "interfaces": [wire.far],
            "sip_ports": [5060],
            "sip_tcp": False,
            "key": os.urandom(16),
            "rings": Rings(headers=small, content=small),
        }
        yield from test_runs(wire, options)
        yield from scanning(wire, options)
        yield from real_traffic(wire, options)
        yield from messages(wire, options)
        yield from start_up(wire, options)


def arm_flows(filters: KernelFilters, count: int) -> None:
    """Arm so many flows, none of which the background traffic has."""
    for number in range(count):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        filters.set_flow(Level.CONTENT, FlowKey.to(address, 40000), FOREVER)


def test_runs(wire: Wire, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time one background packet through the content filter; the rounds are interleaved."""
    opened = []
    try:
        for count in FLOWS:
            filters = KernelFilters(**options)
            opened.append(filters)
            arm_flows(filters, count)
        best = dict.fromkeys(FLOWS, float("inf"))
        index = socket.if_nametoindex(wire.far)
        for _ in range(ROUNDS * 3):
            for count, filters in zip(FLOWS, opened, strict=True):
                program = filters._media.programs["content"]
                _, took = run(program, BACKGROUND, interface=index, repeat=REPEAT)
                best[count] = min(best[count], float(took))
    finally:
        for filters in opened:
            filters.close()
    yield from against_one("one background packet, test run", "ns", best)


def against_one(name: str, unit: str, figures: dict[int, float]) -> Iterator[dict[str, Any]]:
    """Give each number of flows its ratio to one flow."""
    one = figures[1]
    for count, ours in figures.items():
        ratio = ours / one
        yield row(
            f"{name}, {count:,} flows armed", unit, ours,
            peer=one, ratio=ratio, budget=FLOWS_BUDGET, met=ratio <= FLOWS_BUDGET,
        )  # fmt: skip


def scanning(wire: Wire, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time the search of an ordinary INVITE of somebody else."""
    text = invite("+14445550100@gw.example", "+14445550101@gw.example")
    with KernelFilters(**options) as filters:
        for number in range(1_000):
            for each in filters.identity_hashes("telephone", f"+1555{number:07d}"):
                filters.set_identity(each, FOREVER)
        program, index = filters._sip.programs["signalling"], socket.if_nametoindex(wire.far)
        times = [
            run(program, sip(text), interface=index, repeat=REPEAT // 10)[1] for _ in range(ROUNDS)
        ]
    ours = min(times) / len(text)
    yield row(
        f"searching a SIP message of {len(text)} octets", "ns/byte", ours,
        budget=PER_BYTE_BUDGET, met=ours <= PER_BYTE_BUDGET,
    )  # fmt: skip


def cost_of_sending(wire: Wire, frame: bytes) -> float:
    """Send packets; the CPU time of one in nanoseconds, which includes the filters it meets."""
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind((wire.near, 0))
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(SENT):
        sender.send(frame)
    after = resource.getrusage(resource.RUSAGE_SELF)
    sender.close()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / SENT * 1e9


def real_traffic(wire: Wire, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send background packets past all three sockets, with more and more flows armed."""
    best = dict.fromkeys(FLOWS, float("inf"))
    for _ in range(ROUNDS):
        with KernelFilters(**options) as filters:
            for count in FLOWS:
                arm_flows(filters, count)
                best[count] = min(best[count], cost_of_sending(wire, BACKGROUND))
    yield from against_one("one background packet, sent and filtered", "CPU ns", best)


def messages(wire: Wire, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send other people's calls past the signalling socket, with a thousand subjects armed."""
    with KernelFilters(**options) as filters:
        for number in range(1_000):
            for each in filters.identity_hashes("telephone", f"+1555{number:07d}"):
                filters.set_identity(each, FOREVER)
        for number in range(SIP_MESSAGES):
            caller, callee = f"+1444{number:07d}@gw.example", f"user{number}@home.example"
            wire.send(sip(invite(caller, callee, f"{number}@background.example")))
        scanned = filters.counters().scanned
        passed = sum(filters.signalling.statistics())
    assert scanned >= SIP_MESSAGES
    yield row(
        f"{SIP_MESSAGES:,} SIP messages of others: in user space", "messages", passed,
        budget=0, met=passed == 0,
    )  # fmt: skip


def start_up(wire: Wire, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time until a packet to the last of 1,000 ports is really captured: ours, tcpdump, dumpcap."""
    frame = ethernet(ipv4(udp(rtp(), to=PORTS[-1])))
    started = time.perf_counter()
    with KernelFilters(**options) as filters:
        for port in PORTS:
            filters.set_flow(
                Level.CONTENT, FlowKey(address=mapped(DESTINATION), port=port), FOREVER
            )
        wire.send(frame)
        assert filters.content.poll(1000)
        filters.content.read_block().close()
        ours = time.perf_counter() - started
    expression = "udp and (" + " or ".join(f"dst port {port}" for port in PORTS) + ")"
    for peer in (tcpdump, dumpcap):
        took = peer(wire, expression, frame)
        yield row(
            f"capturing 1,000 ports, from start to first packet ({peer.__name__})", "s", ours,
            peer=took, ratio=ours / took, budget=1.0, met=ours <= took,
        )  # fmt: skip


def tcpdump(wire: Wire, expression: str, frame: bytes) -> float:
    """Give tcpdump the filter as a file and let it write each packet at once."""
    with tempfile.TemporaryDirectory() as folder:
        rule, out = Path(folder, "filter"), Path(folder, "out.pcap")
        rule.write_text(expression, encoding="ascii")
        command = ("tcpdump", "-U", "-n", "-Z", "root", "-i", wire.far, "-F", rule, "-w", out)
        return until_captured(wire, command, out, frame)


def dumpcap(wire: Wire, expression: str, frame: bytes) -> float:
    """Give dumpcap the filter; it prints that it is capturing before it is."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.pcapng")
        command = ("dumpcap", "-q", "-i", wire.far, "-f", expression, "-w", out)
        return until_captured(wire, command, out, frame)


def until_captured(wire: Wire, command: tuple[Any, ...], out: Path, frame: bytes) -> float:
    """Start a tool and send packets until one is in its file; the seconds that took."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 60:
            wire.send(frame)
            time.sleep(0.02)
            if out.exists() and frame in out.read_bytes():
                return time.perf_counter() - started
        raise RuntimeError(f"{command[0]} captured nothing in a minute")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
