"""The clock that the kernel keeps."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from agents.clock import SystemClock


def test_both_clocks_are_the_kernels():
    """The boot clock lies between two readings of it; the wall clock is UTC and near the system's."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    now = SystemClock().now()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    assert before <= now.boot_ns <= after
    assert now.wall.tzinfo is UTC
    assert abs(now.wall - datetime.now(UTC)) < timedelta(minutes=1)
