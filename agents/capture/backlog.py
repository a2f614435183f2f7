"""Packets between the thread that takes them and the thread that seals them: bounded, in memory.

The sealing thread is woken when there is enough to do, not for every batch: with a thousand grants
the waking would cost more than the sealing.
"""

from __future__ import annotations

import threading
from collections import deque

from agents.capture.section import Batch

ENOUGH = 128 << 10
"""Octets that are worth waking the sealing thread for: two of age's chunks."""


class Backlog:
    """A queue of batches that holds at most `octets`. Putting never waits; looking does."""

    def __init__(self, octets: int) -> None:
        self._limit = octets
        self._held = 0
        self._awaited = 1
        self._batches: deque[Batch] = deque()
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """Whether the end was announced; what is held can still be taken."""
        return self._closed

    def put(self, batch: Batch) -> bool:
        """Take a batch in; false when there is no room or the end was announced."""
        with self._changed:
            if self._closed or self._held + len(batch.data) > self._limit:
                return False
            self._batches.append(batch)
            self._held += len(batch.data)
            if self._held >= self._awaited:
                self._changed.notify()
            return True

    def head(self) -> Batch | None:
        """Wait for a batch and leave it here; none if the end was announced."""
        return self._look(1, None)

    def more(self, timeout: float) -> Batch | None:
        """Wait until there is enough, or so many seconds; then return the head, if there is one."""
        return self._look(ENOUGH, timeout)

    def _look(self, awaited: int, timeout: float | None) -> Batch | None:
        with self._changed:
            self._awaited = awaited
            self._changed.wait_for(lambda: self._held >= awaited or self._closed, timeout)
            return self._batches[0] if self._batches else None

    def take(self) -> Batch:
        """Remove and return the head."""
        with self._changed:
            batch = self._batches.popleft()
            self._held -= len(batch.data)
            return batch

    def close(self) -> None:
        """Announce the end."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wait_closed(self) -> None:
        """Wait until the end was announced."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed)
