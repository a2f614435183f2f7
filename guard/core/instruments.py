"""The legal kinds of an authority and what each may at most.

1. ``CEILINGS`` is in the code. A trust policy may be stricter and never looser, so that not even
   the root holders can make a ticket yield content or let one person start a capture alone.
2. Nobody starts anything alone: every instrument needs a second person's signature, except
   ``emergency``, which ends by itself after 48 hours unless a second person signs
   (18 U.S.C. section 2518(7), section 3125).
3. Longest windows: ``interception_order`` 30 days (18 U.S.C. section 2518(5); the German three
   months of StPO section 100e(1) are entered as successive authorities, each signed anew),
   ``pen_register`` 60 days (18 U.S.C. section 3123(c)(1)), ``emergency`` 7 days, time enough for
   the court's order to arrive and be registered as its own. ``ticket`` 24 hours and ``test``
   8 hours are ours: nobody troubleshoots or tests unattended.
4. ``subpoena`` and ``search_warrant`` are known, and refused: they cover stored data
   (18 U.S.C. section 2703), not interception.
5. A lease is at most 60 seconds: so long may a capture outlive the guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from guard.core.fields import require
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.subjects import SubjectKind


class Role(StrEnum):
    """What a principal may do."""

    LEGAL = "legal"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"


class Instrument(StrEnum):
    """The legal kind of an authority (LegalType in ETSI TS 103 120)."""

    INTERCEPTION_ORDER = "interception_order"
    PEN_REGISTER = "pen_register"
    EMERGENCY = "emergency"
    TICKET = "ticket"
    TEST = "test"
    SUBPOENA = "subpoena"
    SEARCH_WARRANT = "search_warrant"


STORED_DATA: Final = frozenset({Instrument.SUBPOENA, Instrument.SEARCH_WARRANT})
WARRANTS: Final = frozenset(
    {Instrument.INTERCEPTION_ORDER, Instrument.PEN_REGISTER, Instrument.EMERGENCY}
)
EMERGENCY_UNSIGNED: Final = timedelta(hours=48)
LONGEST_LEASE: Final = timedelta(seconds=60)
DEFAULT_LEASE: Final = timedelta(seconds=30)
MOST_APPROVALS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentRule:
    """What one instrument may, and who must sign.

    ``approvals`` counts people besides the registrant; ``longest`` is the longest window,
    ``lease`` how long a grant runs without hearing from the guard.
    """

    levels: frozenset[Level]
    registrant: Role
    approver: Role
    approvals: int
    longest: timedelta
    lease: timedelta


_WARRANT = InstrumentRule(
    levels=frozenset(Level),
    registrant=Role.LEGAL,
    approver=Role.LEGAL,
    approvals=1,
    longest=timedelta(days=30),
    lease=LONGEST_LEASE,
)
_TICKET = InstrumentRule(
    levels=frozenset({Level.SIGNALLING, Level.MEDIA_HEADERS}),
    registrant=Role.OPERATOR,
    approver=Role.APPROVER,
    approvals=1,
    longest=timedelta(hours=24),
    lease=LONGEST_LEASE,
)

CEILINGS: Final[Mapping[Instrument, InstrumentRule]] = MappingProxyType(
    {
        Instrument.INTERCEPTION_ORDER: _WARRANT,
        Instrument.PEN_REGISTER: replace(
            _WARRANT, levels=frozenset({Level.SIGNALLING}), longest=timedelta(days=60)
        ),
        Instrument.EMERGENCY: replace(_WARRANT, approvals=0, longest=timedelta(days=7)),
        Instrument.TICKET: _TICKET,
        Instrument.TEST: replace(_TICKET, levels=frozenset(Level), longest=timedelta(hours=8)),
    }
)

DEFAULTS: Final[Mapping[Instrument, InstrumentRule]] = MappingProxyType(
    {instrument: replace(rule, lease=DEFAULT_LEASE) for instrument, rule in CEILINGS.items()}
)
"""The rules a new deployment starts with: the ceilings, with leases of 30 seconds."""


def parse_instrument(text: str) -> Instrument:
    """Read an instrument: INSTRUMENT_UNKNOWN, or STORED_DATA_ONLY for those of (4)."""
    try:
        instrument = Instrument(text)
    except ValueError as error:
        raise Refused(Reason.INSTRUMENT_UNKNOWN, "there is no such instrument") from error
    return require_interception(instrument)


def require_interception(instrument: Instrument) -> Instrument:
    """Return the instrument unless it covers only stored data (4)."""
    if instrument in STORED_DATA:
        raise Refused(
            Reason.STORED_DATA_ONLY, f"a {instrument} covers stored data, not interception"
        )
    return instrument


def require_within_ceiling(instrument: Instrument, rule: InstrumentRule) -> None:
    """Refuse (DOCUMENT_MALFORMED) a rule that is looser than its ceiling (1)."""
    ceiling = CEILINGS[require_interception(instrument)]
    what = f"the rule of {instrument}"
    require(bool(rule.levels) and rule.levels <= ceiling.levels, f"{what} has too high a level")
    require(
        (rule.registrant, rule.approver) == (ceiling.registrant, ceiling.approver),
        f"{what} lets other roles sign",
    )
    require(
        ceiling.approvals <= rule.approvals <= MOST_APPROVALS,
        f"{what} asks for too few or too many approvals",
    )
    require(timedelta(0) < rule.longest <= ceiling.longest, f"{what} has too long a window")
    require(timedelta(seconds=1) <= rule.lease <= ceiling.lease, f"{what} has too long a lease")


def requester(instrument: Instrument) -> Role:
    """Return the role that may request captures under the instrument."""
    return CEILINGS[require_interception(instrument)].registrant


def selectable(instrument: Instrument) -> frozenset[SubjectKind]:
    """Return the kinds of subject that the instrument may name."""
    kinds = frozenset(SubjectKind)
    # A peer address is everybody behind it: good for finding a fault, too wide for a warrant.
    return kinds if instrument is Instrument.TICKET else kinds - {SubjectKind.PEER_ADDRESS}
