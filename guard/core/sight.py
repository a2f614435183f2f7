"""Who sees what of an authority (TKÜV section 16(2); 3GPP TS 33.126, undetectability).

1. Legal, approvers and auditors see every authority and who signed it.
2. Whoever is an operator alone implements captures. Such a person sees no warrant at all, and of
   the tickets and tests that others opened not who entered and approved them: neither the names
   nor the signed document, which holds them.
"""

from __future__ import annotations

from enum import Enum, auto

from guard.core.authority import Authority
from guard.core.identities import Principal
from guard.core.instruments import Role

__all__ = ["Sight", "sees_all", "sight"]

_SEE_ALL = frozenset({Role.LEGAL, Role.APPROVER, Role.AUDITOR})


class Sight(Enum):
    """How much of an authority somebody sees."""

    NOTHING = auto()
    WITHOUT_PERSONS = auto()
    ALL = auto()


def sees_all(viewer: Principal) -> bool:
    """Say whether this person sees every authority (rule 1)."""
    return bool(viewer.roles & _SEE_ALL)


def sight(authority: Authority, viewer: Principal) -> Sight:
    """Return how much of an authority this person sees."""
    if sees_all(viewer):
        return Sight.ALL
    if authority.is_warrant or Role.OPERATOR not in viewer.roles:
        return Sight.NOTHING
    return Sight.ALL if authority.registrant == viewer.name else Sight.WITHOUT_PERSONS
