"""The sweep finds every socket that could hear content, on this kernel, with real sockets."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import netns

from agents.core.judgement import Allowances, Verdict, judge
from agents.sentry import cgroups
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.sweep import Sweeper
from agents.sentry.tables import namespaces
from tests.agents.sentry import holding

pytestmark = pytest.mark.privileged
ALL = socket.htons(3)


@pytest.fixture
def sweeper():
    made = Sweeper()
    yield made
    made.close()


@contextmanager
def holder(way, into=None):
    command = (sys.executable, "-m", "tests.agents.sentry.holding", way)
    process = subprocess.Popen(
        into.command(*command) if into else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield [int(each) for each in process.stdout.readline().split()]
    finally:
        process.communicate(timeout=10)


def comes_to_be(claim):
    until = time.monotonic() + 10
    while not claim() and time.monotonic() < until:
        time.sleep(0.001)
    assert claim()


def found(sweeper, inode):
    return [each for each in (*sweeper.sweep(), *sweeper.unheld) if each.inode == inode]


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "expected"),
    [
        (17, 3, 3, (17, 3, 0, 3)),
        (17, 2, 0x0800, (17, 2, 0, 0x0800)),
        (17, 3, 0x0806, (17, 3, 0, 0x0806)),
        (17, 3, 0, (17, 3, 0, 0)),
        (2, 3, 17, (2, 3, 17, 0)),
        (10, 3, 6, (10, 3, 6, 0)),
        (2, 3, 1, (2, 3, 1, 0)),
        (44, 3, 0, (44, 3, 0, 0)),
    ],
)
def test_a_socket_is_found_with_what_the_judgement_needs(sweeper, family, kind, protocol, expected):
    spoken = socket.htons(protocol) if family == 17 else protocol
    with socket.socket(family, kind, spoken) as opened:
        (seen,) = found(sweeper, os.fstat(opened.fileno()).st_ino)
    assert (seen.family, seen.type, seen.protocol, seen.ethertype) == expected
    assert seen.pid == os.getpid()
    assert seen.uid == os.geteuid()
    assert seen.netns == Path("/proc/self/ns/net").stat().st_ino


def test_a_bound_socket_is_seen_as_bound(sweeper):
    with socket.socket(17, 3, 0) as opened:
        opened.bind(("lo", 0x86DD))
        (seen,) = found(sweeper, os.fstat(opened.fileno()).st_ino)
    assert (seen.ethertype, seen.ifindex) == (0x86DD, socket.if_nametoindex("lo"))


def test_a_closed_socket_is_gone(sweeper):
    with socket.socket(17, 3, ALL) as opened:
        inode = os.fstat(opened.fileno()).st_ino
    assert found(sweeper, inode) == []


def test_two_descriptors_of_one_socket_are_one_finding(sweeper):
    with socket.socket(17, 3, ALL) as opened, opened.dup() as _:
        assert len(found(sweeper, os.fstat(opened.fileno()).st_ino)) == 1


def test_a_socket_that_two_processes_hold_is_two_findings(sweeper):
    with socket.socket(17, 3, ALL) as opened:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[opened.fileno()])
        try:
            seen = found(sweeper, os.fstat(opened.fileno()).st_ino)
        finally:
            child.kill()
            child.wait()
    assert {each.pid for each in seen} == {os.getpid(), child.pid}


def test_ordinary_sockets_are_not_listed(sweeper):
    with socket.socket(2, 2) as datagrams, socket.socket(2, 1) as stream:
        inodes = {os.fstat(each.fileno()).st_ino for each in (datagrams, stream)}
        assert not inodes & {each.inode for each in sweeper.sweep()}


@pytest.mark.parametrize("way", ["plain", "namespace", "thread", "registered"])
def test_a_holder_is_found_wherever_it_hides(sweeper, way):
    with holder(way) as (pid, inode, space):
        (seen,) = found(sweeper, inode)
        assert (seen.pid, seen.netns, seen.family, seen.ethertype) == (pid, space, 17, 3)
        assert judge(seen, Allowances()).verdict is Verdict.CONTENT


@pytest.mark.parametrize("way", ["ring", "flight"])
def test_a_socket_that_no_descriptor_stands_for_is_found_with_who_has_it(sweeper, way):
    with holder(way) as (pid, inode, space):
        (seen,) = found(sweeper, inode)
        assert (seen.pid, seen.netns, seen.ethertype) == (pid if way != "flight" else 0, space, 3)
        assert bool(seen.started) is bool(seen.pid)
        assert sweeper.unheld == [seen]
        assert judge(seen, Allowances()).verdict is Verdict.CONTENT
        assert inode not in {each.inode for each in sweeper.sweep(thorough=False)}
        assert sweeper.unheld == []
        sweeper.sweep(thorough=False, mapped=True)
        assert sweeper.unheld == ([seen] if way == "ring" else [])


def test_a_socket_in_a_namespace_that_no_process_is_in_is_found(sweeper):
    name = f"cg-sweep-{secrets.token_hex(4)}"
    netns.create(name)
    try:
        space = Path(f"/run/netns/{name}").stat().st_ino
        assert space in namespaces()
        inodes = []

        def inside():
            place = os.open(f"/run/netns/{name}", os.O_RDONLY)
            holding.LIBC.setns(place, holding.CLONE_NEWNET)
            os.close(place)
            inodes.append(holding.flight())

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        (seen,) = found(sweeper, inodes[0])
        assert (seen.pid, seen.netns) == (0, space)
    finally:
        while holding.KEPT:
            holding.KEPT.pop().close()
        netns.remove(name)


def test_the_sweep_leaves_the_agent_in_its_own_namespace(sweeper):
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    sweeper.sweep()
    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


def test_a_holder_is_shown_in_its_cgroup(sweeper):
    with OwnCgroup("callguard-test") as group, holder("plain", into=group) as (_, inode, _):
        (seen,) = found(sweeper, inode)
        assert (seen.cgroup, seen.cgroup_id) == (f"/{group.path.name}", group.number)


def test_a_cgroup_of_ones_own_ends_what_is_inside_and_nothing_else():
    outside = subprocess.Popen(["sleep", "60"])
    try:
        with OwnCgroup("callguard-test") as group:
            inside = subprocess.Popen(group.command("sleep", "60"))
            comes_to_be(lambda: (group.path / "cgroup.procs").read_text() == f"{inside.pid}\n")
        assert inside.wait(timeout=10) == -9
        assert not group.path.exists()
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


NESTED = """
import sys
from pathlib import Path
from agents.sentry.cgroups import OwnCgroup
with OwnCgroup("callguard-test") as group:
    print(group.path)
if group.path.exists():
    sys.exit(1)
"""


def test_a_cgroup_of_ones_own_is_below_where_one_is():
    with OwnCgroup("callguard-test") as group:
        command = group.command(sys.executable, "-c", NESTED)
        made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert Path(made).parent == group.path


def test_a_cgroup_has_its_name_while_it_is_there():
    top = cgroups.mount()
    with OwnCgroup("callguard-test") as group:
        (deep := group.path / "a b" / "c").mkdir(parents=True)
        assert cgroups.path_of(group.number, top) == f"/{group.path.name}"
        assert cgroups.path_of(deep.stat().st_ino, top) == f"/{group.path.name}/a b/c"
        deep.rmdir()
        deep.parent.rmdir()
    assert cgroups.path_of(group.number, top) == ""
    assert cgroups.path_of(top.stat().st_ino, top) == "/"
    assert cgroups.path_of(0, top) == ""
    assert cgroups.path_of(group.number, None) == ""
