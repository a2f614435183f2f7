"""The guard's one clock: the only module of the guard that reads the time."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["SystemClock"]


class SystemClock:
    """The system's wall clock."""

    @staticmethod
    def now() -> datetime:
        """Return the time, UTC."""
        return datetime.now(UTC)
