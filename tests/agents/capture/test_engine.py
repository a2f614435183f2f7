"""Many grants at once: levels, recipients, limits, ends and failures, each on its own."""

from __future__ import annotations

import io

import pyrage
import pytest
from scapy.utils import RawPcapNgReader

from agents.capture.engine import CaptureEngine, DeadlinePassed, NotOpen
from agents.capture.moments import NEVER
from agents.capture.outcomes import (
    CaptureClosed,
    CaptureFailed,
    Failure,
    LimitReached,
    SegmentSealed,
)
from agents.core.flow import FlowKey
from guard.core.level import Level
from tests.agents.capture.capture_support import GRANT, OTHER_GRANT, Outcomes
from tests.agents.capture.rings import MS, Clock, FakeRing, udp4

FLOW = FlowKey.to("198.51.100.7", 30002)
FRAME = udp4("198.51.100.7", 30002, b"v" * 160)
SIP = udp4("198.51.100.7", 5060, b"INVITE")


class Node:
    """An engine between fake rings, with a clock that the test moves."""

    def __init__(self, spool) -> None:
        self.clock, self.outcomes = Clock(), Outcomes()
        self.headers, self.content = FakeRing(), FakeRing()
        self.engine = CaptureEngine(
            headers=self.headers,
            content=self.content,
            spool=spool,
            clock=self.clock,
            deliver=self.outcomes,
            name_of=lambda index: f"eth{index}",
        )

    def open(self, grant, level, identity, *, deadline=NEVER, limit=None):
        self.engine.open(
            grant,
            level,
            "AG 12/26",
            [str(identity.to_public())],
            ["eth2"],
            deadline,
            limit_bytes=limit,
        )

    def close(self, grant) -> CaptureClosed:
        """Close, let the ring settle, and wait for the end."""
        future = self.engine.close(grant)
        self.clock.advance(1000)
        return future.result(10)


@pytest.fixture
def node(spool):
    """Yield a running node."""
    made = Node(spool)
    with made.engine:
        yield made
        made.clock.advance(10_000)
        for grant in list(made.engine._captures):
            made.close(grant)


def frames(segments, identity) -> list[bytes]:
    """Return the frames of segments in order."""
    plain = b"".join(pyrage.decrypt(s.path.read_bytes(), [identity]) for s in segments)
    return [frame for frame, _ in RawPcapNgReader(io.BytesIO(plain))] if plain else []


def test_signalling_and_media_of_one_grant_are_in_its_segment(node, identity):
    """Media from the ring and signalling from the driver come out of one sealed segment."""
    node.open(GRANT, Level.CONTENT, identity)
    node.engine.route(Level.CONTENT, FLOW, [GRANT])
    node.engine.write_signalling(GRANT, SIP, node.clock.wall, len(SIP), 2, outgoing=False)
    node.content.push([(node.clock.wall, FRAME)] * 3)
    node.content.wait_empty()
    end = node.close(GRANT)
    assert sorted(frames(end.last_segments, identity)) == sorted([SIP, *[FRAME] * 3])
    assert (end.totals.packets, end.totals.drops) == (4, 0)
    assert end.totals.bytes == len(SIP) + 3 * len(FRAME)
    assert node.outcomes.segments == list(end.last_segments)


def test_a_level_takes_media_from_its_own_ring_only(node, identity):
    """A headers grant gets nothing of the content ring, even for the same flow, and the reverse."""
    other = pyrage.x25519.Identity.generate()
    node.open(GRANT, Level.MEDIA_HEADERS, identity)
    node.open(OTHER_GRANT, Level.CONTENT, other)
    node.engine.route(Level.MEDIA_HEADERS, FLOW, [GRANT])
    node.engine.route(Level.CONTENT, FLOW, [OTHER_GRANT])
    node.headers.push([(node.clock.wall, FRAME[:54], len(FRAME))])
    node.content.push([(node.clock.wall, FRAME)])
    node.headers.wait_empty()
    node.content.wait_empty()
    first, second = node.close(GRANT), node.close(OTHER_GRANT)
    assert frames(first.last_segments, identity) == [FRAME[:54]]
    assert frames(second.last_segments, other) == [FRAME]
    with pytest.raises(pyrage.DecryptError):
        frames(second.last_segments, identity)


@pytest.mark.parametrize("level", [Level.SIGNALLING, Level.CONTENT])
def test_a_flow_is_refused_to_a_grant_of_another_level(node, identity, level):
    """Routing a flow at a level that is not the grant's is refused, whatever the order."""
    node.open(GRANT, Level.SIGNALLING if level is Level.CONTENT else Level.CONTENT, identity)
    with pytest.raises(ValueError, match="own level"):
        node.engine.route(level, FLOW, [GRANT])


