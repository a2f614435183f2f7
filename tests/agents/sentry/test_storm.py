"""A thousand mirrors at once neither blind nor stall the sentry, and are told in sum."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime

import pytest

from agents.core.commands import SendReceipt
from agents.core.enforcing import Mode
from agents.core.incidents import MOST, Incidents
from agents.core.instant import Instant
from agents.core.sentry import What
from agents.sentry.undo import undo_all
from tests.agents.sentry.place import Place, path_of
from tests.agents.sentry.test_mirrors import watching
from tests.agents.sentry.wires import Wires

pytestmark = pytest.mark.privileged

MANY = 1000
SECOND = 1.0

RULES = [
    "add table ip n",
    "add chain ip n c",
    "add rule ip n c counter",
    *(f"add rule ip n c log group {number + 1}" for number in range(MANY)),
]
LINKS = [f"link add m{number} link v0 up type macvlan" for number in range(MANY)]
FILTERS = [
    "qdisc add dev v0 clsact",
    *(
        f"filter add dev v0 egress pref {number + 1} protocol all u32 match u32 {number} 0xffffffff"
        " at 0 action mirred egress mirror dev t0"
        for number in range(MANY)
    ),
]
LEGACY = [
    "*filter",
    "-A OUTPUT -p udp -j ACCEPT",
    *(f"-A OUTPUT -j NFLOG --nflog-prefix x{number}" for number in range(MANY)),
    "COMMIT",
]
STORMS = {
    "rules": (("nft", "-f", "-"), RULES, What.NFT_COPY),
    "links": (("ip", "-batch", "-"), LINKS, What.MIRROR_LINK),
    "filters": (("tc", "-batch", "-"), FILTERS, What.TC_MIRROR),
    "legacy": (("iptables-legacy-restore", "--noflush"), LEGACY, What.XT_COPY),
}


@pytest.fixture
def wires():
    with Wires() as made:
        yield made


def rage(wires, kind):
    tool, lines, _ = STORMS[kind]
    command = ["ip", "netns", "exec", wires.a, *tool]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, timeout=60)


@contextlib.contextmanager
def gauged(place):
    """Measure the longest time without a sweep, in seconds."""
    longest, done = [0.0], threading.Event()

    def measure():
        began, seen = time.monotonic(), place.watch.status()["sweeps"]
        while not done.wait(0.005):
            longest[0] = max(longest[0], time.monotonic() - began)
            if (sweeps := place.watch.status()["sweeps"]) != seen:
                began, seen = time.monotonic(), sweeps

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield longest
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("kind", STORMS)
def test_a_storm_is_undone_while_sweeps_go_on(wires, kind):
    what = STORMS[kind][2]
    with watching(wires, Mode.ENFORCE) as place:
        with gauged(place) as longest:
            rage(wires, kind)
            with place.holding(socket.AF_PACKET, "socket.htons(3)") as pid:
                (told,) = place.found(What.CAPTURE_SOCKET, within=SECOND)
                assert told["pid"] == pid
            undone = place.found(what, MANY)
        assert longest[0] < SECOND
        assert {each["action"] for each in undone} == {"undone"}
        assert len(undone) == MANY
        assert not wires.standing(what)
    if kind == "rules":
        assert wires.run("nft", "list", "ruleset").count("counter") == 1
    if kind == "legacy":
        assert "-A OUTPUT -p udp -j ACCEPT" in wires.run("iptables-legacy", "-S")


def test_a_storm_is_told_in_sum(wires):
    incidents, minute = Incidents(), 60 * 10**9
    with watching(wires, Mode.OBSERVE) as place:
        rage(wires, "rules")
        told = place.found(What.NFT_COPY, MANY)
    commands = [
        command
        for each in told
        for command in incidents.found(What.NFT_COPY.value, None, each, now(1))
    ]
    commands += incidents.wake_up(now(1 + minute))
    receipts = [each.draft.details for each in commands if isinstance(each, SendReceipt)]
    assert len(receipts) == MOST + 1
    assert receipts[-1] == {"what": "nft_copy", "more": MANY - MOST}


def now(boot_ns):
    return Instant(boot_ns=boot_ns, wall=datetime(2026, 1, 1, tzinfo=UTC))


@contextlib.contextmanager
def owner(wires, *before):
    """Have a process own a table with a rule that copies; yield it."""
    process = subprocess.Popen(
        [*before, "ip", "netns", "exec", wires.a, "nft", "-i"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        process.stdin.write("add table ip own { flags owner; }\n")
        process.stdin.write("add chain ip own c\nadd rule ip own c log group 9\n")
        process.stdin.flush()
        until = time.monotonic() + 5
        while not wires.standing(What.NFT_COPY):
            assert time.monotonic() < until
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=10)


def owning(place, mode):
    """Return what is told of who owns a table."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for each in place.found(What.NFT_COPY):
            if each.get("listens") and each["mode"] == mode:
                return each
        time.sleep(0.01)
    raise AssertionError(place.told)


def test_what_cannot_go_with_the_others_does_not_keep_them(wires, arena):
    """A table that a living process owns is nobody else's: its rule stands, and that is told."""
    with owner(wires) as process:
        rage(wires, "rules")
        with Place(name=wires.a, undo=undo_all, cgroup=path_of(arena.inside)) as place:
            place.watch.set_mode(Mode.ENFORCE)
            until = time.monotonic() + 10
            while len(wires.standing(What.NFT_COPY)) > 1:
                assert time.monotonic() < until
            kept = owning(place, "enforce")
        assert dict(wires.found(What.NFT_COPY).where)["table"] == "own"
        assert (kept["pid"], kept["listens"]) == (process.pid, "nft_owner own")
        assert kept["action"] == "reported", "the process is outside of the sentry's reach"
        assert process.poll() is None


def test_who_keeps_copying_rules_for_himself_is_ended_and_his_table_goes(wires, arena):
    within = arena.inside.command()
    with (
        owner(wires, *within) as process,
        Place(name=wires.a, undo=undo_all, cgroup=path_of(arena.inside)) as place,
    ):
        place.watch.set_mode(Mode.ENFORCE)
        process.wait(timeout=5)
        kept = owning(place, "enforce")
        assert (kept["pid"], kept["action"]) == (process.pid, "killed")
        until = time.monotonic() + 5
        while wires.standing(What.NFT_COPY):
            assert time.monotonic() < until
