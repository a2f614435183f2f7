"""From uses to what the statutes want: plain members that JSON can hold, one table for each.

1. `certification`: 47 CFR 1.20004(a)(1) to (6) for one interception, with or without appropriate
   authorisation. The identifiers and the overseer are put in by the overseer, who signs.
2. `log_entry`: TKÜV section 16(1) Nr. 1 to 6 for one use. Number 5, who entered it, is left out
   unless it is asked for: it may be used only to look into misuse and faults.
3. `counts`: what a carrier may publish of a period. No reference, no node, no person. With
   `suppress`, numbers below five are told as "<5", so that nobody can be found behind them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, Final

from guard.core.fields import encode_base64, format_time
from guard.core.instruments import Instrument
from guard.core.interceptions import End
from guard.core.uses import Outcome, Use, UseBook
from guard.core.window import Window

__all__ = ["CERTIFIED", "LOGGED", "certification", "counts", "log_entry"]

_DAY: Final = timedelta(days=1)
_FEW: Final = 5

CERTIFIED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "identifiers": "1. Telephone number(s) or circuit identification",
        "started": "2. Start of the interception",
        "officer": "3. Law enforcement officer presenting the authorization",
        "authorized_by": "4. Person signing the appropriate legal authorization",
        "type": "5. Type of interception",
        "overseer": "6. Carrier personnel responsible for overseeing it",
    }
)
"""The six fields of 47 CFR 1.20004(a), by member."""

LOGGED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reference": "1. Reference number or internal name",
        "identifier": "2. Identifier entered",
        "times": "3. Times between which it applied",
        "delivered_to": "4. Where the copy is delivered",
        "entered_by": "5. Mark of the person who entered it",
        "entered_at": "6. Date and time of the entry",
    }
)
"""The six fields of TKÜV section 16(1), by member."""

_TYPES: Final[Mapping[Instrument, str]] = MappingProxyType(
    {
        Instrument.INTERCEPTION_ORDER: "interception order (Title III, 18 U.S.C. 2518)",
        Instrument.PEN_REGISTER: "pen register or trap and trace (18 U.S.C. 3123)",
        Instrument.EMERGENCY: "emergency (18 U.S.C. 2518(7), 3125)",
        Instrument.TICKET: "none: carrier's own, to keep the service working",
        Instrument.TEST: "none: carrier's own test",
    }
)


def certification(use: Use) -> dict[str, Any]:
    """Return the draft of a certification (rule 1)."""
    authority = use.authority
    officer = [authority.presenting_officer, authority.presenting_agency] if authority else []
    signer = [authority.issuing_signer, authority.issuing_authority] if authority else []
    return {
        "statute": "47 CFR 1.20004(a)",
        "identifiers": None,
        "started": _time(min(use.armed, default=None)),
        "officer": _joined(officer),
        "authorized_by": _joined(signer),
        "type": _TYPES[authority.instrument] if authority else "without authorization",
        "overseer": None,
        "authorized": authority is not None and bool(use.armed),
        **_common(use),
    }


def log_entry(use: Use, *, persons: bool) -> dict[str, Any]:
    """Return one entry of the log (rule 2)."""
    made: dict[str, Any] = {
        "entry": use.index,
        "reference": use.authority.reference if use.authority else None,
        "identifier": _identifier(use),
        "times": _times(use),
        "delivered_to": list(use.authority.recipients) if use.authority else [],
        "entered_at": format_time(use.entered),
        **_common(use),
    }
    if persons:
        made |= {
            "entered_by": use.entered_by,
            "registered_by": use.authority.registrant if use.authority else None,
            "approved_by": list(use.approvers),
            "started_by": use.started_by,
        }
    return made


def counts(book: UseBook, period: Window, *, suppress: bool) -> dict[str, Any]:
    """Return the numbers of a period (rule 3)."""
    uses = book.uses(period)
    stories = [
        each
        for each in book.history.authorities.values()
        if each.authority and period.contains(each.registered.time)
    ]
    ran = [each for each in uses if each.outcome is Outcome.RAN]
    made: dict[str, Any] = {
        "authorities": _authorities(stories),
        "extensions": sum(each.extends > 0 for each in _once(uses)),
        "days_authorized": sum(_days(each.window.length) for each in stories if each.window),
        "days_active": sum(_active(each) for each in ran),
        "interceptions": Counter(_instrument(each) for each in ran),
        "calls": sum(each.calls for each in ran),
        "packets": sum(each.traffic.packets for each in ran if each.traffic),
        "bytes": sum(each.traffic.bytes for each in ran if each.traffic),
        "never_ran": sum(each.outcome is Outcome.NEVER_RAN for each in uses),
        "denied": Counter(each.reason for each in uses if each.outcome is Outcome.DENIED),
        "incidents": Counter(each.reason for each in uses if each.outcome is Outcome.INCIDENT),
    }
    return {
        "from": format_time(period.not_before),
        "to": format_time(period.not_after),
        **{name: _told(value, suppress=suppress) for name, value in made.items()},
    }


def _common(use: Use) -> dict[str, Any]:
    """Return what both tables hold besides: the rest of the union of fields."""
    authority, seen = use.authority, use.traffic
    return {
        "record": use.index,
        "outcome": use.outcome.value,
        "reason": use.reason or None,
        "test": use.test,
        "abusive_or_faulty": use.under_suspicion,
        "grant_id": use.grant_id,
        "authority_id": use.authority_id,
        "instrument": authority.instrument.value if authority else None,
        "legal_basis": authority.legal_basis if authority else None,
        "ticket_reason": authority.reason if authority else None,
        "issuing_authority": authority.issuing_authority if authority else None,
        "issuing_signer": authority.issuing_signer if authority else None,
        "presenting_officer": authority.presenting_officer if authority else None,
        "presenting_agency": authority.presenting_agency if authority else None,
        "order_sha256": authority.order_sha256 if authority else None,
        "level": use.level,
        "node": use.node,
        "equipment": use.equipment,
        "planned_from": _time(use.planned.not_before if use.planned else None),
        "planned_to": _time(use.planned.not_after if use.planned else None),
        "armed": [format_time(each) for each in use.armed],
        "ended": [{"time": format_time(each.time), "why": each.why} for each in use.ended],
        "extends": use.extends,
        "segments": seen.segments if seen else 0,
        "calls": use.calls,
        "packets": seen.packets if seen else 0,
        "bytes": seen.bytes if seen else 0,
        "drops": use.drops,
        "first_packet": _time(seen.first if seen else None),
        "last_packet": _time(seen.last if seen else None),
        "disruptions": [
            {"what": each.what, "from": format_time(each.began), "to": _time(each.ended)}
            for each in use.disruptions
        ],
        "certificates": [
            {"by": each.by, "time": format_time(each.time), "sha256": each.document}
            for each in use.certificates
        ],
        "segments_deleted": [format_time(each) for each in use.deleted],
        "subjects_commitment": authority.subjects_commitment if authority else None,
        "sealed_subjects": encode_base64(authority.sealed_subjects) if authority else None,
    }


def _identifier(use: Use) -> str | None:
    return f"sealed, SHA-256 {use.authority.subjects_commitment}" if use.authority else None


def _times(use: Use) -> list[dict[str, str | None]]:
    """Pair each beginning with the end that followed it."""
    pairs: list[dict[str, str | None]] = []
    for begun, following in zip_longest(use.armed, use.armed[1:]):
        ends = (e for e in use.ended if e.time >= begun and (not following or e.time <= following))
        end: End | None = max(ends, key=lambda each: each.time, default=None)
        pairs.append({"from": format_time(begun), "to": _time(end.time if end else None)})
    return pairs


def _authorities(stories: Iterable[Any]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for each in stories:
        counter = found.setdefault(each.authority.instrument.value, Counter())
        counter["registered"] += 1
        counter["approved"] += each.confirmed
        counter["revoked"] += each.revoked is not None
        counter["expired"] += each.expired is not None
    return {name: dict(counter) for name, counter in sorted(found.items())}


def _once(uses: Sequence[Use]) -> list[Use]:
    return list({each.authority_id: each for each in uses if each.authority}.values())


def _instrument(use: Use) -> str:
    return use.authority.instrument.value if use.authority else "without authorization"


def _active(use: Use) -> int:
    if not use.armed or not use.ended:
        return 0
    return _days(max(use.ended[-1].time - use.armed[0], timedelta(0)))


def _days(length: timedelta) -> int:
    """Count days begun."""
    return -(-length // _DAY)


def _told(value: Any, *, suppress: bool) -> Any:  # noqa: ANN401 - numbers in tables of numbers
    if isinstance(value, Mapping):
        return {name: _told(each, suppress=suppress) for name, each in sorted(value.items())}
    if suppress and isinstance(value, int) and 0 < value < _FEW:
        return f"<{_FEW}"
    return value


def _joined(parts: Iterable[str | None]) -> str | None:
    return ", ".join(each for each in parts if each) or None


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
