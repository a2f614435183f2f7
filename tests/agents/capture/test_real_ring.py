"""From the wire to the sealed segment, through the kernel's own filters and rings."""

from __future__ import annotations

import io
import os
import time

import pyrage
import pytest
from scapy.utils import RawPcapNgReader

from agents.capture.engine import CaptureEngine
from agents.core.flow import FlowKey
from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.ring import RingSize
from guard.core.level import Level
from tests.agents.capture.capture_support import GRANT, OTHER_GRANT, Outcomes
from tests.agents.kernel.wire import (
    DESTINATION,
    DESTINATION6,
    Wire,
    ethernet,
    ipv4,
    ipv6,
    rtp,
    udp,
)

pytestmark = pytest.mark.privileged

FLOW, FLOW6 = FlowKey.to(DESTINATION, 40000), FlowKey.to(DESTINATION6, 40002)
VOICE = b"callguard-voice-" * 10
HOUR_NS = 3_600_000_000_000


def clock() -> tuple[int, int]:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()


def media(number: int, port: int = 40000) -> bytes:
    """Return one RTP packet over IPv4; its number is the source port."""
    return ethernet(ipv4(udp(rtp(VOICE), to=port, source=1000 + number)))


@pytest.fixture
def node(spool):
    """Yield a wire, the filters on its far end, and an engine on their rings."""
    small = RingSize(block_bytes=1 << 17, blocks=16, retire_ms=10)
    outcomes = Outcomes()
    with (
        Wire() as wire,
        KernelFilters(
            interfaces=[wire.far],
            sip_ports=[5060],
            sip_tcp=False,
            key=os.urandom(16),
            rings=Rings(headers=small, content=small),
        ) as filters,
        CaptureEngine(
            headers=filters.headers,
            content=filters.content,
            spool=spool,
            clock=clock,
            deliver=outcomes,
        ) as engine,
    ):
        yield wire, filters, engine


def begin(node, grant, level, identity, *flows, lasts_ns=HOUR_NS) -> int:
    """Open a capture, route its flows, arm them; returns the deadline."""
    wire, filters, engine = node
    deadline = clock()[0] + lasts_ns
    engine.open(grant, level, "r", [str(identity.to_public())], [wire.far], deadline)
    for flow in flows:
        engine.route(level, flow, [grant])
        filters.set_flow(level, flow, deadline)
    return deadline


def end(node, grant, identity) -> tuple[list[bytes], object]:
    """Close a capture; returns its frames and its totals."""
    closed = node[2].close(grant).result(20)
    plain = b"".join(
        pyrage.decrypt(segment.path.read_bytes(), [identity]) for segment in closed.last_segments
    )
    frames = [frame for frame, _ in RawPcapNgReader(io.BytesIO(plain))] if plain else []
    return frames, closed.totals


def test_every_packet_of_the_flow_and_no_other(node, identity):
    """Packets of the armed flow are in the segment, in order and whole, up to the very last."""
    begin(node, GRANT, Level.CONTENT, identity, FLOW)
    for number in range(300):
        node[0].send(media(number), media(number, port=40010))
    frames, totals = end(node, GRANT, identity)
    assert frames == [media(number) for number in range(300)]
    assert (totals.packets, totals.drops) == (300, 0)


def test_ipv6_and_vlan_tags_find_their_grant(node, identity):
    """With two grants open, a tagged frame and one over IPv6 are each in their own capture."""
    other = pyrage.x25519.Identity.generate()
    begin(node, GRANT, Level.CONTENT, identity, FLOW)
    begin(node, OTHER_GRANT, Level.CONTENT, other, FLOW6)
    tagged = ethernet(ipv4(udp(rtp(VOICE))), (0x8100, 7))
    over_ipv6 = ethernet(ipv6(udp(rtp(VOICE), to=40002)))
    node[0].send(tagged, over_ipv6)
    assert end(node, GRANT, identity)[0] == [tagged]
    assert end(node, OTHER_GRANT, other)[0] == [over_ipv6]


def test_below_content_no_octet_of_voice_is_sealed(node, identity):
    """At media_headers the same packets are there, as long as their headers, without the voice."""
    begin(node, GRANT, Level.MEDIA_HEADERS, identity, FLOW)
    for number in range(20):
        node[0].send(media(number))
    frames, totals = end(node, GRANT, identity)
    assert frames == [media(number)[: 14 + 20 + 8 + 12] for number in range(20)]
    assert totals.packets == 20


def test_two_grants_on_one_flow_end_each_at_its_own_time(node, identity):
    """When the first grant's deadline has passed, the kernel passes packets for the second alone."""
    other = pyrage.x25519.Identity.generate()
    begin(node, OTHER_GRANT, Level.CONTENT, other, FLOW)
    deadline = begin(node, GRANT, Level.CONTENT, identity, lasts_ns=300_000_000)
    node[2].route(Level.CONTENT, FLOW, [GRANT])
    node[0].send(media(1))
    while clock()[0] <= deadline:
        time.sleep(0.02)
    node[0].send(media(2))
    assert end(node, GRANT, identity)[0] == [media(1)]
    assert end(node, OTHER_GRANT, other)[0] == [media(1), media(2)]
