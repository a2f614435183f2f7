"""A node's health as it states it in its heartbeat receipts.

1. The doors are named by the node, each with the enforcement that was proven there last, or
   `absent`. A node that has not tried its doors yet names none, and enforces no more than `detect`.
2. In mode `observe` the enforcement is `detect` (`guard.core.enforcement`). It is never above that
   of the strongest door.
3. The inventory of the sentry's programs is told by its digest alone: what counts is a change.
4. The challenge is the last one of the guard's with which the doors were proven, "" for none: 64
   lower-case hex digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guard.core.enforcement import ABSENT, Enforcement, SentryMode, effective
from guard.core.fields import DIGEST, Fields, require, require_match

__all__ = ["CHALLENGE", "MOST_DOORS", "NodeHealth", "health_fields", "take_health"]

CHALLENGE: Final = DIGEST
MOST_DOORS: Final = 64
_DOOR = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORDS: Final = frozenset({*Enforcement, ABSENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """One statement of health. ``programs``: the digest of the inventory, in hex."""

    mode: SentryMode
    enforcement: Enforcement
    doors: Mapping[str, str]
    programs: str
    challenge: str = ""

    def __post_init__(self) -> None:
        require(len(self.doors) <= MOST_DOORS, "the health names too many doors")
        for name, word in self.doors.items():
            require_match(name, _DOOR, "a door")
            require(word in _WORDS, "a door has an unknown enforcement")
        require_match(self.programs, DIGEST, "the inventory's digest")
        if self.challenge:
            require_match(self.challenge, CHALLENGE, "the answered challenge")
        self._require_honest()

    @property
    def proven(self) -> bool:
        """Whether the node has tried its doors (rule 1)."""
        return bool(self.doors)

    def _require_honest(self) -> None:
        """Refuse a claim that the doors beside it do not bear out (rules 1 and 2)."""
        there = (Enforcement(word) for word in self.doors.values() if word != ABSENT)
        most = effective(self.mode, max(there, default=Enforcement.DETECT))
        require(self.enforcement <= most, "the health claims more than its doors and mode allow")


def health_fields(health: NodeHealth) -> dict[str, Any]:
    """Write a health as its fields."""
    fields: dict[str, Any] = {
        "doors": dict(health.doors),
        "enforcement": health.enforcement.value,
        "mode": health.mode.value,
        "programs": health.programs,
    }
    return fields | ({"challenge": health.challenge} if health.challenge else {})


def take_health(fields: Fields) -> NodeHealth:
    """Take the fields of a health."""
    health = NodeHealth(
        mode=fields.choice("mode", SentryMode),
        enforcement=fields.choice("enforcement", Enforcement),
        doors=_take_doors(fields.child("doors")),
        programs=fields.text("programs"),
        challenge=fields.optional_text("challenge") or "",
    )
    fields.finish()
    return health


def _take_doors(fields: Fields) -> dict[str, str]:
    doors = fields.rest()
    require(all(type(word) is str for word in doors.values()), "a door's enforcement is no text")
    return doors
