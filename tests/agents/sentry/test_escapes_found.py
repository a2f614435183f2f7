"""Who gets by the kernel's programs is found by a sweep and ended: within 25 ms, says the promise.

The attackers listen to a flood for a second unless they are ended. What is asserted of time is the
median: the machine is shared, and the benchmark tells the longest.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from agents.core.sentry import What
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from guard.core.enforcement import SentryMode
from tests.agents.sentry.place import Place, path_of, slice_made, unit_in

pytestmark = pytest.mark.privileged

PROMISED = 25_000
A_SECOND = 1_000_000
TIMES = 10
# Holds a socket, because it may, and passes it on so often over the descriptor it is given.
LENDER = """
import socket, sys
kept = socket.socket(17, 3, socket.htons(3))
channel = socket.socket(fileno=int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    socket.send_fds(channel, [b"x"], [kept.fileno()])
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def enforced(arena, path, number, **parts):
    def doors():
        return Doors(identify, within=number)

    with Place(name=arena.name, cgroup=path, doors=doors, **parts) as place:
        place.watch.set_mode(SentryMode.ENFORCE)
        place.proven()
        place.swept(2)
        yield place


@pytest.fixture
def enforcing(arena):
    with enforced(arena, path_of(arena.inside), arena.inside.number) as place:
        yield place


def median(tries):
    return statistics.median(each.lived for each in tries)


def test_without_a_sentry_they_listen_on(arena):
    for way in ("shared_table", "shared_table_mapped", "shared_ring"):
        (tried,) = arena.timed(way, "packet", 1, *arena.inside.command())
        assert tried.lived > A_SECOND * 0.9
        assert tried.packets > 100


def test_who_shares_the_descriptors_of_a_killed_process_is_ended(arena, enforcing):
    tried = arena.timed("shared_table", "packet", TIMES, *arena.inside.command())
    assert median(tried) < PROMISED
    assert max(each.lived for each in tried) < A_SECOND * 0.9, "none was left alone"
    told = enforcing.found(What.CAPTURE_SOCKET, 2 * TIMES)
    assert {each["action"] for each in told} == {"killed"}


def test_who_shares_a_ring_of_io_uring_with_a_killed_process_is_ended(arena, enforcing):
    tried = arena.timed("shared_ring", "packet", TIMES, *arena.inside.command())
    assert median(tried) < PROMISED
    assert max(each.lived for each in tried) < A_SECOND * 0.9


def test_who_keeps_only_a_mapped_ring_is_ended(arena, enforcing):
    """Looking through what everybody has mapped takes its time; the promise is not about it."""
    tried = arena.timed("shared_table_mapped", "packet", TIMES, *arena.inside.command())
    assert max(each.lived for each in tried) < A_SECOND * 0.9


def test_who_links_requests_of_io_uring_is_ended(arena, enforcing):
    tried = arena.timed("uring_linked", "packet", TIMES, *arena.inside.command())
    assert {each.lived for each in tried} == {0}, "it never came back from the call"


def test_who_is_passed_a_socket_by_one_who_may_hold_it_is_ended(arena):
    ours, theirs = socket.socketpair()
    with ours, theirs, ExitStack() as stack:
        path, number = stack.enter_context(slice_made())
        may = stack.enter_context(unit_in(path, "cg-may.service"))
        other = stack.enter_context(unit_in(path, "cg-other.service"))
        place = stack.enter_context(enforced(arena, path, number, units=("cg-may.service",)))
        lends = [sys.executable, "-c", LENDER, str(ours.fileno()), str(TIMES)]
        lender = subprocess.Popen(
            [*may, *place.command(*lends)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[ours.fileno()],
        )
        stack.callback(lender.communicate, timeout=10)
        assert lender.stdout.readline() == b"ready\n"
        place.swept(3)
        tried = arena.timed("received", "packet", TIMES, *other, handed=theirs.fileno())
        assert median(tried) < PROMISED
        assert max(each.lived for each in tried) < A_SECOND * 0.9
        assert lender.poll() is None
    told = place.found(What.CAPTURE_SOCKET, TIMES)
    assert {each["action"] for each in told} == {"killed"}


def ended_after_the_start(arena):
    """Start a sentry beside one who listens; return the microseconds from its first look."""
    listener = subprocess.Popen(
        arena.inside.command(*arena.command(arena.program, "hold", "call", "packet")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        holder = int(listener.stdout.readline())
        place = Place(name=arena.name, cgroup=path_of(arena.inside))
        place.watch.set_mode(SentryMode.ENFORCE)
        started = time.monotonic()
        with place:
            (told,) = place.found(What.CAPTURE_SOCKET)
        assert (told["pid"], told["action"]) == (holder, "killed")
        return (place.killed_at[0] - started) * A_SECOND
    finally:
        listener.communicate(timeout=10)


def test_who_has_it_from_before_the_agent_is_ended_at_its_first_look(arena):
    assert statistics.median(ended_after_the_start(arena) for _ in range(5)) < PROMISED


def test_tcpdump_gets_no_packet_in_two_hundred_tries(arena, enforcing, tmp_path):
    tmp_path.chmod(0o777)
    (heard,) = arena.timed("call", "packet", 1)
    assert heard.packets > 100, "there is traffic, and who may be there hears it"
    for attempt in range(200):
        file = tmp_path / f"{attempt}.pcap"
        words = ("tcpdump", "-i", "lo", "-U", "-Z", "root", "-w", file)
        died = subprocess.run(
            arena.command(*words, group=arena.inside), capture_output=True, check=False, timeout=20
        )
        assert died.returncode == -9
        assert not file.exists() or file.stat().st_size <= EMPTY
    told = enforcing.found(What.CAPTURE_SOCKET, 201)
    inside = [each["action"] for each in told if each["cgroup"] == path_of(arena.inside)]
    assert inside == ["killed"] * 200


EMPTY = 24
"""Octets of a capture file with no packet in it."""


@pytest.mark.parametrize("way", ["call", "shared_table", "uring", "netns"])
def test_an_enforcing_sentry_harms_nobody_outside_of_its_cgroup(arena, enforcing, way):
    assert arena.attack(way, "packet", 3, arena.outside).killed == 0
