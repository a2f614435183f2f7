"""Takes stock of the node's BPF programs: which could hand on content, and are not ours.

1. Their numbers are listed each time, and only what has come since is read.
2. What this process holds is ours, and is looked up only when something has come that matters.
3. `look` says whether a program or a link came or went: the kernel announces to nobody that a link
   holds a program in front of an interface, so every namespace has to be looked at.
4. Where the kernel does not tell, it is `blind`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.core.programs import ProgramSeen, reading
from agents.core.sentryevents import Finding, What
from agents.kernel.errors import KernelError
from agents.sentry.programs import link_ids, own, program_ids, seen

__all__ = ["Inventory"]


@dataclass(slots=True)
class Inventory:
    """See the module's docstring; ``standing`` is what was found at the last look."""

    standing: frozenset[Finding] = frozenset()
    blind: bool = False
    _programs: frozenset[int] = frozenset()
    _links: frozenset[int] = frozenset()
    _found: dict[int, Finding] = field(default_factory=dict)

    def look(self) -> bool:
        """Look what is loaded now; return whether anything has changed."""
        try:
            changed = self._look()
        except KernelError:
            self.blind = True
            return False
        self.blind = False
        return changed

    def _look(self) -> bool:
        programs, links = program_ids(), link_ids()
        if (programs, links) == (self._programs, self._links):
            return False
        came = [each for each in map(seen, sorted(programs - self._programs)) if each is not None]
        suspects = [(each, kind) for each in came if (kind := reading(each))]
        ours = own() if suspects else frozenset()
        self._found = {number: each for number, each in self._found.items() if number in programs}
        self._found |= {
            each.id: _loaded(each, kind) for each, kind in suspects if each.id not in ours
        }
        self._programs, self._links = programs, links
        self.standing = frozenset(self._found.values())
        return True


def _loaded(program: ProgramSeen, kind: str) -> Finding:
    where = (
        ("kind", kind),
        ("program", program.id),
        ("label", program.name),
        ("tag", program.tag),
        ("uid", program.uid),
    )
    return Finding(What.BPF_LOADED, where)
