"""Number the node's interfaces for pcapng, in the order in which they are first seen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable


def kernel_name(index: int) -> str:
    """Return an interface's name, or its number when it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"interface {index}"


class Interfaces(dict[int, int]):
    """Maps the kernel's interface index to the pcapng number; `names` are in the numbers' order.

    An index that was never seen gets the next number, so that no packet lacks its interface.
    """

    def __init__(self, name_of: Callable[[int], str] = kernel_name) -> None:
        super().__init__()
        self._name_of = name_of
        self._mutex = threading.Lock()
        self.names: list[str] = []

    def describe(self, names: Iterable[str]) -> None:
        """Give these interfaces numbers, before a packet of theirs comes."""
        with self._mutex:
            for name in names:
                self._number(name)

    def __missing__(self, index: int) -> int:
        with self._mutex:
            number = self[index] = self._number(self._name_of(index))
            return number

    def _number(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)
