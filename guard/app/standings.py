"""How the nodes stand, for whoever permits something on one.

The reconciler puts it here after each look at the log; others read it, from any thread. Before the
first look, and of a node that nobody knows, nothing is known: that is no reason against a node, and
none for an authority that demands something of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from guard.core.untrusted import UNHEARD, NodeStanding

__all__ = ["Standings"]


class Standings:
    """What was known at the last look."""

    def __init__(self) -> None:
        self._known: Mapping[str, NodeStanding] = {}

    def put(self, known: Mapping[str, NodeStanding]) -> None:
        """Take the place of what was known before."""
        self._known = known

    def of(self, node: str) -> NodeStanding:
        """Return how a node stands."""
        return self._known.get(node, UNHEARD)
