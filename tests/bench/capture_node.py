"""A node that captures and nothing else: kernel filters, rings, engine and spool, in one process.

Prints ``ready`` when everything is armed, captures until its standard input ends, and prints what
it captured and what that cost as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import uuid
from pathlib import Path

import pyrage

from agents.capture.engine import CaptureEngine
from agents.capture.outcomes import CaptureFailed, SegmentSealed
from agents.capture.spool import Spool
from agents.core.flow import FlowKey
from agents.kernel.filters import KernelFilters
from guard.core.level import Level

NEVER = 1 << 62


class Watched:
    """A ring that remembers the wall time of the last packet that the kernel put in it."""

    def __init__(self, ring) -> None:
        self._ring = ring
        self.poll, self.statistics = ring.poll, ring.statistics
        self.last_ns = 0

    def read_block(self):
        for packet in self._ring.read_block():
            self.last_ns = packet[0] * 1_000_000_000 + packet[1]
            yield packet


def clock() -> tuple[int, int]:
    """Read the boot and the wall clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()


def cpu_seconds() -> float:
    """Return the processor time of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(line: str) -> None:
    """Tell the benchmark."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Capture until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--interface", required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--grants", type=int, default=1)
    parser.add_argument("--lasts-ms", type=int, default=0, help="0: until the end of input")
    options = parser.parse_args()
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    sealed, failures = [], []

    def deliver(outcome) -> None:
        if isinstance(outcome, SegmentSealed):
            sealed.append(outcome.segment)
        elif isinstance(outcome, CaptureFailed):
            failures.append(outcome)

    with KernelFilters(
        interfaces=[options.interface], sip_ports=[5060], sip_tcp=False, key=os.urandom(16)
    ) as filters:
        content = Watched(filters.content) if options.lasts_ms else filters.content
        engine = CaptureEngine(
            headers=filters.headers,
            content=content,
            spool=Spool(options.spool, quota=1 << 34),
            clock=clock,
            deliver=deliver,
        )
        with engine:
            boot, wall = clock()
            deadline = boot + options.lasts_ms * 1_000_000 if options.lasts_ms else NEVER
            grants = [str(uuid.uuid4()) for _ in range(options.grants)]
            for grant in grants:
                engine.open(
                    grant, Level.CONTENT, "bench", [recipient], [options.interface], deadline
                )
            for number in range(options.flows):
                flow = FlowKey.to("10.88.0.2", 20000 + 2 * number)
                engine.route(Level.CONTENT, flow, [grants[number % len(grants)]])
                filters.set_flow(Level.CONTENT, flow, deadline)
            before = cpu_seconds()
            say("ready")
            sys.stdin.read()
            ends = [engine.close(grant) for grant in grants]
            totals = [end.result(60).totals for end in ends]
            used = cpu_seconds() - before
            received, dropped = filters.content.statistics()
    say(
        json.dumps(
            {
                "packets": sum(total.packets for total in totals),
                "drops": dropped + max(total.drops for total in totals),
                "received": received,
                "cpu": used,
                "segments": len(sealed),
                "sealed_packets": sum(segment.packets for segment in sealed),
                "failures": len(failures),
                "deadline_wall_ns": deadline - boot + wall,
                "last_ring_ns": getattr(content, "last_ns", 0),
                "last_written_ns": max(total.last_ns for total in totals),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
