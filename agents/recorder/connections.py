"""The open connections of one listener, bounded in number.

When there are too many, one that never had a message come to the relay gives way, else any: of them
the one that was silent for longest. So who opens many, or has only refusals, drives out no proxy,
and who holds many open keeps none out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["MOST", "Connections"]

MOST: Final = 256


class Connections:
    """Connections by whatever tells them apart."""

    def __init__(self) -> None:
        self._open: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()
        self._served: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open) + len(self._served)

    def opened(self, key: Hashable, end: Callable[[], None]) -> None:
        """Take a connection in; ``end`` ends it at once."""
        self._open[key] = end
        if len(self) > MOST:
            # The new one alone is no crowd.
            crowd = self._served if len(self._open) == 1 and self._served else self._open
            crowd.popitem(last=False)[1]()

    def heard(self, key: Hashable) -> None:
        """Take note that a connection has said something."""
        for crowd in (self._open, self._served):
            if key in crowd:
                crowd.move_to_end(key)

    def served(self, key: Hashable) -> None:
        """Take note that what a connection said has come to the relay."""
        end = self._open.pop(key, None)
        if end is not None:
            self._served[key] = end

    def closed(self, key: Hashable) -> None:
        """Forget a connection."""
        self._open.pop(key, None)
        self._served.pop(key, None)

    def close(self) -> None:
        """End them all."""
        for crowd in (self._open, self._served):
            while crowd:
                crowd.popitem()[1]()
