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

    assert before - 1000 < now.boot_ns <= after
    assert now.wall.tzinfo is UTC
    assert abs(now.wall - datetime.now(UTC)) < timedelta(minutes=1)


def test_no_end_is_late_by_rounding():
    """The offset between the clocks is never read as larger than the kernel has it."""

    class Fixed(SystemClock):
        @staticmethod
        def nanoseconds() -> tuple[int, int]:
            return 5_000, 1_700_000_000_000_000_999

    now = Fixed().now()
    end = datetime.fromtimestamp(1_700_000_001, UTC)

    assert now.boot_of(end) == 5_000 + (1_000_000_000 - 999)
