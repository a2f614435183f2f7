"""Packets between the thread that takes them and the thread that seals them: bounded, in memory."""

from __future__ import annotations

import threading
from collections import deque

from agents.capture.section import Batch


class Backlog:
    """A queue of batches that holds at most `octets`. Putting never waits; looking does."""

    def __init__(self, octets: int) -> None:
        self._limit = octets
        self._held = 0
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
            self._changed.notify()
            return True

    def head(self, timeout: float | None = None) -> Batch | None:
        """Wait `timeout` seconds for a batch and leave it here; none if time or backlog ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closed, timeout)
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
