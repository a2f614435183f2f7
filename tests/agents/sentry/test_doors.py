"""What is tried on this node becomes an attempt that says who and how; nobody is harmed by it."""

from __future__ import annotations

import hashlib
import select
from pathlib import Path

import pytest

from agents.core.judgement import Allowances
from agents.core.sentry import Attempted, Holder, Incident, Sentry, Sweep
from agents.sentry import cgroups
from agents.sentry.doors import Doors
from agents.sentry.tiers import Door, Tier

pytestmark = pytest.mark.privileged


def identify(pid):
    try:
        command = hashlib.sha256(Path(f"/proc/{pid}/cmdline").read_bytes()).hexdigest()
    except OSError:
        return Holder(login_uid=1, command=None)
    return Holder(login_uid=1, command=command)


@pytest.fixture
def doors(arena):
    made = Doors(identify, within=arena.inside.number)
    yield made
    made.close()


def test_an_attempt_says_who_where_and_how(arena, doors):
    with arena.held("bind", "packet", arena.inside) as holder:
        (attempt,) = doors.look().attempts
        command = Path(f"/proc/{holder}/cmdline").read_bytes()
    seen = attempt.seen
    assert (seen.pid, seen.family, seen.ethertype, seen.inode) == (holder, 17, 3, 0)
    assert (seen.cgroup, seen.cgroup_id) == (f"/{arena.inside.path.name}", arena.inside.number)
    assert seen.netns == Path(f"/run/netns/{arena.name}").stat().st_ino
    assert (attempt.way, attempt.killed) == ("bind", False)
    assert attempt.holder.command == hashlib.sha256(command).hexdigest()


def test_a_raw_socket_has_its_protocol(arena, doors):
    arena.attack("call", "raw", 1, arena.inside)
    (attempt,) = doors.look().attempts
    assert (attempt.seen.family, attempt.seen.protocol, attempt.seen.ethertype) == (2, 17, 0)


def test_who_is_gone_before_it_is_read_is_told_all_the_same(arena, doors):
    arena.attack("call", "packet", 3, arena.inside)
    attempts = doors.look().attempts
    assert len({each.seen.pid for each in attempts}) == 3
    assert {each.holder.command for each in attempts} == {None}
    told = Sentry(Allowances()).handle(Attempted(attempts=attempts), 0)
    assert [type(each) for each in told] == [Incident] * 3 + [Sweep]


def test_a_process_that_took_the_number_of_another_is_not_taken_for_it(arena, doors, monkeypatch):
    monkeypatch.setattr("agents.sentry.doors.started", lambda _: 1)
    with arena.held("call", "packet", arena.inside):
        (attempt,) = doors.look().attempts
    assert attempt.holder.command is None


def test_told_to_enforce_it_kills_and_says_so(arena, doors):
    doors.set_enforce(True)
    assert arena.attack("call", "packet", 1, arena.inside).killed == 1
    doors.set_enforce(False)
    assert arena.attack("call", "packet", 1, arena.inside).survived == 1
    assert [each.killed for each in doors.look().attempts] == [True, False]


def test_nothing_is_told_of_what_is_free_or_outside(arena, doors):
    arena.attack("call", "arp", 1, arena.inside)
    arena.attack("call", "packet", 1, arena.outside)
    assert doors.look() == Attempted(attempts=())
    assert doors.lost == 0


def test_what_is_bound_out_of_sight_is_told_as_unseen(arena, doors):
    if arena.attack("uring_bind", "packet", 1, arena.inside).refused:
        pytest.skip("this kernel's io_uring cannot bind (it came with 6.11)")
    assert doors.look() == Attempted(attempts=(), unseen=True)


def test_the_thread_can_wait_for_it(arena, doors):
    poll = select.epoll()
    for each in doors.filenos:
        poll.register(each, select.EPOLLIN)
    assert poll.poll(0) == []
    arena.attack("call", "raw", 1, arena.inside)
    assert poll.poll(1)
    poll.close()


def test_the_status_is_what_was_proven(doors):
    assert doors.status()["tier"] == "detect"
    doors.prove()
    status = doors.status()
    assert status["tier"] == status["doors"]["packet_socket"] == "kill"
    assert "refusal" not in status
    assert doors.look() == Attempted(attempts=())


def test_a_kernel_without_it_detects_and_says_why(monkeypatch):
    monkeypatch.setattr(cgroups, "mount", lambda: None)
    made = Doors(identify)
    made.prove()
    assert made.filenos == ()
    assert made.status()["tier"] == "detect"
    assert "cgroup2" in made.status()["refusal"]
    assert made.look() == Attempted(attempts=())
    assert made.lost == 0
    made.close()


class Starved:
    """Tiers whose proofs come out as they are told, one after another."""

    refusal = unpinned = ""

    def __init__(self, *proofs):
        self.proofs = list(proofs)

    def prove(self):
        return self.proofs.pop(0)

    def close(self):
        pass


def test_a_door_that_holds_less_is_tried_once_more(doors):
    good = dict.fromkeys(Door, Tier.KILL)
    less = good | {Door.RAW: Tier.DETECT}
    doors.close()
    for proofs, told, left in (
        ((good, good), good, 0),  # nothing is less
        ((good, less, good), good, 0),  # its canary was starved
        ((good, less, less), less, 0),  # it does hold less
        ((less, good, less), good, 1),  # it holds more
    ):
        doors._tiers = Starved(*proofs)
        doors._proven = dict.fromkeys(Door, Tier.DETECT)
        doors.prove()
        doors.prove()
        assert doors.status()["doors"] == {door.value: tier.value for door, tier in told.items()}
        assert len(doors._tiers.proofs) == left
