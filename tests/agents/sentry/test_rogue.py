"""The second tier kills who opens what hears content, below the cgroup it was given and nowhere else."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.core.judgement import Allowances, Verdict, judge
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Deed, Entrance, Scope, Way
from agents.sentry.sweep import Sweeper

pytestmark = pytest.mark.privileged
FAR = 2**63
WAYS = [
    "call", "thread", "netns", "userns", "call_32", "socketcall", "socketcall_race", "call_x32",
    "uring", "uring_async", "uring_polled", "bind",
]  # fmt: skip
CONTENT = ["packet", "ip", "old", "raw", "raw6", "xdp"]
FREE = ["arp", "unbound", "icmp", "vrrp", "send", "udp"]


@contextmanager
def guarded(arena, *, enforce=True, stale_ns=FAR):
    with OwnCgroup("callguard-canary") as canary:
        scope = Scope(canary=canary.number, within=arena.inside.number, enforce=enforce)
        entrance = Entrance(scope, stale_ns=stale_ns)
        try:
            yield entrance
        finally:
            entrance.close()


@pytest.fixture
def enforcing(arena):
    with guarded(arena) as entrance:
        yield entrance


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_ends_in_death_without_a_packet(arena, enforcing, way):
    enforcing.reports()
    times = 3 if way == "socketcall_race" else 10
    outcome = arena.attack(way, "packet", times, arena.inside)
    assert outcome == (times, 0, 0, 0)
    reports = enforcing.reports()
    assert [each.deed for each in reports] == [Deed.KILLED] * times
    assert {each.cgroup_id for each in reports} == {arena.inside.number}


@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind_of_content_socket_ends_in_death(arena, enforcing, kind):
    assert arena.attack("call", kind, 5, arena.inside) == (5, 0, 0, 0)


def test_the_flood_is_real_and_a_neighbour_hears_it_unharmed(arena, enforcing):
    enforcing.reports()
    outcome = arena.attack("call", "packet", 5, arena.outside)
    assert (outcome.killed, outcome.refused, outcome.survived) == (0, 0, 5)
    assert outcome.packets > 0
    assert enforcing.reports() == []


@pytest.mark.parametrize("way", WAYS)
def test_nobody_outside_is_touched(arena, enforcing, way):
    enforcing.reports()
    assert arena.attack(way, "packet", 2, arena.outside).killed == 0
    assert enforcing.reports() == []


@pytest.mark.parametrize("kind", FREE)
def test_what_is_free_is_neither_killed_nor_reported(arena, enforcing, kind):
    enforcing.reports()
    outcome = arena.attack("call", kind, 3, arena.inside)
    assert (outcome.killed, outcome.refused, outcome.survived) == (0, 0, 3)
    assert enforcing.reports() == []


def test_a_linked_request_of_io_uring_ends_in_death(arena, enforcing):
    # One packet may have reached memory that another process shares: SECURITY.md says so.
    assert arena.attack("uring_linked", "packet", 10, arena.inside).killed == 10


def test_tcpdump_dies_with_an_empty_file(arena, enforcing, tmp_path):
    tmp_path.chmod(0o777)
    for attempt in range(5):
        file = tmp_path / f"{attempt}.pcap"
        command = ("tcpdump", "-i", "lo", "-U", "-Z", "root", "-w", file)
        died = subprocess.run(
            arena.command(*command, group=arena.inside),
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert died.returncode == -9
        assert not file.exists() or file.stat().st_size == 0


def test_a_report_says_who_and_what(arena, enforcing):
    enforcing.reports()
    before = now()
    arena.attack("call_32", "raw", 1, arena.inside)
    (report,) = enforcing.reports()
    assert before < report.at_ns < now()
    assert (report.family, report.type, report.protocol) == (2, 3, 17)
    assert (report.way, report.deed) == (Way.CALL_32, Deed.KILLED)
    assert report.uid == os.geteuid()
    assert report.comm == "escapes"
    assert report.netns == Path(f"/run/netns/{arena.name}").stat().st_ino


def test_observing_reports_and_harms_nobody(arena):
    with guarded(arena, enforce=False) as entrance:
        outcome = arena.attack("call", "packet", 5, arena.inside)
        assert (outcome.killed, outcome.survived) == (0, 5)
        assert [each.deed for each in entrance.reports()] == [Deed.REPORTED] * 5


def test_the_mode_changes_while_it_runs(arena):
    with guarded(arena, enforce=False) as entrance:
        assert arena.attack("call", "packet", 2, arena.inside).survived == 2
        entrance.set_enforce(True)
        assert arena.attack("call", "packet", 2, arena.inside).killed == 2
        entrance.set_enforce(False)
        assert arena.attack("call", "packet", 2, arena.inside).survived == 2


def test_a_bind_by_io_uring_asks_for_a_look(arena, enforcing):
    enforcing.reports()
    outcome = arena.attack("uring_bind", "packet", 2, arena.inside)
    if outcome.refused:
        pytest.skip("this kernel's io_uring cannot bind (it came with 6.11)")
    assert outcome.survived == 2
    assert [each.deed for each in enforcing.reports()] == [Deed.LOOK] * 2
    arena.attack("uring_bind", "packet", 1, arena.outside)
    assert enforcing.reports() == []


@pytest.mark.parametrize("way", ["shared_table", "received", "uring_bind"])
def test_who_gets_by_is_found_by_the_sweep(arena, enforcing, way):
    sweeper = Sweeper()
    ours, theirs = socket.socketpair()
    with socket.socket(17, 3, socket.htons(3)) as opened:
        socket.send_fds(ours, [b"x"], [opened.fileno()])
    try:
        with arena.held(way, "packet", arena.inside, theirs.fileno()) as holder:
            if way == "uring_bind" and not holder:
                pytest.skip("this kernel's io_uring cannot bind (it came with 6.11)")
            assert holder > 0
            seen = [each for each in sweeper.sweep() if each.pid == holder]
            assert {judge(each, Allowances()).verdict for each in seen} == {Verdict.CONTENT}
    finally:
        sweeper.close()
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    ("until", "stamp", "killed"),
    [
        (60, 0, 0),
        (-1, 0, 3),  # its time has come
        (60, -60, 3),  # the agent has not been heard of for longer than it may
        (60, None, 3),  # nor ever
    ],
)
def test_an_allowance_ends_by_itself(arena, until, stamp, killed):
    second = 10**9
    with guarded(arena, stale_ns=30 * second) as entrance:
        if stamp is not None:
            entrance.beat(now() + stamp * second)
        entrance.allow(arena.inside.number, now() + until * second)
        outcome = arena.attack("call", "packet", 3, arena.inside)
        assert (outcome.killed, outcome.survived) == (killed, 3 - killed)


def test_an_allowance_can_be_taken_back(arena):
    with guarded(arena) as entrance:
        entrance.beat(now())
        entrance.allow(arena.inside.number, FAR)
        assert arena.attack("call", "packet", 2, arena.inside).survived == 2
        entrance.disallow(arena.inside.number)
        assert arena.attack("call", "packet", 2, arena.inside).killed == 2


def test_an_allowance_is_for_that_cgroup_alone(arena):
    with guarded(arena) as entrance:
        entrance.beat(now())
        entrance.allow(arena.outside.number, FAR)
        assert arena.attack("call", "packet", 2, arena.inside).killed == 2


AGENT = """
import os, socket, subprocess, sys
from agents.sentry.rogue import Entrance, Scope
entrance = Entrance(Scope(canary=int(sys.argv[1]), within=int(sys.argv[2]), enforce=True))
socket.socket(17, 3, socket.htons(3)).close()
if sys.argv[3] == "forgotten":
    entrance._own.put(os.getpid().to_bytes(4, "little"), (1).to_bytes(8, "little"))
    socket.socket(17, 3, socket.htons(3)).close()