def test_signalling_after_the_end_is_not_written(node, identity):
    """A message that was stamped at the deadline or later is left out; one before it is written."""
    end = node.clock.boot + 50 * MS
    node.open(GRANT, Level.SIGNALLING, identity, deadline=end)
    node.clock.advance(100)
    wall = end + node.clock.offset
    for stamp in (wall - 1, wall, wall + 1):
        node.engine.write_signalling(GRANT, SIP, stamp, len(SIP), 2, outgoing=True)
    assert node.close(GRANT).totals.packets == 1


def test_a_deadline_moves_while_it_is_to_come(node, identity):
    """A renewal before the end prolongs the capture; one after it is refused."""
    for grant, level in ((GRANT, Level.SIGNALLING), (OTHER_GRANT, Level.CONTENT)):
        node.open(grant, level, identity, deadline=node.clock.boot + 50 * MS)
        node.engine.move_deadline(grant, node.clock.boot + 80 * MS)
    node.clock.advance(60)
    node.engine.write_signalling(GRANT, SIP, node.clock.wall, len(SIP), 2, outgoing=True)
    assert node.engine.counters(GRANT).packets == 1
    node.clock.advance(20)
    for grant in (GRANT, OTHER_GRANT):
        with pytest.raises(DeadlinePassed):
            node.engine.move_deadline(grant, NEVER)


def test_a_limit_on_octets_is_kept_to_the_packet_and_reported_once(node, identity):
    """With room for two and a half frames two are written, and the event comes once."""
    node.open(GRANT, Level.CONTENT, identity, limit=len(FRAME) * 5 // 2)
    node.engine.route(Level.CONTENT, FLOW, [GRANT])
    for _ in range(2):
        node.content.push([(node.clock.wall, FRAME)] * 4)
    node.content.wait_empty()
    end = node.close(GRANT)
    assert frames(end.last_segments, identity) == [FRAME] * 2
    assert [one.grant_id for one in node.outcomes.of(LimitReached)] == [GRANT]


def test_a_grant_is_open_once_and_gone_after_its_close(node, identity):
    """Opening twice is refused; after the close every call says that it is not open."""
    node.open(GRANT, Level.CONTENT, identity)
    with pytest.raises(ValueError, match="open already"):
        node.open(GRANT, Level.CONTENT, identity)
    assert node.close(GRANT).last_segments == ()
    for call in (
        lambda: node.engine.close(GRANT),
        lambda: node.engine.counters(GRANT),
        lambda: node.engine.route(Level.CONTENT, FLOW, [GRANT]),
        lambda: node.engine.move_deadline(GRANT, NEVER),
        lambda: node.engine.write_signalling(GRANT, SIP, 0, 0, 2, outgoing=True),
    ):
        with pytest.raises(NotOpen):
            call()


def test_without_a_recipient_nothing_opens(node, identity):
    """A capture that nobody could read is refused and leaves nothing open."""
    with pytest.raises(ValueError, match="recipient"):
        node.engine.open(GRANT, Level.CONTENT, "r", [], [], NEVER)
    node.open(GRANT, Level.CONTENT, identity)


def test_a_ring_that_fails_ends_its_captures_with_a_reason(node, identity):
    """When draining dies, its captures are told, what was taken is sealed, the level is refused."""
    node.open(GRANT, Level.CONTENT, identity)
    node.open(OTHER_GRANT, Level.MEDIA_HEADERS, identity)
    node.engine.route(Level.CONTENT, FLOW, [GRANT])
    node.content.push([(node.clock.wall, FRAME)])
    node.content.wait_empty()
    node.content.broken = OSError("gone")
    (failed,) = node.outcomes.wait(CaptureFailed)
    assert (failed.grant_id, failed.failure) == (GRANT, Failure.RING_FAILED)
    assert frames(node.close(GRANT).last_segments, identity) == [FRAME]
    with pytest.raises(RuntimeError, match="ring"):
        node.open(GRANT, Level.CONTENT, identity)


def test_ring_drops_are_in_the_segment(node, identity):
    """What the kernel dropped while a capture ran is in its totals and in its last segment."""
    node.open(GRANT, Level.CONTENT, identity)
    node.engine.route(Level.CONTENT, FLOW, [GRANT])
    node.content.dropped = 4
    node.content.push([(node.clock.wall, FRAME)])
    node.content.wait_empty()
    node.clock.advance(500)
    end = node.close(GRANT)
    assert end.totals.drops == 4
    assert [segment.drops for segment in end.last_segments] == [4]


def test_stopping_closes_every_capture(spool, identity):
    """Stopping the engine seals what was taken and delivers the end of every capture."""
    node = Node(spool)
    node.engine.start()
    node.open(GRANT, Level.SIGNALLING, identity)
    node.engine.write_signalling(GRANT, SIP, node.clock.wall, len(SIP), 2, outgoing=True)
    node.engine.stop()
    assert [type(outcome) for outcome in node.outcomes.all] == [SegmentSealed, CaptureClosed]
