"""Work that must reach the disk, done in order beside the event loop.

1. Works are done one after another, on one thread, in the order they were put.
2. What follows from a work (`then`) happens on the event loop once the work is durable, in the same
   order. So nothing is sent before it is kept, and opening media waits for no disk.
3. After a work that fails nothing more is done and nothing more follows: the agent ends.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial

__all__ = ["Journal"]

Work = Callable[[], object]
_Entry = tuple[Work | None, Work | None]


class Journal:
    """``on_failure`` is called on the event loop with what a work or its consequence raised."""

    def __init__(self, *, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._open = 0
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def empty(self) -> bool:
        """Whether everything put so far is done, and has had its consequences."""
        return self._open == 0

    def put(self, work: Work | None, then: Work | None = None) -> None:
        """Do ``work`` after everything before it, and ``then`` on the event loop after that."""
        self._open += 1
        self._entries.put((work, then))

    def close(self) -> None:
        """Do what was put, have no more consequences, and end the thread. Blocks."""
        self._entries.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (entry := self._entries.get()) is not None:
            work, then = entry
            try:
                if work is not None and not self._failed:
                    work()
            except BaseException as error:  # noqa: BLE001 - rule 3
                self._failed = True
                self._tell(partial(self._on_failure, error))
            if not self._failed:
                self._tell(partial(self._follow, then))

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop is closed: there is nobody left to tell
            self._failed = True

    def _follow(self, then: Work | None) -> None:
        self._open -= 1
        try:
            if then is not None:
                then()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._on_failure(error)
