"""Finds the BPF programs of a namespace that no message of the kernel tells of.

1. At every interface there may be programs of tcx, and of netkit at those of that kind; in every
   namespace a flow dissector. They are asked for, place by place.
2. A kernel that does not know a place is not asked for it again.
3. Of many interfaces `AT_ONCE` are asked about at a time, one after the other.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from agents.core.sentryevents import Finding, What
from agents.sentry.copies import Interface
from agents.sentry.programs import Attached, attached_to

__all__ = ["AT_ONCE", "LINKED", "PLACES", "Programs"]

AT_ONCE: Final = 64
PLACES: Final = {
    "tcx_ingress": 46,
    "tcx_egress": 47,
    "netkit_primary": 54,
    "netkit_peer": 55,
    "flow_dissector": 17,
}
"""The places, with the kernel's numbers for them (enum bpf_attach_type)."""
_TCX: Final = ("tcx_ingress", "tcx_egress")
_NETKIT: Final = ("netkit_primary", "netkit_peer")
LINKED: Final = frozenset(_TCX + _NETKIT)
"""Those where the kernel tells which link holds a program."""
_WHOLE: Final = 0


@dataclass(slots=True)
class Programs:
    """The programs of one namespace, by its descriptor; to be asked inside of it."""

    namespace: int
    _interfaces: Mapping[int, Interface] = field(default_factory=dict)
    _found: dict[int, frozenset[Finding]] = field(default_factory=dict)
    _unknown: set[str] = field(default_factory=set)
    _next: int = 0

    @property
    def standing(self) -> frozenset[Finding]:
        """What was found when each place was last asked for."""
        return frozenset().union(*self._found.values())

    def look_at(self, interfaces: Mapping[int, Interface]) -> None:
        """Take in which interfaces there are, and look at all of them."""
        self._interfaces = interfaces
        self._found = {each: found for each, found in self._found.items() if each in interfaces}
        for _ in range(0, len(interfaces) + 1, AT_ONCE):
            self.look()

    def look(self) -> None:
        """Ask for the next `AT_ONCE` interfaces (rule 3), and for the namespace."""
        waiting = sorted(each for each in self._interfaces if each >= self._next)
        for interface in islice(waiting, AT_ONCE):
            places = _TCX + (_NETKIT if self._interfaces[interface].kind == "netkit" else ())
            self._found[interface] = self._at(places, interface, interface)
        self._next = waiting[AT_ONCE] if len(waiting) > AT_ONCE else 0
        self._found[_WHOLE] = self._at(("flow_dissector",), self.namespace, _WHOLE)

    def _at(self, places: tuple[str, ...], target: int, interface: int) -> frozenset[Finding]:
        found: set[Finding] = set()
        for place in places:
            if place not in self._unknown:
                found |= {
                    self._finding(place, interface, each) for each in self._ask(place, target)
                }
        return frozenset(found)

    def _ask(self, place: str, target: int) -> list[Attached]:
        try:
            return attached_to(target, PLACES[place], linked=place in LINKED)
        except OSError as error:
            if error.errno == errno.EINVAL:
                self._unknown.add(place)  # Rule 2.
            return []

    def _finding(self, place: str, interface: int, program: Attached) -> Finding:
        where: tuple[tuple[str, str | int], ...] = (
            ("kind", place),
            ("program", program.program),
            ("link", program.link),
        )
        if interface:
            where = (("interface", interface), ("name", self._interfaces[interface].name), *where)
        return Finding(What.BPF_FOREIGN, where)
