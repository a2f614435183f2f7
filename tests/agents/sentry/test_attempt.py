"""What the canary tries is really tried, and what stops it is told apart from what is not there."""

from __future__ import annotations

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
    assert set(attempt.ATTEMPTS) == set(Door)


@pytest.mark.parametrize("door", list(Door))
def test_without_a_guard_every_door_of_this_kernel_opens(door):
    absent_elsewhere = door in {Door.XDP, Door.PACKET_32, Door.PACKET_IO_URING}
    status = tried("-I", "-S", str(PATH), door)
    assert status == 0 or (absent_elsewhere and status in {2, -11})


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
