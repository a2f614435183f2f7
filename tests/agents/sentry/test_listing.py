"""Without the kernel's own list, the namespaces' lists and /proc find the holders as well."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from agents.sentry import holders
from agents.sentry.listing import Listing, xdp_counted
from agents.sentry.namespaces import Namespaces
from tests.agents.sentry import holding

pytestmark = pytest.mark.privileged


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("way", sorted(holding.WAYS))
def test_a_holder_is_found_wherever_it_hides(way):
    """In another namespace, a thread's own table, a mapped ring, io_uring; nobody's in flight."""
    process = subprocess.Popen(
        (sys.executable, "-m", "tests.agents.sentry.holding", way),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    everywhere, listing = Namespaces(None), Listing(boot_ns)
    try:
        pid, inode, netns = map(int, process.stdout.readline().split())
        everywhere.refresh()
        listing.sweep(everywhere.all)
        (seen,) = (each for each in listing.sweep(everywhere.all) if each.inode == inode)
        assert seen.pid == (0 if way == "flight" else pid)
        assert (seen.netns, seen.family, seen.ethertype) == (netns, 17, 3)
        assert seen.uid == 0
    finally:
        everywhere.close()
        process.communicate(timeout=10)


def test_a_socket_that_closes_while_it_is_looked_for_is_not_told():
    everywhere, listing = Namespaces(None), Listing(boot_ns)
    try:
        everywhere.refresh()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as opened:
            inode = os.fstat(opened.fileno()).st_ino
            assert inode in {each.inode for each in listing.sweep(everywhere.all)}
        assert inode not in {each.inode for each in listing.sweep(everywhere.all)}
    finally:
        everywhere.close()


def test_xdp_sockets_are_counted():
    head = "protocol  size sockets  memory press maxhdr  slab module     cl co\n"
    assert xdp_counted(head + "XDP       1088      2      -1   NI       0   no   kernel\n") == 2
    assert xdp_counted(head + "XDPX      1088      2      -1   NI       0   no   kernel\n") == 0
    assert xdp_counted("") == 0


def test_a_process_is_who_it_is_and_nobody_when_it_is_gone():
    own = holders.process(os.getpid())
    assert own is not None
    assert own.uid == os.geteuid()
    assert len(holders.identify(os.getpid()).command) == 64
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert holders.process(ended.pid) is None
    assert holders.identify(ended.pid).command is None


def test_what_nobody_holds_has_no_holder():
    assert holders.find(frozenset({1 << 60})).holders == {}
