"""The open connections of one listener, bounded in number.

When there are too many, the one that was silent for longest gives way: a proxy that works is heard
often, and who only holds connections open does not keep it out.
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

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def opened(self, key: Hashable, end: Callable[[], None]) -> None:
        """Take a connection in; ``end`` ends it at once."""
        self._open[key] = end
        if len(self._open) > MOST:
            self._open.popitem(last=False)[1]()

    def heard(self, key: Hashable) -> None:
        """Take note that a connection has said something."""
        if key in self._open:
            self._open.move_to_end(key)

    def closed(self, key: Hashable) -> None:
        """Forget a connection."""
        self._open.pop(key, None)

    def close(self) -> None:
        """End them all."""
        while self._open:
            self._open.popitem()[1]()
