"""Records come out of the ring in order, each once, also where the ring begins anew."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from agents.kernel import skeleton
from agents.kernel.errors import KernelError
from agents.kernel.events import EventRing
from agents.sentry.cgroups import OwnCgroup

pytestmark = pytest.mark.privileged
OCTETS = 1 << 17
RECORD = 72


@pytest.fixture
def ring():
    """Make a ring that gets a record for each raw socket of this process, and harms nobody."""
    with OwnCgroup("callguard-events") as canary, OwnCgroup("callguard-events") as inside:
        home = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
        settings = struct.pack("<QQQ", inside.number, canary.number, 1)
        packed = Path("agents/sentry/rogue_calls.bpf").read_bytes()
        loaded = skeleton.load(packed, settings=settings)
        made = EventRing(loaded.maps["events"], OCTETS)
        link = skeleton.attach(loaded.programs["entered"])
        procs = inside.path.parent / home.lstrip("/") / "cgroup.procs"
        (inside.path / "cgroup.procs").write_text("0")
        try:
            yield made
        finally:
            procs.write_text("0")
            os.close(link)
            made.close()
            loaded.close()


def try_raw(protocol):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol).close()


def protocols(records):
    return [struct.unpack_from("<I", each, 48)[0] for each in records]


def test_records_come_in_order_and_once(ring):
    assert list(ring.records()) == []
    for protocol in (17, 6, 47):
        try_raw(protocol)
    records = list(ring.records())
    assert [len(each) for each in records] == [RECORD] * 3
    assert protocols(records) == [17, 6, 47]
    assert list(ring.records()) == []


def test_the_ring_begins_anew_many_times(ring):
    sent, came = [], []
    for number in range(4 * OCTETS // (RECORD + 8)):
        sent.append(number % 200 + 1)
        try_raw(sent[-1])
        if number % 500 == 0:
            came += protocols(ring.records())
    came += protocols(ring.records())
    assert came == sent


def test_a_full_ring_keeps_the_oldest(ring):
    for number in range(2 * OCTETS // (RECORD + 8)):
        try_raw(number % 200 + 1)
    kept = protocols(ring.records())
    assert kept == [number % 200 + 1 for number in range(len(kept))]
    assert OCTETS // (RECORD + 8) - 2 <= len(kept) <= OCTETS // (RECORD + 8)
    try_raw(99)
    assert protocols(ring.records()) == [99]


def test_what_is_no_ring_is_refused():
    with Path("/dev/null").open("rb") as nothing, pytest.raises(KernelError, match="ring buffer"):
        EventRing(nothing.fileno(), OCTETS)