print(subprocess.run([sys.executable, "-c", "import socket; socket.socket(17, 3, 768)"]).returncode)
"""


@pytest.mark.parametrize(("which", "ends", "says"), [("itself", 0, "-9\n"), ("forgotten", -9, "")])
def test_the_agent_may_and_neither_its_children_nor_who_gets_its_number_may(
    arena, which, ends, says
):
    with OwnCgroup("callguard-canary") as canary:
        agent = subprocess.run(
            arena.inside.command(
                sys.executable, "-c", AGENT, str(canary.number), str(arena.inside.number), which
            ),
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
    assert (agent.returncode, agent.stdout) == (ends, says)


def test_reports_that_find_no_room_are_counted(arena):
    with guarded(arena) as entrance:
        assert entrance.lost() == 0
        arena.attack("call", "raw", 2000, arena.inside)
        kept = len(entrance.reports())
        assert kept + entrance.lost() == 2000
        assert entrance.lost() > 0


def test_the_reader_can_wait_for_a_report(arena):
    with guarded(arena, enforce=False) as entrance:
        poll = select.poll()
        poll.register(entrance.fileno(), select.POLLIN)
        assert poll.poll(0) == []
        arena.attack("call", "raw", 1, arena.inside)
        assert poll.poll(1000)
        assert len(entrance.reports()) == 1
        assert poll.poll(0) == []


def test_nothing_is_left_when_it_is_closed(arena):
    with guarded(arena):
        assert arena.attack("call", "raw", 1, arena.inside).killed == 1
    assert arena.attack("call", "raw", 1, arena.inside).survived == 1


def test_everywhere_is_never_said_by_a_number():
    with pytest.raises(ValueError, match="positive"):
        Scope(canary=1, within=0).settings(1)
    assert struct.unpack("<QQQ", Scope(canary=1, within=None).settings(1)) == (0, 1, 1)
