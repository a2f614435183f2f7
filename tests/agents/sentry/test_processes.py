"""A process is told by its number and its start, and only where numbers are the host's."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from agents.sentry.processes import need_hosts_numbers, started

TRY = """
from agents.kernel.errors import KernelError
from agents.sentry.sweep import Sweeper
from agents.sentry.tiers import Tiers
try:
    Sweeper()
except KernelError as error:
    print(error)
made = Tiers()
print(made.refusal)
made.close()
"""


def test_a_start_is_in_ticks_since_boot():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["sleep", "60"]) as child:
        ticks = started(child.pid)
        assert (before - 0.02) * os.sysconf("SC_CLK_TCK") <= ticks
        assert started(child.pid) == ticks
        child.kill()
    assert started(child.pid) is None


@pytest.mark.privileged
def test_in_a_process_namespace_of_its_own_nothing_is_taken_for_what_it_is_not():
    need_hosts_numbers()
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", TRY]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert len(said.splitlines()) == 2
    assert all("process namespace" in line for line in said.splitlines())
