"""Who listens to NFLOG or NFQUEUE is found, allowed by unit, and ended or muted like any holder."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.enforcing import Mode
from agents.core.judgement import AF_NETLINK, Allowances, SocketSeen, Verdict, judge
from agents.core.sentry import What
from agents.sentry.listeners import groups, ports
from agents.sentry.owners import owned
from agents.sentry.undo import undo_all
from tests.agents.sentry.place import Place, path_of
from tests.agents.sentry.test_netlink import attribute
from tests.agents.sentry.wires import Wires
from tests.builders.units import service

LISTEN = """
import socket, struct, sys
kernel = socket.socket(16, 3, 12)
kernel.bind((0, 0))
bind = struct.pack("=HHB3x", 5, 1, 1), struct.pack(">HHBBH", 0x0800, 0x0100, 1, 0, 2)
whole = struct.pack("=HH", 10, 2) + struct.pack(">IBx", 0xFFFF, 2) + bytes(2)
at_once = struct.pack("=HHI", 8, 5, socket.htonl(1))
subsystem, commands = {{
    "nflog": ((4 << 8) | 1, (bind[0], whole, at_once)), "nfqueue": ((3 << 8) | 2, (bind[1],)),
}}["{kind}"]
for command in commands:
    head = struct.pack("=IHHII", 20 + len(command), subsystem, 5, 1, 0)
    kernel.send(head + struct.pack(">BBH", 2, 0, {group}) + command)
    assert struct.unpack_from("=i", kernel.recv(4096), 16)[0] == 0
print("ready", flush=True)
kernel.setblocking(False)
for line in sys.stdin:
    count = 0
    try:
        while True:
            kernel.recv(65536)
            count += 1
    except BlockingIOError:
        print(count, flush=True)
