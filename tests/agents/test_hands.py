"""What stands in the kernel and in the engine after each command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.capture.engine import CaptureEngine
from agents.capture.outcomes import CaptureClosed, Outcome
from agents.capture.spool import Spool
from agents.clock import SystemClock
from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Command, Identity
from agents.core.flow import FlowKey
from agents.hands import Hands
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.subjects import SubjectKind
from tests.agents.core.wire import datagram, key
from tests.sim.node_simulator import KernelSimulator
from tests.sim.playbook import Playbook, grant_id, of

SIP_URI = SubjectKind.SIP_URI
FLOW = key("192.0.2.1", 20000)
HEADERS = Level.MEDIA_HEADERS


class Bench:
    """Hands on a simulated kernel and a real engine."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        self.kernel = KernelSimulator(clock.nanoseconds)
        self.outcomes: list[Outcome] = []
        self.engine = CaptureEngine(
            headers=self.kernel.headers,
            content=self.kernel.content,
            spool=Spool(folder, quota=64 << 20),
            clock=clock.nanoseconds,
            deliver=self.outcomes.append,
        )
        self.hands = Hands(self.kernel, self.engine, interfaces=["voice"])
        self.deadline = clock.now().boot_ns + 60_000_000_000

    def do(self, *commands: Command) -> list[str]:
        """Carry out commands; return the ids of the captures that failed."""
        return [failed.grant_id for command in commands for failed in self.hands.carry_out(command)]

    def closed(self, capture: str) -> CaptureClosed:
        """Wait for the engine's last word on a capture."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for outcome in tuple(self.outcomes):
                if isinstance(outcome, CaptureClosed) and outcome.grant_id == capture:
                    return outcome
            time.sleep(0.01)
        raise TimeoutError(capture)

    def open(self, instrument: Instrument = Instrument.TICKET) -> str:
        play = Playbook()
        evidence = play.armed(instrument)
        (opened,) = of(play.told, do.OpenCapture)
        assert (
            self.do(do.OpenCapture(grant=opened.grant, deadline=self.deadline, bytes_left=None))
            == []
        )
        return grant_id(evidence)

    def flow(self, *grants: str, level: Level = HEADERS, flow: FlowKey = FLOW) -> do.SetFlow:
        return do.SetFlow(level=level, key=flow, deadline=self.deadline, grants=frozenset(grants))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "spool")
    bench.engine.start()
    yield bench
    bench.engine.stop()


def watch(identity: Identity, deadline: int, *grants: str) -> do.WatchIdentity:
    return do.WatchIdentity(identity=identity, deadline=deadline, grants=frozenset(grants))


def test_a_capture_is_opened_routed_and_closed(bench: Bench):
    """The flow is in the kernel while it is wanted; closing gives the engine's last word."""
    capture = bench.open()
    assert bench.hands.open == {capture}
    assert bench.do(bench.flow(capture)) == []
    assert bench.kernel.flows == {(HEADERS, FLOW): bench.deadline}
    assert bench.hands.counters(capture) == (0, 0, 0)

    assert bench.do(do.ClearFlow(level=HEADERS, key=FLOW), do.EndCapture(grant_id=capture)) == []
    assert bench.closed(capture).totals.packets == 0
    assert bench.kernel.flows == {}
    assert bench.hands.open == set()


