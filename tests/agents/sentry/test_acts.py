"""Only what was meant is ended or silenced, and what is silenced stays so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.core.enforcing import Kill, Mute, Result
from agents.sentry import acts
from agents.sentry.processes import started

pytestmark = pytest.mark.privileged

# Holds a socket, and tells at each line of input what came through since the last time; "free" takes
# the filter off first, "other" puts another one on.
LISTENER = """
import ctypes, os, socket, struct, sys, threading
kept = {make}
print(os.fstat(kept.fileno()).st_ino, flush=True)
pass_all = struct.pack("=HBBI", 6, 0, 0, 0xffff)
code = ctypes.create_string_buffer(pass_all)
for line in sys.stdin:
    refused = 0
    try:
        if line == "free\\n":
            kept.setsockopt(1, 27, 0)
        if line == "other\\n":
            kept.setsockopt(1, 26, struct.pack("=H6xQ", 1, ctypes.addressof(code)))
    except PermissionError:
        refused = 1
    heard = 0
    kept.settimeout(0.2)
    try:
        while heard < 3 and kept.recv(2048):
            heard += 1
    except TimeoutError:
        pass
    print(heard, refused, flush=True)
"""
PACKET = "socket.socket(17, 3, socket.htons(3))"
RAW = "socket.socket(2, 3, 17)"
XDP = "socket.socket(44, 3, 0)"
LOCKED = (
    "socket.socket(17, 3, socket.htons(3)); c0 = ctypes.create_string_buffer(struct.pack('=HBBI', 6, "
    "0, 0, 0xffff)); kept.setsockopt(1, 26, struct.pack('=H6xQ', 1, ctypes.addressof(c0))); "
    "kept.setsockopt(1, 44, 1)"
)
IN_THREAD = (
    "None\nopened, done = [], threading.Event()\ndef run():\n ctypes.CDLL(None).unshare(0x400)\n "
    "opened.append(socket.socket(17, 3, socket.htons(3)))\n done.set()\n threading.Event().wait()\n"
    "threading.Thread(target=run, daemon=True).start()\ndone.wait()\nkept = opened[0]\n"
    "print(os.stat(f'/proc/self/task/{threading.enumerate()[1].native_id}/fd/{kept.fileno()}').st_ino"
    ", flush=True)\nsys.stdin.read()\nos._exit(0)"
)


class Listener:
    def __init__(self, process):
        self.process, self.pid = process, process.pid
        self.inode = int(process.stdout.readline())
        self.started = started(process.pid)

    def says(self, word="listen"):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return tuple(int(each) for each in self.process.stdout.readline().split())


@contextmanager
def listener(arena, make=PACKET):
    process = subprocess.Popen(
        arena.command(sys.executable, "-c", LISTENER.format(make=make)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Listener(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_a_process_is_ended_if_it_is_the_one(arena):
    with subprocess.Popen(["sleep", "60"]) as process:
        start = started(process.pid)
        assert acts.kill(Kill(process.pid, start + 1)) is Result.GONE
        assert process.poll() is None
        assert acts.kill(Kill(process.pid, start)) is Result.DONE
        assert process.wait(10) == -9
        assert acts.kill(Kill(process.pid, start)) is Result.GONE


def test_what_may_not_be_ended_is_a_failure(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(acts.signal, "pidfd_send_signal", refuse)
    assert acts.kill(Kill(os.getpid(), started(os.getpid()))) is Result.FAILED


@pytest.mark.parametrize("make", [PACKET, RAW])
def test_a_muted_socket_hears_nothing_more_and_stays_muted(arena, make):
    with listener(arena, make) as holder:
        assert holder.says() == (3, 0), "there is something to hear"
        act = Mute(holder.pid, holder.started, holder.inode)
        assert acts.mute(act) is Result.DONE
        assert holder.says() == (0, 0)
        assert holder.says("free") == (0, 1)
        assert holder.says("other") == (0, 1)
        assert acts.mute(act) is Result.DONE, "it is, already"
        assert holder.says() == (0, 0)
        assert holder.process.poll() is None


def test_a_filter_of_its_own_is_replaced(arena):
    with listener(arena) as holder:
        assert holder.says("other") == (3, 0)
        assert acts.mute(Mute(holder.pid, holder.started, holder.inode)) is Result.DONE
        assert holder.says() == (0, 0)


@pytest.mark.parametrize("make", [XDP, LOCKED, IN_THREAD])
def test_what_cannot_be_muted_is_a_failure(arena, make):
    with listener(arena, make) as holder:
        act = Mute(holder.pid, holder.started, holder.inode)
        assert acts.mute(act) is Result.FAILED


def test_another_process_or_a_socket_that_was_closed_is_gone(arena):
    with listener(arena) as holder:
        act = Mute(holder.pid, holder.started + 1, holder.inode)
        assert acts.mute(act) is Result.GONE
        assert acts.mute(Mute(holder.pid, holder.started, 1)) is Result.GONE
        assert holder.says() == (3, 0)
    assert acts.mute(act) is Result.GONE


def test_a_number_that_stands_for_another_descriptor_by_then_is_not_touched(monkeypatch):
    ours, other = socket.socketpair()
    with ours, other:
        inode = os.fstat(ours.fileno()).st_ino
        monkeypatch.setattr(acts, "_number", lambda *_: other.fileno())
        act = Mute(os.getpid(), started(os.getpid()), inode)
        assert acts.mute(act) is Result.GONE
        ours.send(b"x")
        assert other.recv(1) == b"x"


def test_nothing_is_left_open(arena):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with listener(arena) as holder:
        within = len(list(Path("/proc/self/fd").iterdir()))
        acts.mute(Mute(holder.pid, holder.started, holder.inode))
        acts.mute(Mute(holder.pid, holder.started, 1))
        acts.kill(Kill(holder.pid, holder.started + 1))
        assert len(list(Path("/proc/self/fd").iterdir())) == within
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("way", ["ring", "registered"])
def test_a_socket_that_no_descriptor_stands_for_cannot_be_muted(way):
    process = subprocess.Popen(
        (sys.executable, "-m", "tests.agents.sentry.holding", way),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid, inode, _ = map(int, process.stdout.readline().split())
        assert acts.mute(Mute(pid, started(pid), inode)) is Result.FAILED
    finally:
        process.communicate(timeout=10)
