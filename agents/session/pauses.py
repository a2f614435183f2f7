"""How long to wait before the next attempt.

The pause doubles from `SHORTEST` to `LONGEST` seconds; of each a random half is waited, so that the
agents of a guard that comes back do not all call at once. A success starts it afresh.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["LONGEST", "SHORTEST", "Pauses"]

SHORTEST = 0.2
LONGEST = 5.0


class Pauses:
    """``chance`` returns numbers from 0 to 1, as `random.random` does."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._next = SHORTEST

    def after(self, *, success: bool) -> float:
        """Return the seconds to wait after an attempt."""
        if success:
            self._next = SHORTEST
        pause, self._next = self._next, min(self._next * 2, LONGEST)
        return pause * (0.5 + self._chance() / 2)
