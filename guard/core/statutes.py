"""From uses to what the statutes want: plain members that JSON can hold, one table for each.

1. `certification`: 47 CFR 1.20004(a)(1) to (6) for one interception, with or without appropriate
   authorisation. The identifiers and the overseer are put in by the overseer, who signs. Members of
   `signed_members` repeat the signed authority, so that the overseer can hold them against it.
2. `log_entry`: TKÜV section 16(1) Nr. 1 to 6 for one use. Number 5, who entered it, is left out
   unless it is asked for: it may be used only to look into misuse and faults.
3. `counts`: what a carrier may publish of a period. No reference, no node, no person. With
   `suppress`, numbers below five are told as "<5", so that nobody can be found behind them, and
   what fewer than five interceptions or authorities came to is withheld: it would tell of each.
4. Days count as begun, and only where they lie in the period: authorised is what was approved, to
   its end or revocation, active from armed to ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, Final

from guard.core.authority import Authority
from guard.core.fields import encode_base64, format_time
from guard.core.instruments import Instrument
from guard.core.interceptions import End
from guard.core.stories import AuthorityStory
from guard.core.uses import Outcome, Use, UseBook
from guard.core.window import Window

__all__ = ["CERTIFIED", "LOGGED", "certification", "counts", "log_entry", "signed_members"]

_DAY: Final = timedelta(days=1)
_FEW: Final = 5
_WITHHELD: Final = "withheld"
_NONE: Final = MappingProxyType(
    dict.fromkeys(("registered", "approved", "denied", "revoked", "expired"), 0)
)
_REGISTERING: Final = frozenset({"register_warrant", "open_ticket"})
_SIGNED: Final = (
    "legal_basis",
    "issuing_authority",
    "issuing_signer",
    "presenting_officer",
    "presenting_agency",
    "order_sha256",
    "subjects_commitment",
)

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
    return {
        "statute": "47 CFR 1.20004(a)",
        "identifiers": None,
        "started": _time(min(use.armed, default=None)),
        "overseer": None,
        "authorized": use.authorized,
        **_common(use),
        **signed_members(use.authority),
    }


def signed_members(authority: Authority | None) -> dict[str, str | None]:
    """Return what of a certification people signed, under the names that it has there."""
    made: dict[str, str | None] = {name: getattr(authority, name, None) for name in _SIGNED}
    return made | {
        "officer": _joined([made["presenting_officer"], made["presenting_agency"]]),
        "authorized_by": _joined([made["issuing_signer"], made["issuing_authority"]]),
        "type": _TYPES[authority.instrument] if authority else "without authorization",
    }


def log_entry(use: Use, *, persons: bool) -> dict[str, Any]:
    """Return one entry of the log (rule 2)."""
    made: dict[str, Any] = {
        "entry": use.index,
        "reference": use.authority.reference if use.authority else None,
        "identifier": _identifier(use),
        "times": _times(use),
        "delivered_to": list(use.authority.recipients) if use.authority else [],
        "entered_at": _time(use.registered or use.entered),
        **_common(use),
    }
    if persons:
        made |= {
            "entered_by": use.entered_by,
            "registered_by": use.authority.registrant if use.authority else None,
            "requested_by": use.requested_by,
            "approved_by": list(use.approvers),
            "started_by": use.started_by,
        }
    return made


def counts(book: UseBook, period: Window, *, suppress: bool) -> dict[str, Any]:
    """Return the numbers of a period (rule 3)."""
    uses = book.uses(period)
    stories = [each for each in book.history.authorities.values() if each.authority]
    ran = [each for each in uses if each.outcome is Outcome.RAN]
    valid = [span for each in stories if (span := _in_force(each, period))]
    active = [span for each in ran if (span := _active(each, period))]
    made: dict[str, Any] = {
        "authorities": _authorities(stories, uses, period),
        "extensions": sum(each.extends > 0 for each in _once(uses)),
        "interceptions": Counter(_instrument(each) for each in ran),
        "never_ran": sum(each.outcome is Outcome.NEVER_RAN for each in uses),
        "denied": Counter(each.reason for each in uses if each.outcome is Outcome.DENIED),
        "incidents": Counter(each.reason for each in uses if each.outcome is Outcome.INCIDENT),
        "erased": sum(each.outcome is Outcome.ERASED for each in uses),
    }
    volumes = {
        "days_authorized": (sum(map(_days, valid)), len(valid)),
        "days_active": (sum(map(_days, active)), len(active)),
        "calls": (sum(each.calls for each in ran), len(ran)),
        "packets": (sum(each.traffic.packets for each in ran if each.traffic), len(ran)),
        "bytes": (sum(each.traffic.bytes for each in ran if each.traffic), len(ran)),
    }
    return {
        "from": format_time(period.not_before),
        "to": format_time(period.not_after),
        **{name: _told(value, suppress=suppress) for name, value in made.items()},
        **{
            name: _WITHHELD if suppress and 0 < of < _FEW else _told(value, suppress=suppress)
            for name, (value, of) in volumes.items()
        },
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
        "reviews": [
            {"by": each.by, "result": each.result, "sha256": each.document} for each in use.reviews
        ],
        "amiss": [each.sentence for each in use.amiss],
        "segments_deleted": [format_time(each) for each in use.deleted],
        "subjects_commitment": authority.subjects_commitment if authority else None,
        "requested_at": format_time(use.entered),
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


def _authorities(
    stories: Iterable[AuthorityStory], uses: Iterable[Use], period: Window
) -> dict[str, dict[str, int]]:
    """Count those registered in the period, what became of them, and the denied ones."""
    found: dict[str, Counter[str]] = {}
    for each in stories:
        if each.authority and period.contains(each.registered.time):
            counter = found.setdefault(each.authority.instrument.value, Counter(_NONE))
            counter["registered"] += 1
            counter["approved"] += each.confirmed
            counter["revoked"] += each.revoked is not None
            counter["expired"] += each.expired is not None
    for use in uses:
        if use.authority and use.started_by in _REGISTERING:
            found.setdefault(use.authority.instrument.value, Counter(_NONE))["denied"] += 1
    return {name: dict(counter) for name, counter in sorted(found.items())}


def _once(uses: Sequence[Use]) -> list[Use]:
    return list({each.authority_id: each for each in uses if each.authority}.values())


def _instrument(use: Use) -> str:
    return use.authority.instrument.value if use.authority else "without authorization"


def _in_force(story: AuthorityStory, period: Window) -> timedelta | None:
    """Return for how long of the period an authority was in force (rule 4), None: not at all."""
    emergency = story.authority and story.authority.instrument is Instrument.EMERGENCY
    if story.window is None or not (story.confirmed or emergency):
        return None
    end = story.revoked.time if story.revoked else story.window.not_after
    return _within(story.window.not_before, min(end, story.window.not_after), period)


def _active(use: Use, period: Window) -> timedelta | None:
    """Return for how long of the period a capture was armed; up to its planned end while it is."""
    planned = use.planned.not_after if use.planned else use.armed[0]
    over = bool(use.ended) and use.ended[-1].time >= use.armed[-1]
    return _within(use.armed[0], use.ended[-1].time if over else planned, period)


def _within(begun: datetime, end: datetime, period: Window) -> timedelta | None:
    begun, end = max(begun, period.not_before), min(end, period.not_after)
    return end - begun if begun <= end else None


def _days(length: timedelta) -> int:
    """Count days begun; a moment is one."""
    return max(-(-length // _DAY), 1)


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
