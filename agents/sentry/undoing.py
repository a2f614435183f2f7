"""What is to be undone, in an order and in portions, so that no storm of mirrors stops the sweeps.

1. A portion is of one namespace and one kind, and as large as `PORTION` says. Between two portions
   the sentry looks who holds what; what waits is not lost, and comes in the order of its finding.
2. Where the namespace has gone, there is nothing to be undone any more.
3. What is dropped because the mode has turned has not been undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from agents.core.enforcing import Acted, Result, Undo
from agents.core.sentryevents import Finding, What
from agents.sentry.namespaces import Namespace

__all__ = ["PORTION", "UndoAll", "Undoing"]

PORTION: Final = {
    What.NFT_COPY: 512,
    What.XT_COPY: 512,
    What.MIRROR_LINK: 128,
    What.TC_MIRROR: 64,
}
"""How many of a kind are undone at once: what takes the kernel some tens of milliseconds."""
_OF_OTHERS: Final = 8

UndoAll = Callable[[Iterable[Finding], Namespace], Collection[Finding]]
"""Undo these findings of a namespace; return those that do not copy any more."""


@dataclass(slots=True)
class Undoing:
    """See the module's docstring; ``undo`` does it, None: nothing is undone."""

    undo: UndoAll | None
    _waiting: dict[tuple[int, What], deque[Undo]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count what waits."""
        return sum(map(len, self._waiting.values()))

    def add(self, act: Undo) -> None:
        """Have this undone when its turn comes."""
        self._waiting.setdefault((act.netns, act.finding.what), deque()).append(act)

    def step(self, namespace: Callable[[int], Namespace | None]) -> list[Acted]:
        """Undo one portion; return what came of it. ``namespace`` finds one by its inode."""
        if not self._waiting:
            return []
        key = next(iter(self._waiting))
        waiting = self._waiting.pop(key)
        netns, what = key
        portion = [waiting.popleft() for _ in islice(tuple(waiting), PORTION.get(what, _OF_OTHERS))]
        if waiting:
            self._waiting[key] = waiting  # Behind the others: each has its turn.
        place = namespace(netns)
        if place is None:
            return [Acted(act, Result.GONE) for act in portion]
        done = self.undo([act.finding for act in portion], place) if self.undo else ()
        return [Acted(act, _result(act.finding in done)) for act in portion]

    def drop(self) -> list[Acted]:
        """Undo nothing of what waits (rule 3)."""
        dropped = [act for waiting in self._waiting.values() for act in waiting]
        self._waiting.clear()
        return [Acted(act, Result.FAILED) for act in dropped]


def _result(done: bool) -> Result:  # noqa: FBT001 - one answer, one word
    return Result.DONE if done else Result.FAILED
