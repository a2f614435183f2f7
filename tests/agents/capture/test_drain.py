"""Each packet goes to exactly those grants whose route and end it came within."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.capture.drain import SETTLE_NS, Outlet, RingDrain
from agents.capture.frames import flow_octets
from agents.capture.interfaces import Interfaces
from agents.capture.moments import NEVER
from agents.core.flow import FlowKey
from tests.agents.capture.rings import MS, Clock, FakeRing, udp4

FLOWS = [FlowKey.to("198.51.100.7", port) for port in (30000, 30002, 30004)]
FRAMES = [udp4("198.51.100.7", flow.port) for flow in FLOWS]


class World:
    """A drain that is turned by hand, its ring, its clock, and what each line was given."""

    def __init__(self) -> None:
        self.clock, self.ring = Clock(), FakeRing(patience=0)
        self.drain = RingDrain(
            self.ring,
            clock=self.clock,
            interfaces=Interfaces(lambda index: f"eth{index}"),
            on_failure=self.fail,
        )

    @staticmethod
    def fail(error):
        raise error

    def line(self, deadline: int = NEVER):
        """Open a line; what it was given are the packets' times, in `given`."""
        given, drops = [], []
        outlet = Outlet(
            deadline,
            lambda blocks: given.extend(int.from_bytes(b[12:20], "big") for b in blocks),
            drops.append,
        )
        self.drain.open(outlet)
        return outlet, given, drops

    def turn(self, *packets) -> None:
        """Let the drain read one block of (wall time, flow number), or find the ring empty."""
        if packets:
            self.ring.push([(wall, FRAMES[flow]) for wall, flow in packets])
        self.drain._turn()

    def settle(self) -> None:
        """Let enough time pass for everything to be read and handed over."""
        for _ in range(3):
            self.clock.advance(SETTLE_NS // MS + 1)
            self.turn()


def test_a_packet_goes_to_its_flow_s_grant_only():
    """Two grants, two flows, one block: each gets its own, and a stray packet goes to nobody."""
    world = World()
    (one, first, _), (two, second, _) = world.line(), world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    world.drain.route(flow_octets(FLOWS[1]), two)
    wall = world.clock.wall
    world.turn((wall, 0), (wall + 1, 1), (wall + 2, 2), (wall + 3, 0))
    world.settle()
    assert (first, second) == ([wall, wall + 3], [wall + 1])


def test_one_flow_of_two_grants_is_written_for_both():
    """A call under two authorities is in both captures."""
    world = World()
    (one, first, _), (two, second, _) = world.line(), world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    world.drain.route(flow_octets(FLOWS[0]), two)
    wall = world.clock.wall
    world.turn((wall, 0))
    world.settle()
    world.turn((world.clock.wall, 0))
    world.settle()
    assert len(first) == len(second) == 2


def test_a_packet_lawful_for_one_grant_is_not_written_for_one_that_ended():
    """On a flow of two grants, what came after the first one's deadline is the second's alone."""
    world = World()
    end = world.clock.boot + 1000 * MS
    (one, first, _), (two, second, _) = world.line(end), world.line()
    for line in (one, two):
        world.drain.route(flow_octets(FLOWS[0]), line)
    world.settle()
    world.clock.boot = end + 1
    wall = end + world.clock.offset
    world.turn((wall - 1, 0), (wall, 0), (wall + 1, 0))
    world.settle()
    assert first == [wall - 1]
    assert second == [wall - 1, wall, wall + 1]


def test_a_clock_that_jumped_leaves_no_packet_in_doubt_to_an_ended_grant():
    """After the wall clock was set back, a packet that may be later than the end is not written."""
    world = World()
    end = world.clock.boot + 100 * MS
    (one, first, _), (two, second, _) = world.line(end), world.line()
    for line in (one, two):
        world.drain.route(flow_octets(FLOWS[0]), line)
    world.turn()
    world.clock.advance(150)
    world.clock.offset -= 60_000 * MS
    late = end + 20 * MS + world.clock.offset  # by the new clock after the end, by the old before
    early = end - 20 * MS + world.clock.offset  # before the end by either
    world.turn((early, 0), (late, 0))
    world.settle()
    assert first == [early]
    assert second == [early, late]


def test_the_last_packets_before_an_unroute_are_written_the_later_ones_not():
    """A call's tail that is still in the ring when its flow is unrouted is not lost."""
    world = World()
    one, given, _ = world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    other, _, _ = world.line()
    world.drain.route(flow_octets(FLOWS[1]), other)
    world.settle()
    before = world.clock.wall
    world.clock.advance(10)
    world.drain.unroute(flow_octets(FLOWS[0]), one)
    after = world.clock.wall
    world.turn((before, 0), (after, 0))
    world.settle()
    world.turn((world.clock.wall, 0))
    world.settle()
    assert given == [before]


def test_a_port_used_again_takes_nothing_over():
    """What is in the ring of one grant's ended flow is not written for the next grant on it."""
    world = World()
    (one, first, _), (two, second, _) = world.line(), world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    world.settle()
    world.clock.advance(10)
    old = world.clock.wall
    world.clock.advance(10)
    world.drain.unroute(flow_octets(FLOWS[0]), one)
    world.drain.route(flow_octets(FLOWS[0]), two)
    new = world.clock.wall
    world.turn((old, 0), (new, 0))
    world.settle()
    assert (first, second) == ([old], [new])


def test_a_close_waits_for_the_ring_and_not_longer():
    """Closing hands over what came before it, then says so once, and gives the line nothing more."""
    world = World()
    one, given, _ = world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    before = world.clock.wall
    world.clock.advance(1)
    closed = []
    world.drain.close(one, lambda: closed.append(len(given)))
    world.turn((before, 0), (world.clock.wall, 0))
    assert closed == []
    world.settle()
    assert (given, closed) == ([before], [1])


def test_after_a_close_the_remaining_grant_is_not_given_what_was_the_other_s():
    """With one grant left, packets of the closed one still in the ring are not the survivor's."""
    world = World()
    (one, _, _), (two, second, _) = world.line(), world.line()
    world.drain.route(flow_octets(FLOWS[0]), one)
    world.drain.route(flow_octets(FLOWS[1]), two)
    world.settle()
    old = world.clock.wall
    world.clock.advance(1)
    world.drain.close(one, lambda: None)
    world.turn((old, 0), (old, 1))
    world.settle()
    assert second == [old]


def test_drops_are_told_to_every_capture_of_the_ring_once():
    """What the ring dropped is counted to each capture, as the difference since the last time."""
    world = World()
    (_, _, first), (_, _, second) = world.line(), world.line()
    world.ring.dropped = 5
    world.settle()
    world.ring.dropped = 7
    world.settle()
    assert first == second == [5, 2]


def test_a_deadline_that_passed_is_not_moved():
    """Before the deadline it can be moved; from the deadline on it cannot."""
    world = World()
    one, _, _ = world.line(world.clock.boot + 10 * MS)
    assert world.drain.move_deadline(one, world.clock.boot + 20 * MS)
    world.clock.advance(20)
    assert not world.drain.move_deadline(one, world.clock.boot + 20 * MS)


class Model:
    """The rule in its plainest form, beside a drain that is given the same."""

    def __init__(self, deadlines) -> None:
        self.world = World()
        self.ends = [self.world.clock.boot + ms * MS for ms in deadlines]
        self.lines = [self.world.line(end) for end in self.ends]
        self.routes = []  # [flow, line, since, until]
        self.expected = [[] for _ in deadlines]
        self.waiting = []
        self.closed = set()

    def step(self, what, *arguments) -> None:
        """Do one thing; no two happen at once, and the ring holds nothing longer than 150 ms."""
        self.world.clock.boot += 1
        if self.waiting and self.world.clock.boot - self.waiting[0][0] > 30 * MS:
            self.read()
        getattr(self, what)(*arguments)

    def read(self) -> None:
        offset = self.world.clock.offset
        self.world.turn(*[(boot + offset, flow) for boot, flow in self.waiting])
        self.waiting.clear()

    def advance(self, ms) -> None:
        self.world.clock.advance(ms)

    def live(self, flow, line):
        """Return the routes of a flow to a line that have not ended."""
        return [r for r in self.routes if r[:2] == [flow, line] and r[3] == NEVER]

    def route(self, flow, line) -> None:
        if line not in self.closed:
            self.world.drain.route(flow_octets(FLOWS[flow]), self.lines[line][0])
            if not self.live(flow, line):
                self.routes.append([flow, line, self.world.clock.boot, NEVER])

    def unroute(self, flow, line) -> None:
        if line not in self.closed:
            self.world.drain.unroute(flow_octets(FLOWS[flow]), self.lines[line][0])
            for route in self.live(flow, line):
                route[3] = self.world.clock.boot

    def close(self, line) -> None:
        if line not in self.closed:
            self.closed.add(line)
            self.world.drain.close(self.lines[line][0], lambda: None)
            self.ends[line] = min(self.ends[line], self.world.clock.boot)

    def packet(self, flow) -> None:
        now = self.world.clock.boot
        takers = {
            line
            for routed, line, since, until in self.routes
            if routed == flow and since <= now < until and now < self.ends[line]
        }
        if takers:  # else the kernel would not let it pass
            self.waiting.append((now, flow))
        for line in takers:
            self.expected[line].append(now + self.world.clock.offset)


few = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("route"), few, few),
    st.tuples(st.just("unroute"), few, few),
    st.tuples(st.just("packet"), few),
    st.tuples(st.just("packet"), few),
    st.tuples(st.just("advance"), st.integers(1, 120)),
    st.tuples(st.just("read")),
    st.tuples(st.just("close"), few),
)


@settings(max_examples=200, deadline=None)
@given(
    deadlines=st.tuples(*[st.integers(1, 1500)] * 3),
    script=st.lists(steps, max_size=60),
)
def test_whatever_happens_each_packet_is_where_the_rule_puts_it(deadlines, script):
    """For any order of routes, ends, packets and drains, the drain gives what the model gives."""
    model = Model(deadlines)
    for step in script:
        model.step(*step)
    model.read()
    model.world.settle()
    assert [given for _, given, _ in model.lines] == model.expected