def test_signalling_is_written_to_open_captures_only(bench: Bench):
    """A message for a capture that has closed is nobody's."""
    capture = bench.open()
    said = datagram(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    message = replace(said, timestamp_ns=SystemClock().nanoseconds()[1])
    write = do.WriteSignalling(grant_id=capture, frame=message.frame, message=message)

    assert bench.do(write, do.EndCapture(grant_id=capture), write) == []
    closed = bench.closed(capture)
    assert closed.totals.packets == 1
    assert bench.hands.open == set()


def test_a_flow_passes_from_two_captures_to_one(bench: Bench):
    """The kernel keeps it; only the routes change."""
    one, other = bench.open(), bench.open()

    assert bench.do(bench.flow(one, other), bench.flow(other), do.EndCapture(grant_id=one)) == []
    assert bench.kernel.flows == {(HEADERS, FLOW): bench.deadline}
    assert bench.do(do.ClearFlow(level=HEADERS, key=FLOW)) == []


def test_what_the_kernel_refuses_is_the_captures_failure(bench: Bench):
    """A full map fails the captures that wanted the entry, and no other."""
    one, other = bench.open(), bench.open()
    bench.kernel.full = True

    assert bench.do(bench.flow(one)) == [one]
    assert bench.do(watch(Identity(SIP_URI, "a@b"), 5, one, other)) == sorted([one, other])


def test_a_capture_that_is_open_already_fails(bench: Bench):
    """Whatever the engine refuses is told as the failure of that capture."""
    play = Playbook()
    play.armed()
    (opened,) = of(play.told, do.OpenCapture)
    command = do.OpenCapture(grant=opened.grant, deadline=bench.deadline, bytes_left=None)

    assert bench.do(command) == []
    assert bench.do(command) == [opened.grant.grant.id]


def test_a_capture_that_never_opened_is_closed_at_once(bench: Bench):
    """Whoever waits for its last word gets it."""
    closed = bench.hands.carry_out(do.EndCapture(grant_id="never"))

    assert closed == [on.CaptureClosed(grant_id="never", packets=0, bytes=0, drops=0)]


def test_a_deadline_that_has_passed_is_not_moved(bench: Bench):
    """The engine has ended by itself: the capture is over."""
    play = Playbook()
    play.armed()
    (opened,) = of(play.told, do.OpenCapture)
    capture = opened.grant.grant.id
    bench.do(do.OpenCapture(grant=opened.grant, deadline=1, bytes_left=None))

    assert bench.do(do.MoveDeadline(grant_id=capture, deadline=bench.deadline)) == [capture]
    assert bench.do(do.MoveDeadline(grant_id="gone", deadline=bench.deadline)) == []


def test_identities_that_share_a_hash_are_watched_for_both(bench: Bench):
    """The shared entry has the later deadline and goes with the last that wants it."""
    plain, marked = Identity(SIP_URI, "a"), Identity(SIP_URI, "a;b@c")
    bench.do(watch(plain, 10, "g"), watch(marked, 20, "h"))
    shared = hash(("sip_uri", "a"))
    assert bench.kernel.identities[shared] == 20
    assert len(bench.kernel.identities) == 2

    bench.do(do.UnwatchIdentity(identity=marked))
    assert bench.kernel.identities == {shared: 10}
    bench.do(do.UnwatchIdentity(identity=plain), do.UnwatchIdentity(identity=plain))
    assert bench.kernel.identities == {}


@pytest.mark.parametrize(
    ("value", "peer"),
    [
        ("192.0.2.9", ("192.0.2.9", 0)),
        ("192.0.2.9:5080", ("192.0.2.9", 5080)),
        ("2001:db8::9", ("2001:db8::9", 0)),
        ("[2001:db8::9]:5080", ("2001:db8::9", 5080)),
    ],
)
def test_a_peer_is_watched_by_its_address(bench: Bench, value: str, peer: tuple[str, int]):
    """Every spelling that a subject may have; without a port every port of it."""
    address = FlowKey.to(peer[0], 1).address
    identity = Identity(SubjectKind.PEER_ADDRESS, value)
    bench.do(watch(identity, 10, "g"))
    assert bench.kernel.peers == {(address, peer[1]): 10}

    bench.do(do.UnwatchIdentity(identity=identity))
    assert bench.kernel.peers == {}


def test_disarming_empties_the_kernel(bench: Bench):
    """Whatever is armed, nothing of it is left."""
    capture = bench.open(Instrument.INTERCEPTION_ORDER)
    bench.do(
        bench.flow(capture, level=Level.CONTENT),
        watch(Identity(SIP_URI, "a@b"), 5, capture),
        watch(Identity(SubjectKind.PEER_ADDRESS, "192.0.2.9"), 5, capture),
    )
    assert bench.kernel.flows
    bench.hands.disarm()

    kernel = bench.kernel
    assert (kernel.flows, kernel.identities, kernel.peers) == ({}, {}, {})
