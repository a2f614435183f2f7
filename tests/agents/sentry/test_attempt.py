"""What the canary tries is really tried, and what stops it is told apart from what is not there."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agents.sentry import attempt
from agents.sentry.tiers import Door

pytestmark = pytest.mark.privileged
PATH = Path(attempt.__file__)

# Runs an attempt behind a seccomp filter that answers socket(2) with an error number.
FILTERED = """
import ctypes, os, struct, sys
number, door, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 41), (0x06, 0, 0, 0x00050000 | number), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in steps))
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-I", "-S", path, door])
"""


def tried(*words):
    return subprocess.run([sys.executable, *words], check=False, timeout=20).returncode


def test_every_door_has_an_attempt():
    assert {*attempt.ATTEMPTS, *attempt.LURED} == set(Door)


@pytest.mark.parametrize("door", list(attempt.ATTEMPTS))
def test_without_a_guard_every_door_of_this_kernel_opens(door):
    absent_elsewhere = door in {Door.XDP, Door.PACKET_32, Door.PACKET_IO_URING, Door.NFLOG}
    status = tried("-I", "-S", str(PATH), door)
    assert status == 0 or (absent_elsewhere and status in {2, -11})


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        assert process.poll() is None  # whatever was tried did not harm it
        process.kill()


@pytest.mark.parametrize("door", [Door.PTRACE, Door.VM_READ, Door.PROC_MEM, Door.PIDFD_GETFD])
def test_without_a_guard_a_process_can_be_read(door, sleeper):
    assert tried("-I", "-S", str(PATH), door, str(sleeper.pid)) == 0


def test_whether_the_agent_may_be_killed_is_asked_without_harm(sleeper):
    assert tried("-I", "-S", str(PATH), Door.KILL_AGENT, str(sleeper.pid)) == 0


def test_an_inherited_packet_socket_can_be_changed_and_a_passed_one_taken():
    ours, theirs = socket.socketpair()
    with socket.socket(17, 3, 0) as packets, ours, theirs:
        socket.send_fds(ours, [b"-"], [packets.fileno()])
        for door, lure in (
            (Door.SETSOCKOPT, packets.fileno()),
            (Door.RECEIVED, theirs.fileno()),
        ):
            words = [sys.executable, "-I", "-S", str(PATH), door, str(lure)]
            assert subprocess.run(words, check=False, pass_fds=[lure], timeout=20).returncode == 0


def test_a_message_that_brings_no_descriptor_counts_as_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"-")
        words = [sys.executable, "-I", "-S", str(PATH), Door.RECEIVED, str(theirs.fileno())]
        done = subprocess.run(words, check=False, pass_fds=[theirs.fileno()], timeout=20)
        assert done.returncode == 1


def test_what_is_behind_the_pins_is_tried_and_undone(tmp_path):
    pin = tmp_path / "canary"
    pin.touch()
    before = Path("/proc/self/mountinfo").read_text()
    assert tried("-I", "-S", str(PATH), Door.MOUNT_OVER, str(tmp_path)) == 0
    assert Path("/proc/self/mountinfo").read_text() == before
    assert tried("-I", "-S", str(PATH), Door.UNPIN, str(pin)) == 0
    assert not pin.exists()


@pytest.mark.parametrize("number", [1, 97])  # EPERM, EAFNOSUPPORT
def test_what_a_filter_hides_counts_as_refused(number):
    assert tried("-c", FILTERED, str(number), Door.XDP, str(PATH)) == 1


def test_what_the_kernel_does_not_have_is_told(tmp_path):
    changed = tmp_path / "attempt.py"
    changed.write_text(
        PATH.read_text().replace(
            "_AF_XDP, _ETH_P_ALL, _PROT_EXEC = 44,", "_AF_XDP, _ETH_P_ALL, _PROT_EXEC = 45,"
        )
    )
    assert tried("-I", "-S", str(changed), Door.XDP) == 2
