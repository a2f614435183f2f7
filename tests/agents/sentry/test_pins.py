"""What is pinned outlives its agent and is taken over by the next; nothing is left without need."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from agents.kernel.errors import KernelError
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.pins import CANARY, Adopted, Pins
from agents.sentry.rogue import Deed, Entrance, Scope
from agents.sentry.tiers import Door, Tier, Tiers

pytestmark = pytest.mark.privileged
FAR = 2**62

# Pins what enforces below a cgroup, and dies without a word.
DIES = """
import os, sys
from pathlib import Path
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.pins import Pins
from agents.sentry.rogue import Entrance, Scope
canary = OwnCgroup("callguard-canary")
entrance = Entrance(Scope(canary=canary.number, within=int(sys.argv[1]), enforce=True))
Pins(Path(sys.argv[2])).keep(entrance)
canary.close()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def folder(tmp_path):
    mounted = tmp_path / "bpf"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "bpf", "callguard-test", str(mounted)], check=True)
    try:
        yield mounted / "callguard"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def killed_agent(arena, folder):
    words = [sys.executable, "-c", DIES, str(arena.inside.number), str(folder)]
    assert subprocess.run(words, check=False, timeout=60).returncode == -9


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@contextmanager
def entered(arena, *, enforce=True):
    with ExitStack() as undo:
        canary = undo.enter_context(OwnCgroup("callguard-canary"))
        scope = Scope(canary=canary.number, within=arena.inside.number, enforce=enforce)
        entrance = Entrance(scope)
        undo.callback(entrance.close)
        yield entrance


@contextmanager
def tiers(arena, folder, *, enforce=None):
    made = Tiers(within=arena.inside.number, folder=folder)
    try:
        if enforce is not None:
            made.set_enforce(enforce)
        yield made
    finally:
        made.close()


def generations(folder):
    return sorted(int(each.name) for each in folder.iterdir()) if folder.exists() else []


def test_an_agent_that_is_killed_leaves_its_guard_standing(arena, folder):
    killed_agent(arena, folder)
    outcome = arena.attack("call", "packet", 3, arena.inside)
    assert (outcome.killed, outcome.packets) == (3, 0)
    assert arena.attack("call", "packet", 3, arena.outside).survived == 3
    (adopted,) = Pins(folder).adopt()
    adopted.remove()
    assert arena.attack("call", "packet", 3, arena.inside).survived == 3


def test_the_next_agent_reads_what_was_reported_while_there_was_none(arena, folder):
    killed_agent(arena, folder)
    arena.attack("call", "raw", 2, arena.inside)
    with tiers(arena, folder, enforce=True) as made:
        told = [(each.deed, each.cgroup_id) for each in made.reports()]
        assert told == [(Deed.KILLED, arena.inside.number)] * 2
        assert made.reports() == []
        made.set_enforce(False)


def test_what_a_former_agent_allowed_is_void(arena, folder):
    with entered(arena) as entrance:
        entrance.allow(arena.inside.number, FAR)
        entrance.beat(now() - 6 * 10**9)
        Pins(folder).keep(entrance)
    assert arena.attack("call", "packet", 1, arena.inside).killed == 1
    for each in Pins(folder).adopt():
        each.remove()


def test_at_no_moment_of_an_upgrade_is_there_a_way_in(arena, folder):
    killed_agent(arena, folder)
    first = generations(folder)
    attacking = arena.command(arena.program, "call", "packet", 60, group=arena.inside)
    with (
        subprocess.Popen(attacking, stdout=subprocess.PIPE, text=True) as attack,
        tiers(arena, folder, enforce=True) as made,
    ):
        assert generations(folder) == [first[0] + 1]
        assert attack.stdout.read().split()[1::2] == ["60", "0", "0", "0"]
        made.set_enforce(False)
    assert generations(folder) == []


def test_the_former_guard_stays_until_the_mode_is_known(arena, folder):
    killed_agent(arena, folder)
    with tiers(arena, folder) as made:
        assert generations(folder) == [1]
        assert arena.attack("call", "packet", 2, arena.inside).killed == 2
        assert made.prove()[Door.PACKET] in {Tier.KILL, Tier.PREVENT}
        made.beat(now())
        made.allow(arena.inside.number, FAR)
        assert arena.attack("call", "packet", 2, arena.inside).survived == 2
        made.disallow(arena.inside.number)
        assert arena.attack("call", "packet", 2, arena.inside).killed == 2
        made.set_enforce(False)
        assert arena.attack("call", "packet", 2, arena.inside).survived == 2
    assert generations(folder) == []


def test_only_what_enforces_is_pinned(arena, folder):
    with tiers(arena, folder) as made:
        assert generations(folder) == []
        assert made.prove()[Door.UNPIN] is Tier.ABSENT
        made.set_enforce(True)
        made.set_enforce(True)
        assert generations(folder) == [1]
        made.set_enforce(False)
        assert generations(folder) == []


def test_the_canary_that_may_unpin_is_mended_and_believed(arena, folder):
    with tiers(arena, folder, enforce=True) as made:
        proven = made.prove()
        assert (folder / "1" / CANARY).exists()
        assert proven[Door.UNPIN] in {Tier.DETECT, Tier.PREVENT}
        assert proven[Door.MOUNT_OVER] in {Tier.DETECT, Tier.PREVENT}
        assert made.prove()[Door.UNPIN] is proven[Door.UNPIN]
        made.set_enforce(False)


def test_a_clean_end_leaves_the_pins_and_lets_the_next_in_at_once(arena, folder):
    with tiers(arena, folder, enforce=True) as made:
        made.beat(now())
    assert generations(folder) == [1]
    before = time.monotonic()
    with tiers(arena, folder, enforce=False):
        assert time.monotonic() - before < 5  # a stamp holds for that long
    assert generations(folder) == []


def test_where_nothing_can_be_pinned_it_is_said_and_enforced_all_the_same(arena, tmp_path):
    with tiers(arena, tmp_path / "no bpf", enforce=True) as made:
        assert "pinning" in made.unpinned
        assert arena.attack("call", "packet", 1, arena.inside).survived == 0
        made.set_enforce(False)
        assert made.unpinned == ""
    assert generations(tmp_path / "no bpf") == []


def test_what_was_half_pinned_is_taken_away(arena, folder):
    with entered(arena) as entrance:
        Pins(folder).keep(entrance)
        for each in ("map_own", CANARY):
            (folder / "1" / each).unlink()
    with tiers(arena, folder, enforce=True) as made:
        assert generations(folder) == [2]
        made.set_enforce(False)
    assert generations(folder) == []


def test_an_agent_that_lives_is_not_pushed_aside(folder, monkeypatch):
    (folder / "7").mkdir(parents=True)

    def refuses(self):
        raise PermissionError(1, "not while I live")

    monkeypatch.setattr(Adopted, "take", refuses)
    monkeypatch.setattr("agents.sentry.pins.STALE_NS", 0)
    with pytest.raises(KernelError, match="another agent"):
        Pins(folder).adopt()
    made = Tiers(folder=folder)
    assert "another agent" in made.refusal
    made.close()
    (folder / "7").rmdir()
