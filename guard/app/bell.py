"""Tells waiting sessions that there is something new to look at.

A bell carries no data: whoever hears it reads the ledger. So a ring that is lost, doubled or early
does no harm. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["Bell"]


class Bell:
    """Wakes those who listen for a node or for a capture."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listen(self, name: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set at every ring for ``name``; the listener clears it."""
        event = asyncio.Event()
        self._listening.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            listening = self._listening[name]
            listening.discard(event)
            if not listening:
                del self._listening[name]

    def ring(self, names: Iterable[str]) -> None:
        """Wake those who listen for these names."""
        for name in names:
            for event in self._listening.get(name, ()):
                event.set()

    def ring_all(self) -> None:
        """Wake everybody: a new checkpoint, a new trust policy."""
        self.ring(tuple(self._listening))
