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
        """Return this moment; the wall clock in whole microseconds.

        What that rounding takes is taken off the boot clock too: no end that is converted with
        this moment comes late by it.
        """
        boot_ns, wall_ns = self.nanoseconds()
        whole, rest = divmod(wall_ns, 1000)
        return Instant(boot_ns=boot_ns - rest, wall=_EPOCH + timedelta(microseconds=whole))

    @staticmethod
    def nanoseconds() -> tuple[int, int]:
        """Return this moment as nanoseconds of the boot and of the wall clock."""
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return boot_ns, time.clock_gettime_ns(time.CLOCK_REALTIME)
