"""Which tier holds at each door of this kernel, by proof: nothing is believed to work.

1. The first tier (shield.py) is loaded in one flavour after the other; the one is kept whose
   canaries find every door of capture closed (canaries.py). Else the second tier (rogue.py) is
   loaded, where the kernel takes it. The third, finding by the sweep, is there in any case and
   needs no proof here.
2. The node's tier is the weakest of the doors of capture that this kernel has. The other doors are
   told one by one.
3. What holds may be proven again at any time.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from agents.kernel.errors import KernelError
from agents.sentry.canaries import CAPTURE, Canaries, Door, Tier
from agents.sentry.rogue import Entrance, Rogue, Scope
from agents.sentry.shield import Flavour, Shield

__all__ = ["CAPTURE", "Door", "Tier", "Tiers", "weakest"]

_WAITING: Final = 4096


@dataclass(slots=True)
class Tiers:
    """The best tier that this kernel lets be proven; ``close`` it. One user at a time.

    ``within`` is the number of the cgroup where it counts, None for everywhere; with ``enforce``
    it denies or kills there, else it reports. ``entrance`` is the tier that was kept. ``refusals``
    says why better ones were not, ``refusal`` why there is none at all, "" if there is.
    """

    within: int | None = None
    enforce: bool = False
    refusal: str = ""
    refusals: list[str] = field(default_factory=list)
    entrance: Entrance | None = None
    _canaries: Canaries | None = None
    _waiting: deque[Rogue] = field(default_factory=lambda: deque(maxlen=_WAITING))

    def __post_init__(self) -> None:
        with ExitStack() as undo:
            try:
                canaries = Canaries()
                undo.callback(canaries.close)
                scope = Scope(
                    canary=canaries.cgroup.number, within=self.within, enforce=self.enforce
                )
                self.entrance = self._shield(scope, canaries) or Entrance(scope)
            except KernelError as error:
                self.refusal = str(error)
                return
            self._canaries = canaries
            undo.pop_all()

    @property
    def canaries(self) -> frozenset[int]:
        """The number of the cgroup in which canaries hold what nobody else may: one or none."""
        return frozenset() if self._canaries is None else frozenset({self._canaries.cgroup.number})

    def prove(self) -> dict[Door, Tier]:
        """Try every door and say which tier holds there.

        It starts processes and waits for them. Raises OSError when none can be started.
        """
        if self._canaries is None or self.entrance is None:
            return dict.fromkeys(Door, Tier.DETECT)
        proven = self._canaries.prove(self.entrance)
        self._waiting.extend(self._canaries.others)
        self._canaries.others.clear()
        return proven

    def set_enforce(self, enforce: bool) -> None:  # noqa: FBT001  # one switch, named by it
        """Change the mode; canaries are stopped in either."""
        self.enforce = enforce
        if self.entrance is not None:
            self.entrance.set_enforce(enforce)

    def reports(self) -> list[Rogue]:
        """Return what was tried since the last time, the canaries' own attempts left out."""
        taken = [*self._waiting, *(self.entrance.reports() if self.entrance else ())]
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Unload it and remove the canaries' cgroup."""
        if self.entrance is not None:
            self.entrance.close()
            self.entrance = None
        if self._canaries is not None:
            self._canaries.close()
            self._canaries = None

    def _shield(self, scope: Scope, canaries: Canaries) -> Shield | None:
        """Rule 1."""
        for flavour in Flavour:
            try:
                shield = Shield(scope, flavour=flavour)
            except KernelError as error:
                self.refusals.append(str(error))
                continue
            with ExitStack() as undo:
                undo.callback(shield.close)
                if weakest(canaries.prove(shield, CAPTURE)) is Tier.PREVENT:
                    undo.pop_all()
                    return shield
            self.refusals.append(f"the first tier was loaded and did not hold ({flavour})")
        return None


def weakest(doors: dict[Door, Tier]) -> Tier:
    """Return the node's tier (rule 2)."""
    there = {tier for door, tier in doors.items() if door in CAPTURE} - {Tier.ABSENT}
    return next((tier for tier in Tier if tier in there), Tier.DETECT)
