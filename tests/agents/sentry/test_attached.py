"""Programs that no message tells of are found where they are attached, and taken off there."""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.core.enforcing import Mode
from agents.core.sentry import What
from agents.kernel.bpf import call
from agents.sentry.attached import AT_ONCE
from agents.sentry.inventory import Inventory
from agents.sentry.programs import link_ids, own, program_ids, seen
from agents.sentry.undo import undo
from agents.sentry.watch import Watch, WatchParts
from tests.agents.sentry.test_mirrors import watching
from tests.agents.sentry.wires import Wires, bpf_program, index_of, inside, instruction, redirecting

pytestmark = pytest.mark.privileged

SCHED_CLS, CGROUP_SKB, RAW_TRACEPOINT, SK_SKB, FLOW_DISSECTOR = 3, 8, 17, 14, 22
TCX_INGRESS, TCX_EGRESS, XDP, DISSECTOR = 46, 47, 37, 17
PROG_ATTACH, LINK_CREATE = 8, 28
THEIRS = """
import sys
from tests.agents.sentry.wires import bpf_program, instruction
held = bpf_program({kind}, instruction(0xB7), instruction(0x95), name="{name}")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def wires():
    with Wires() as made:
        yield made


def nothing(kind, value=0, name="nothing"):
    return bpf_program(kind, instruction(0xB7, 0, value=value), instruction(0x95), name=name)


def cloning(wires):
    """Load a program that sends a copy of every packet out of t0, and lets it go on."""
    return bpf_program(
        SCHED_CLS,
        instruction(0xB7, 2, value=index_of(wires, "t0")),
        instruction(0xB7, 3),
        instruction(0x85, value=13),  # bpf_clone_redirect
        instruction(0xB7, 0, value=-1),  # TCX_NEXT
        instruction(0x95),
        name="cloning",
    )


@contextlib.contextmanager
def linked(wires, program, target, place, flags=0):
    asked = struct.pack("<IIII", program, target, place, flags).ljust(64, b"\0")
    held = inside(wires.a, lambda: call(LINK_CREATE, asked))
    try:
        yield held
    finally:
        os.close(held)


def attach(wires, program, target, place):
    asked = struct.pack("<IIII", target, program, place, 0).ljust(64, b"\0")
    inside(wires.a, lambda: call(PROG_ATTACH, asked))


@pytest.mark.parametrize(
    ("place", "kind"), [(TCX_INGRESS, "tcx_ingress"), (TCX_EGRESS, "tcx_egress")]
)
def test_a_program_of_tcx_that_a_link_holds_is_let_go_of(wires, place, kind):
    with linked(wires, cloning(wires), index_of(wires, "v0"), place):
        assert wires.copied()
        found = wires.found(What.BPF_FOREIGN)
        assert dict(found.where)["kind"] == kind
        assert dict(found.where)["link"] in link_ids()
        assert undo(found, wires.namespace)
        assert not wires.copied()
        assert not wires.standing(What.BPF_FOREIGN)
        assert undo(found, wires.namespace), "it is gone"


def test_a_program_of_tcx_without_a_link_is_detached_and_its_neighbour_is_not(wires):
    v0 = index_of(wires, "v0")
    attach(wires, nothing(SCHED_CLS, -1, "neighbour"), v0, TCX_EGRESS)
    (neighbour,) = wires.standing(What.BPF_FOREIGN)
    attach(wires, cloning(wires), v0, TCX_EGRESS)
    assert wires.copied()
    (found,) = set(wires.standing(What.BPF_FOREIGN)) - {neighbour}
    assert dict(found.where)["link"] == 0
    assert undo(found, wires.namespace)
    assert not wires.copied()
    assert wires.standing(What.BPF_FOREIGN) == [neighbour]


def test_a_flow_dissector_is_found_and_taken_off_either_way(wires):
    program = nothing(FLOW_DISSECTOR)
    with Path(f"/run/netns/{wires.a}").open() as namespace:
        with linked(wires, program, namespace.fileno(), DISSECTOR):
            found = wires.found(What.BPF_FOREIGN)
            assert dict(found.where)["kind"] == "flow_dissector"
            assert undo(found, wires.namespace)
            assert not wires.standing(What.BPF_FOREIGN)
        attach(wires, program, 0, DISSECTOR)
        assert undo(wires.found(What.BPF_FOREIGN), wires.namespace)
        assert not wires.standing(What.BPF_FOREIGN)


@pytest.mark.parametrize("place", [TCX_EGRESS, XDP])
def test_what_nobody_announces_is_undone_within_a_second(wires, place):
    with watching(wires, Mode.ENFORCE) as sentry:
        program = redirecting(wires) if place == XDP else cloning(wires)
        with linked(wires, program, index_of(wires, "v0"), place, 2 if place == XDP else 0):
            what = What.XDP if place == XDP else What.BPF_FOREIGN
            (told,) = sentry.found(what, within=1)
            assert told["action"] == "undone"
            assert not wires.copied()


def test_a_program_attached_long_after_it_was_loaded_is_found(wires):
    """Neither its number nor a link's is new when it is attached."""
    program = cloning(wires)
    with watching(wires, Mode.OBSERVE) as sentry:
        attach(wires, program, index_of(wires, "v0"), TCX_EGRESS)
        (told,) = sentry.found(What.BPF_FOREIGN, within=1)
        assert (told["name"], told["would"]) == ("v0", "undo")


