"""A tree reduced to what more leaves need: the roots of its full subtrees.

1. It takes a hash for each bit of the size, however many leaves went in.
2. One taken from a log's nodes is that log's when its root is one that is trusted; leaves that are
   appended then and lead to a newer trusted root are that log's leaves, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable

from guard.core.merkle import EMPTY_ROOT, Subtrees, node_hash

__all__ = ["Frontier", "root_of"]


class Frontier:
    """The right edge of a tree of `size` leaves."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    @classmethod
    def of(cls, tree: Subtrees, size: int) -> Frontier:
        """Take the edge of a tree's first `size` leaves; raises what reading its nodes raises."""
        made = cls()
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                made._roots.append(tree.node(level, made.size >> level))
                made.size += 1 << level
        return made

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        position, digest = self.size, leaf
        while position & 1:
            digest = node_hash(self._roots.pop(), digest)
            position >>= 1
        self._roots.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of all leaves."""
        if not self._roots:
            return EMPTY_ROOT
        *above, root = self._roots
        for left in reversed(above):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> tuple[int, bytes]:
    """Return size and root of the tree over these leaf hashes."""
    made = Frontier()
    for leaf in leaves:
        made.append(leaf)
    return made.size, made.root()
