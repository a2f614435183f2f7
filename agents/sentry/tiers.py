"""Which tier holds at each door of this kernel, by proof: nothing is believed to work.

1. The first tier (shield.py) is loaded in one flavour after the other; the one is kept whose
   canaries find every door of capture closed (canaries.py). Else the second tier (rogue.py) is
   loaded, where the kernel takes it. The third, finding by the sweep, is there in any case and
   needs no proof here.
2. The node's tier is the weakest of the doors of capture that this kernel has. The other doors are
   told one by one.
3. What holds may be proven again at any time.
4. Where there is a folder for pins, what enforces is pinned, and what observes is not. What a
   former agent left pinned goes on beside the new programs until the mode is set for the first
   time, and is then taken away, after the new ones are pinned. Until then it lets the canaries
   pass, and whomever the new programs let pass.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.kernel.errors import KernelError
from agents.sentry.canaries import CAPTURE, Canaries, Door, Tier
from agents.sentry.pins import Adopted, Pins
from agents.sentry.rogue import Entrance, Rogue, Scope
from agents.sentry.shield import Flavour, Shield

__all__ = ["CAPTURE", "Door", "Tier", "Tiers", "weakest"]

_WAITING: Final = 4096
_FAR: Final = 1 << 62
_PROOF_NS: Final = 120_000_000_000
"""Boot-clock nanoseconds for which a former agent's programs let canaries pass."""


@dataclass(slots=True)
class Tiers:
    """The best tier that this kernel lets be proven; ``close`` it. One user at a time.

    ``within`` is the number of the cgroup where it counts, None for everywhere; with ``enforce``
    it denies or kills there, else it reports. ``folder`` is for pins, in the BPF file system; None:
    nothing is pinned. ``entrance`` is the tier that was kept. ``refusals``
    says why better ones were not, ``refusal`` why there is none at all, "" if there is; and
    ``unpinned`` why what enforces is not pinned, "" if it is, or shall not be.
    """

    within: int | None = None
    enforce: bool = False
    folder: Path | None = None
    refusal: str = ""
    unpinned: str = ""
    refusals: list[str] = field(default_factory=list)
    entrance: Entrance | None = None
    _canaries: Canaries | None = None
    _pins: Pins | None = None
    _former: list[Adopted] = field(default_factory=list)
    _waiting: deque[Rogue] = field(default_factory=lambda: deque(maxlen=_WAITING))

    def __post_init__(self) -> None:
        with ExitStack() as undo:
            try:
                canaries = Canaries()
                undo.callback(canaries.close)
                number = canaries.cgroup.number
                self._adopt(number)
                scope = Scope(canary=number, within=self.within, enforce=self.enforce)
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
        self._let_canaries_pass()
        pins = self._pins.generation if self._pins is not None else None
        proven = self._canaries.prove(self.entrance, pins=pins)
        if self._pins is not None:
            self._pins.mend(self.entrance)
        self._waiting.extend(self._canaries.others)
        self._canaries.others.clear()
        return proven

    def set_enforce(self, enforce: bool) -> None:  # noqa: FBT001  # one switch, named by it
        """Change the mode; canaries are stopped in either. Raises KernelError."""
        self.enforce = enforce
        if self.entrance is None:
            return
        self.entrance.set_enforce(enforce)
        if self._pins is not None:
            self._pin(self._pins, self.entrance)

    def allow(self, cgroup_id: int, until_ns: int) -> None:
        """Let a cgroup's processes do what they like until then, while the stamp is fresh."""
        for each in (self.entrance, *self._former):
            if each is not None:
                each.allow(cgroup_id, until_ns)

    def disallow(self, cgroup_id: int) -> None:
        """Take that back."""
        if self.entrance is not None:
            self.entrance.disallow(cgroup_id)
        for each in self._former:
            each.allow(cgroup_id, 0)

    def beat(self, now_ns: int) -> None:
        """Say that the agent lives."""
        for each in (self.entrance, *self._former):
            if each is not None:
                each.beat(now_ns)

    @property
    def filenos(self) -> tuple[int, ...]:
        """The descriptors that are readable when something was tried."""
        ours = () if self.entrance is None else (self.entrance.fileno(),)
        return (*ours, *(each for former in self._former for each in former.filenos))

    def reports(self) -> list[Rogue]:
        """Return what was tried since the last time, the canaries' own attempts left out."""
        sources = [*self._former, *([self.entrance] if self.entrance else ())]
        taken = [*self._waiting, *(report for each in sources for report in each.reports())]
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Unload it, but for what is pinned, and remove the canaries' cgroup."""
        for former in self._former:
            former.close()
        self._former.clear()
        if self.entrance is not None:
            if self._pins is not None and self._pins.generation is not None:
                self.entrance.beat(0)  # the next agent need not wait
            self.entrance.close()
            self.entrance = None
        if self._canaries is not None:
            self._canaries.close()
            self._canaries = None

    def _adopt(self, canaries: int) -> None:
        """Rule 4."""
        if self.folder is None:
            return
        self._pins = Pins(self.folder)
        self._former = self._pins.adopt()
        for each in self._former:
            each.allow(canaries, _FAR)
            self._waiting.extend(each.reports())
        self._let_canaries_pass()

    def _let_canaries_pass(self) -> None:
        """Have the stamp that former agents' programs see outlast a proof."""
        for each in self._former:
            each.beat(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + _PROOF_NS)

    def _pin(self, pins: Pins, entrance: Entrance) -> None:
        """Rule 4. Without new pins the old ones stay."""
        self.unpinned = ""
        try:
            if self.enforce:
                self._keep(pins, entrance)
            else:
                self._unpin(pins, entrance)
            while self._former:
                self._former.pop().remove()
        except (KernelError, OSError) as error:
            self.unpinned = str(error)

    def _keep(self, pins: Pins, entrance: Entrance) -> None:
        if pins.generation is None:
            pins.keep(entrance)
            if isinstance(entrance, Shield):
                entrance.pin(pins.guarded())

    def _unpin(self, pins: Pins, entrance: Entrance) -> None:
        guarded = pins.guarded()
        pins.remove()
        if isinstance(entrance, Shield):
            entrance.unpin(guarded)

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
