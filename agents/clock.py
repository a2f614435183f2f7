"""The one place where the agent reads a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agents.core.instant import Instant

__all__ = ["Clock", "SystemClock"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Two clocks, read together."""

    def now(self) -> Instant:
        """Return this moment."""

    def nanoseconds(self) -> tuple[int, int]:
        """Return this moment as nanoseconds of the boot and of the wall clock."""


class SystemClock:
    """CLOCK_BOOTTIME and CLOCK_REALTIME of the kernel (clock_gettime(2))."""

    def now(self) -> Instant:
        """Return this moment; the wall clock in whole microseconds."""
        boot_ns, wall_ns = self.nanoseconds()
        return Instant(boot_ns=boot_ns, wall=_EPOCH + timedelta(microseconds=wall_ns // 1000))

    @staticmethod
    def nanoseconds() -> tuple[int, int]:
        """Return this moment as nanoseconds of the boot and of the wall clock."""
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return boot_ns, time.clock_gettime_ns(time.CLOCK_REALTIME)
