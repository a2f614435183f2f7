"""Which grants hold what the kernel watches for them: an identity, or a flow at one level.

1. A thing is watched while at least one armed grant holds it, and until the latest deadline of
   those that hold it. Each grant still ends by its own deadline: the engine sees to that.
2. A grant may hold one thing for several calls; it lets go of it with the last.
3. A change is told once: `settle` names what differs from what the kernel was told before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Holdings", "Settled"]

Thing = TypeVar("Thing", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Generic[Thing]):
    """What the kernel must be told about a thing; no grants: watch it no longer."""

    thing: Thing
    deadline: int
    grants: frozenset[str]


class Holdings(Generic[Thing]):
    """Things, the grants that hold them, and for which calls."""

    def __init__(self) -> None:
        self._holders: dict[Thing, dict[str, set[str]]] = {}
        self._held: dict[str, set[Thing]] = {}
        self._told: dict[Thing, Settled[Thing]] = {}

    def hold(self, thing: Thing, grant_id: str, call: str = "") -> None:
        """Let a grant hold a thing for a call; "" stands for the grant itself."""
        self._holders.setdefault(thing, {}).setdefault(grant_id, set()).add(call)
        self._held.setdefault(grant_id, set()).add(thing)

    def let_go(self, thing: Thing, grant_id: str, call: str = "") -> None:
        """Undo one `hold` (rule 2); what was not held stays so."""
        calls = self._holders.get(thing, {}).get(grant_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                self._drop(thing, grant_id)

    def let_go_all(self, grant_id: str) -> tuple[Thing, ...]:
        """Undo everything that a grant holds, and return what it was."""
        things = tuple(self._held.get(grant_id, ()))
        for thing in things:
            self._drop(thing, grant_id)
        return things

    def held_by(self, grant_id: str) -> tuple[Thing, ...]:
        """Return what a grant holds."""
        return tuple(self._held.get(grant_id, ()))

    def settle(self, things: Iterable[Thing], deadlines: Mapping[str, int]) -> list[Settled[Thing]]:
        """Return what changed for these things; ``deadlines`` are those of the armed grants."""
        changed = []
        for thing in things:
            grants = frozenset(self._holders.get(thing, ()))
            deadline = max((deadlines[grant] for grant in grants), default=0)
            settled = Settled(thing=thing, deadline=deadline, grants=grants)
            if self._tell(settled):
                changed.append(settled)
        return changed

    def _tell(self, settled: Settled[Thing]) -> bool:
        told = self._told.get(settled.thing)
        if settled == told or (told is None and not settled.grants):
            return False
        if settled.grants:
            self._told[settled.thing] = settled
        else:
            del self._told[settled.thing]
        return True

    def _drop(self, thing: Thing, grant_id: str) -> None:
        holders = self._holders[thing]
        del holders[grant_id]
        if not holders:
            del self._holders[thing]
        self._held[grant_id].discard(thing)
        if not self._held[grant_id]:
            del self._held[grant_id]