def test_of_many_interfaces_each_is_looked_at_in_its_turn(wires):
    for number in range(AT_ONCE + 5):
        wires.run("ip", "link", "add", f"d{number}", "type", "veth", "peer", "name", f"e{number}")
    last = index_of(wires, f"d{AT_ONCE + 4}")
    wires.watch.look()
    attach(wires, cloning(wires), last, TCX_EGRESS)
    turns = 0
    while not any(e.what is What.BPF_FOREIGN for e in wires.watch.poll().standing):
        turns += 1
        assert turns <= 4
    assert undo(wires.found(What.BPF_FOREIGN), wires.namespace)


# -- what is loaded --------------------------------------------------------------------------------


@contextlib.contextmanager
def theirs(kind):
    """Have another process hold a program; yield its name, which is nobody else's."""
    name = f"cg{secrets.token_hex(5)}"
    process = subprocess.Popen(
        [sys.executable, "-c", THEIRS.format(kind=kind, name=name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield name
    finally:
        process.communicate(timeout=10)


def labels(inventory):
    return {dict(each.where)["label"]: dict(each.where) for each in inventory.standing}


def test_what_others_load_and_could_hand_on_is_found_until_it_is_gone():
    inventory = Inventory()
    with theirs(SK_SKB) as name:
        assert inventory.look()
        assert (labels(inventory)[name]["kind"], labels(inventory)[name]["uid"]) == ("sk_skb", 0)
    assert inventory.look()
    assert name not in labels(inventory)
    assert not inventory.blind


def test_what_is_ours_or_could_hand_on_nothing_is_not_found():
    inventory = Inventory()
    ours = nothing(RAW_TRACEPOINT, name="ours_not_theirs")
    with theirs(CGROUP_SKB) as counting, theirs(SCHED_CLS) as filtering:
        inventory.look()
        assert not {"ours_not_theirs", counting, filtering} & set(labels(inventory))
    os.close(ours)


def test_a_sentry_of_the_whole_node_tells_of_it_and_one_with_a_scope_does_not(wires):
    """Others' programs are told of while they are there; nothing is done about them."""
    told, failures = [], []
    everywhere = Watch(
        WatchParts(
            now=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            deliver=told.append,
            fail=failures.append,
            units=frozenset(),
        )
    )
    everywhere.start()
    try:
        with watching(wires, Mode.OBSERVE) as scoped, theirs(SK_SKB) as name:
            until = time.monotonic() + 10
            while not (found := [e for e in told if e.details.get("label") == name]):
                assert time.monotonic() < until
                time.sleep(0.01)
            scoped.swept(3)
            assert not [each for each in scoped.told if each.what is What.BPF_LOADED]
    finally:
        everywhere.close()
    (one,) = found
    assert (one.what, one.details["kind"]) == (What.BPF_LOADED, "sk_skb")
    assert (one.details["action"], one.details["would"]) == ("reported", "report")
    assert not failures


def test_programs_say_what_they_are():
    held = nothing(SCHED_CLS, name="named")
    (number,) = [each for each in own() if (told := seen(each)) and told.name == "named"]
    told = seen(number)
    assert (told.kind, told.uid, told.maps) == (SCHED_CLS, 0, ())
    assert len(bytes.fromhex(told.tag)) == 8
    assert number in program_ids()
    os.close(held)
    assert seen(2**31) is None
