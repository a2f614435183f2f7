"""What the canaries prove is what holds, and nobody but canaries is harmed by the proof."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from agents.sentry import canaries, cgroups, rogue
from agents.sentry.rogue import Deed
from agents.sentry.shield import Flavour, Shield
from agents.sentry.tiers import CAPTURE, Door, Tier, Tiers, weakest

pytestmark = pytest.mark.privileged


@pytest.fixture
def observing(arena):
    made = Tiers(within=arena.inside.number)
    yield made
    made.close()


def tried(made):
    # Nothing is pinned: at these two doors there is nothing to try.
    proven = made.prove()
    return {tier for door, tier in proven.items() if door not in {Door.UNPIN, Door.MOUNT_OVER}}


def test_every_door_of_this_kernel_is_proven(observing):
    assert observing.refusal == ""
    proven = observing.prove()
    assert set(proven) == set(Door)
    assert Tier.DETECT not in {proven[door] for door in CAPTURE}
    assert weakest(proven) is proven[Door.PACKET]
    assert proven[Door.RECEIVED] in {Tier.DETECT, Tier.PREVENT}
    assert proven[Door.UNPIN] is Tier.ABSENT  # nothing is pinned


def test_without_trampolines_the_second_tier_holds_and_the_first_says_why(observing):
    if isinstance(observing.entrance, Shield):
        pytest.skip("this kernel has trampolines")
    assert weakest(observing.prove()) is Tier.KILL
    assert len(observing.refusals) == len(Flavour)
    assert all("trampolines" in each for each in observing.refusals)


def test_the_proof_can_be_repeated_and_reports_nothing(observing):
    assert observing.prove() == observing.prove()
    assert observing.reports() == []


def test_a_program_that_is_gone_proves_nothing(observing):
    for link in observing.entrance._links.values():
        os.close(link)
    observing.entrance._links.clear()
    assert observing.prove()[Door.PACKET] is Tier.DETECT


def test_a_canary_that_somebody_else_killed_proves_nothing(observing, monkeypatch, tmp_path):
    suicide = tmp_path / "attempt.py"
    suicide.write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(canaries, "_ATTEMPT", suicide)
    assert tried(observing) == {Tier.DETECT}


@pytest.mark.parametrize(
    ("status", "tier"), [(0, Tier.DETECT), (1, Tier.DETECT), (2, Tier.ABSENT), (-11, Tier.ABSENT)]
)
def test_what_ends_otherwise_is_at_best_absent(observing, monkeypatch, tmp_path, status, tier):
    ending = tmp_path / "attempt.py"
    how = f"os._exit({status})" if status >= 0 else f"os.kill(os.getpid(), {-status})"
    ending.write_text(f"import os; {how}")
    monkeypatch.setattr(canaries, "_ATTEMPT", ending)
    assert tried(observing) == {tier}


def test_what_others_try_during_the_proof_is_reported(observing, arena):
    arena.attack("call", "raw", 1, arena.inside)
    observing.prove()
    (report,) = observing.reports()
    assert (report.deed, report.cgroup_id) == (Deed.REPORTED, arena.inside.number)
    assert observing.reports() == []


def test_whoever_enters_the_canaries_cgroup_is_reported_too(observing):
    group = observing._canaries.cgroup
    command = group.command("python3", "-c", "import socket; socket.socket(17, 3, 768)")
    assert subprocess.run(command, check=False).returncode == -9
    assert [each.deed for each in observing.reports()] == [Deed.KILLED]


def test_the_agent_and_its_neighbours_are_not_touched_by_the_proof(observing):
    with subprocess.Popen(["sleep", "60"]) as neighbour:
        observing.prove()
        socket.socket(17, 3, socket.htons(3)).close()
        assert neighbour.poll() is None
        neighbour.kill()


def test_where_the_kernel_takes_no_program_the_node_detects_and_says_why(monkeypatch):
    monkeypatch.setattr(cgroups, "mount", lambda: None)
    made = Tiers()
    assert "cgroup2" in made.refusal
    assert weakest(made.prove()) is Tier.DETECT
    assert made.reports() == []
    made.close()


def test_the_canaries_cgroup_goes_when_it_is_closed(arena):
    made = Tiers(within=arena.inside.number)
    path = made._canaries.cgroup.path
    assert path.exists()
    made.close()
    assert not path.exists()


def test_a_kernel_without_io_urings_tracepoint_detects_there_and_kills_elsewhere(
    arena, monkeypatch, tmp_path
):
    broken = tmp_path / "broken.bpf"
    broken.write_bytes(b"{}\n")
    monkeypatch.setattr(rogue, "_PROGRAMS", (str(broken), "rogue_calls.bpf"))
    made = Tiers(within=arena.inside.number)
    try:
        proven = made.prove()
        assert not made.entrance.covers_io_uring
    finally:
        made.close()
    assert proven[Door.PACKET_IO_URING] is Tier.DETECT
    assert proven[Door.PACKET] is Tier.KILL
    assert weakest(proven) is Tier.DETECT


def test_on_another_machine_the_node_detects_and_says_why(monkeypatch):
    monkeypatch.setattr(rogue.platform, "machine", lambda: "aarch64")
    made = Tiers()
    assert "x86_64" in made.refusal
    assert set(made.prove().values()) == {Tier.DETECT}
    assert made._canaries is None