"""


@contextlib.contextmanager
def listening(place, *before, kind="nflog", group=5):
    script = LISTEN.format(kind=kind, group=group)
    process = subprocess.Popen(
        [*before, *place.command(sys.executable, "-c", script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=10)


@pytest.mark.privileged
@pytest.mark.parametrize("portable", [False, True], ids=["kernel", "listing"])
@pytest.mark.parametrize(("kind", "group"), [("nflog", 5), ("nfqueue", 3)])
def test_who_listens_is_found_and_told_once(portable, kind, group):
    with Place(portable=portable) as place, listening(place, kind=kind, group=group) as process:
        (told,) = place.found(What.NFLOG_BIND, within=1)
        assert (told["kind"], told["listens"]) == (kind, f"{kind} {group}")
        assert (told["pid"], told["uid"], told["would"]) == (process.pid, 0, "kill")
        assert len(told["command"]) == 64
        place.swept(12)
        assert len(place.found(What.NFLOG_BIND)) == 1


@pytest.mark.privileged
def test_a_socket_of_nfnetlink_that_listens_to_no_group_is_not_reported():
    script = (
        "import socket,sys; s=socket.socket(16,3,12); print('ready',flush=True); sys.stdin.read()"
    )
    with Place() as place:
        process = subprocess.Popen(
            place.command(sys.executable, "-c", script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready\n"
        place.swept(4)
        process.communicate(timeout=10)
        assert [each.what for each in place.told] == [What.SENTRY_SCOPED]


@pytest.mark.privileged
def test_a_unit_that_may_listen_is_not_reported():
    unit = f"cg-{secrets.token_hex(4)}.service"
    with (
        Place(units=(unit,)) as place,
        service(unit) as inside,
        listening(place, *inside),
    ):
        place.swept(4)
        assert [each.what for each in place.told] == [What.SENTRY_SCOPED]


@pytest.mark.privileged
def test_who_listens_is_ended_where_the_sentry_enforces_and_only_there(arena):
    with Place(cgroup=path_of(arena.inside), undo=undo_all) as place:
        place.watch.set_mode(Mode.ENFORCE)
        with listening(place, *arena.outside.command(), group=6) as neighbour:
            with listening(place, *arena.inside.command()) as process:
                process.wait(timeout=5)
                (told,) = [e for e in place.found(What.NFLOG_BIND, 2) if e["pid"] == process.pid]
                assert told["action"] == "killed"
            place.swept(4)
            assert neighbour.poll() is None
            os.kill(neighbour.pid, 0)


def heard(process):
    """Return how many packets a listener was handed since it was last asked."""
    process.stdin.write(b"\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.mark.privileged
def test_a_unit_that_is_muted_hears_nothing_more():
    unit = f"cg-{secrets.token_hex(4)}.service"
    with (
        Wires() as wires,
        Place(mute=(unit,), name=wires.a) as place,
        service(unit) as inside,
        listening(place, *inside) as process,
    ):
        wires.run("nft", "add table ip n; add chain ip n c { type filter hook output priority 0; }")
        wires.run("nft", "add rule ip n c log group 5")
        wires.send()
        assert heard(process)
        place.watch.set_mode(Mode.ENFORCE)
        until = time.monotonic() + 5
        while not any(each["action"] == "muted" for each in place.found(What.NFLOG_BIND)):
            assert time.monotonic() < until, place.told
            time.sleep(0.01)
        heard(process)
        wires.send()
        assert heard(process) == 0
        assert process.poll() is None


def seen(listens, family=AF_NETLINK):
    return SocketSeen(
        pid=7, uid=0, cgroup="/system.slice/ulogd2.service", cgroup_id=1, inode=9, netns=1,
        family=family, type=socket.SOCK_RAW, protocol=12, ethertype=0, ifindex=0, comm="any",
        listens=listens,
    )  # fmt: skip


def test_a_listener_is_content_and_its_unit_may_be_allowed():
    assert judge(seen("nflog 5"), Allowances()).verdict is Verdict.CONTENT
    assert judge(seen("nfqueue 0"), Allowances()).reason == "nfqueue"
    assert judge(seen(""), Allowances()).verdict is Verdict.FREE
    allowed = Allowances(units=frozenset(("ulogd2.service",)))
    assert judge(seen("nflog 5"), allowed).verdict is Verdict.ALLOWED


def test_lists_of_listeners_are_read():
    assert groups("nflog", "    5  30310 0 2 65535    100  1\n") == [("nflog 5", 30310)]
    assert groups("nfqueue", "    3 -4194 0 2 65531  0  0  0  1\n") == [("nfqueue 3", 2**32 - 4194)]
    assert groups("nflog", "") == []
    assert groups("nflog", "nothing of the kind\n\n1\n") == []
    table = (
        "sk               Eth Pid        Groups   Rmem  Wmem  Dump  Locks  Drops  Inode\n"
        "000000005d53add3 12  30310      00000000 0     0     0     2      0      1234\n"
        "000000005d53add4 12  4294963102 00000000 0     0     0     2      0      1235\n"
        "000000005d53add5 0   30311      00000000 0     0     0     2      0      1236\n"
    )
    assert ports(table) == {30310: 1234, 2**32 - 4194: 1235}


def table(name, owner=None, family=2):
    body = bytes((family, 0, 0, 0)) + attribute(1, name + b"\0")
    return (10 << 8, body + (attribute(7, struct.pack(">I", owner)) if owner is not None else b""))


def test_tables_that_have_an_owner_are_read():
    assert owned([table(b"filter"), table(b"own", 4711), table(b"six", 4712, family=10)]) == {
        (2, "own"): 4711,
        (10, "six"): 4712,
    }
    assert owned([(10 << 8, b""), (10 << 8, b"\2"), table(b"none", 0)]) == {}


@given(st.binary(max_size=80))
def test_any_octets_are_no_table_and_no_error(octets):
    assert isinstance(owned([(10 << 8, octets)]), dict)


@given(st.text(max_size=200))
def test_any_list_is_no_error(table):
    assert isinstance(groups("nflog", table), list)
    assert isinstance(ports(table), dict)


@given(st.lists(st.text("0123456789 -\n", max_size=12), max_size=20))
def test_any_numbers_are_no_error(words):
    table = " ".join(words)
    assert all(0 <= port < 1 << 32 for _, port in groups("nflog", table))
    assert isinstance(ports(table), dict)
