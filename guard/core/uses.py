"""Uses of interception equipment: one entry for each, with every field that the statutes ask for.

1. A use is a grant, whether it ran or not, a request that was denied, or an incident: something
   that captured, or tried to, without a grant. Tests are uses like any other. Each is entered by
   one record, whose kind and time are public (`USE_KINDS`). One whose record is erased is still a
   use, of which nothing more can be said: there are no gaps.
2. Where the fields come from, in the order of the union of 47 CFR 1.20004(a), TKÜV section 16(1)
   and 18 U.S.C. section 2519 that the records carry: the number is the record's index; reference,
   legal kind, statute, issuing authority and signer, presenting officer and agency, order's digest,
   limits, recipients (where it is delivered) and planned end from the authority that people signed;
   who approved from its signatures; who entered it from authority and request; begin, end and why
   from the node's receipts and the guard's stops; counts from the receipts; node and the key that
   it signs with (the equipment) from the trust policy; disruptions from the reconciliation's
   findings about the grant, and those about its node and no grant; the overseer's certificate, the
   review and the deletion from their own records. Minutes, costs and results of an investigation
   are not known here, and not invented.
   The statutes' entry is that of the data into the equipment: who registered an authority entered
   reference, identifier, times and recipients, when it was registered. Who asked for a capture
   under it, and when, stands beside.
3. The identifier that was entered is sealed: an entry has the commitment and the sealed subjects.
   Whoever registered or approved can open them; the log cannot.
4. A grant is authorised when the signatures that the log holds meet the rule of its instrument and
   nothing is wrong with it by `guard.core.stories`. The guard's word for it counts for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from guard.core import envelope as dsse
from guard.core.answers import Discrepancy, in_order
from guard.core.authority import Authority, parse_authority
from guard.core.bounds import misplaced
from guard.core.fields import parse_time
from guard.core.filed import Disruption, Filed
from guard.core.filing import Filing
from guard.core.history import History
from guard.core.instruments import Instrument
from guard.core.interceptions import End, Traffic, traffic
from guard.core.merkle import leaf_hash
from guard.core.note import decode_base64
from guard.core.reasons import Refused
from guard.core.receipt import ReceiptKind
from guard.core.record import Entry, Record, RecordKind, entry_of
from guard.core.stories import AuthorityStory, CaptureStory
from guard.core.trust import PinnedRoots, TrustPolicy
from guard.core.window import Window

__all__ = ["USE_KINDS", "Outcome", "Use", "UseBook"]

USE_KINDS: Final = frozenset(
    {
        RecordKind.CAPTURE_GRANTED,
        RecordKind.CAPTURE_DENIED,
        RecordKind.REQUEST_DENIED,
        RecordKind.INCIDENT,
    }
)


class Outcome(StrEnum):
    """What came of a use."""

    RAN = "ran"
    NEVER_RAN = "never_ran"
    DENIED = "denied"
    INCIDENT = "incident"
    ERASED = "erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use (rule 1). What there is not, such as the authority of an incident, is None.

    ``refused``: its node refused the grant; ``amiss`` is what an audit finds wrong with it.
    """

    index: int
    entered: datetime
    leaf: bytes
    outcome: Outcome
    reason: str
    test: bool
    grant_id: str | None = None
    authority_id: str | None = None
    authority: Authority | None = None
    node: str | None = None
    equipment: str | None = None
    level: str | None = None
    entered_by: str | None = None
    started_by: str | None = None
    approvers: tuple[str, ...] = ()
    registered: datetime | None = None
    requested_by: str | None = None
    authorized: bool = False
    refused: bool = False
    planned: Window | None = None
    armed: tuple[datetime, ...] = ()
    ended: tuple[End, ...] = ()
    traffic: Traffic | None = None
    calls: int = 0
    drops: int = 0
    extends: int = 0
    disruptions: tuple[Disruption, ...] = ()
    certificates: tuple[Filing, ...] = ()
    reviews: tuple[Filing, ...] = ()
    amiss: tuple[Discrepancy, ...] = ()
    deleted: tuple[datetime, ...] = ()

    @property
    def under_suspicion(self) -> bool:
        """Whether it is to be examined whatever the sample: refused, abusive, or found wrong."""
        denied = self.outcome in {Outcome.DENIED, Outcome.INCIDENT} or self.refused
        return denied or bool(self.amiss)


@dataclass(frozen=True, slots=True)
class _Entered:
    """The record of a use, None when it is erased."""

    index: int
    time: datetime
    leaf: bytes
    record: Record | None


class UseBook:
    """Takes in every record in order; ``uses`` are those of the records so far."""

    def __init__(self, roots: PinnedRoots) -> None:
        self.history = History(roots)
        self.filed = Filed()
        self._entered: list[_Entered] = []

    @property
    def policy(self) -> TrustPolicy | None:
        """The trust policy in force after the last record; None before the first."""
        return self.history.policy

    def apply(self, index: int, record: Record) -> None:
        """Take in a record."""
        self.take(index, entry_of(record))

    def take(self, index: int, entry: Entry) -> None:
        """Take in an entry, erased or not; raises Refused for one that is not what it must be.

        A record whose body cannot be read is a discrepancy of the history.
        """
        self.history.take(index, entry)
        record = None if entry.erased else entry.record()
        if entry.kind in USE_KINDS:
            hashed = leaf_hash(entry.leaf())
            self._entered.append(_Entered(index, parse_time(entry.time), hashed, record))
        if record is not None:
            with suppress(Refused):
                self.filed.note(index, record, self.policy)

    def uses(self, period: Window) -> list[Use]:
        """Return the uses that were entered in the period, in the order of the log."""
        return [self._use(each) for each in self._entered if period.contains(each.time)]

    def find(self, identifier: str | int) -> list[Use]:
        """Return the uses of a grant or of an authority, or the one that a record entered."""
        return [self._use(each) for each in self._entered if _names(each, identifier)]

    def _use(self, entered: _Entered) -> Use:
        record = entered.record
        if record is None:
            return Use(
                index=entered.index,
                entered=entered.time,
                leaf=entered.leaf,
                outcome=Outcome.ERASED,
                reason="",
                test=False,
                reviews=self.filed.reviews(entered.time),
            )
        if record.kind is RecordKind.CAPTURE_GRANTED:
            capture = self.history.captures.get(str(record.body.get("grant_id")))
            if capture is not None and capture.granted is not None:
                return self._granted(entered, capture)
        return self._other(entered, record)

    def _granted(self, entered: _Entered, capture: CaptureStory) -> Use:
        granted, story = capture.granted, capture.authority
        assert granted is not None  # noqa: S101 - the one caller has looked
        authority = story.authority if story else None
        armed = tuple(e.said for e in capture.statements if e.kind is ReceiptKind.ARMED)
        amiss = self._amiss(capture)
        return Use(
            index=entered.index,
            entered=granted.time,
            leaf=entered.leaf,
            outcome=Outcome.RAN if armed else Outcome.NEVER_RAN,
            reason="" if armed else _never(capture),
            test=authority is not None and authority.instrument is Instrument.TEST,
            grant_id=granted.grant_id,
            authority_id=granted.authority_id,
            authority=authority,
            node=granted.node,
            equipment=self._equipment(granted.node),
            level=granted.level.value,
            entered_by=authority.registrant if authority else None,
            registered=story.registered.time if story else None,
            requested_by=granted.principal,
            authorized=capture.approved is not None and not (capture.found or _flaws(capture)),
            refused=any(e.kind is ReceiptKind.REFUSED for e in capture.statements),
            started_by=granted.started_by,
            approvers=tuple(each.name for each in capture.signers[1:]),
            planned=Window(not_before=granted.not_before, not_after=granted.not_after),
            armed=armed,
            ended=_ends(capture),
            traffic=traffic(capture.statements),
            calls=_counted(capture, "calls"),
            drops=_counted(capture, "drops"),
            extends=self._earlier(story),
            disruptions=tuple(
                self.filed.disruptions(
                    granted.node, granted.grant_id, granted.time, granted.not_after
                )
            ),
            certificates=self.filed.certificates(grant_id=granted.grant_id, index=entered.index),
            reviews=self.filed.reviews(granted.time),
            amiss=amiss,
            deleted=tuple(self.filed.deleted.get(granted.grant_id, ())),
        )

    def _other(self, entered: _Entered, record: Record) -> Use:
        body = record.body
        incident = record.kind is RecordKind.INCIDENT
        story = self.history.authorities.get(str(body.get("authority_id")))
        authority = story.authority if story else _offered(body)
        details = body.get("details") if isinstance(body.get("details"), dict) else {}
        what = body.get("what") or (details or {}).get("what") or body.get("reason") or ""
        return Use(
            index=entered.index,
            entered=record.time,
            leaf=entered.leaf,
            outcome=Outcome.INCIDENT if incident else Outcome.DENIED,
            reason=str(what),
            test=authority is not None and authority.instrument is Instrument.TEST,
            grant_id=_text(body, "grant_id"),
            authority_id=_text(body, "authority_id"),
            authority=authority,
            node=_text(body, "node"),
            equipment=self._equipment(_text(body, "node")),
            level=_text(body, "level"),
            entered_by=_text(body, "principal"),
            registered=record.time,
            started_by=_text(body, "method"),
            certificates=self.filed.certificates(grant_id=None, index=entered.index),
            reviews=self.filed.reviews(record.time),
        )

    def _amiss(self, capture: CaptureStory) -> tuple[Discrepancy, ...]:
        """Return all that is wrong with a capture, its authority and its receipts (rule 4)."""
        bounds = misplaced(capture, self.history.nodes.values(), self.history.erasures)
        return in_order([*capture.found, *_flaws(capture), *bounds])

    def _equipment(self, node: str | None) -> str | None:
        """Return the id of the key that the node signs with: its equipment's mark."""
        policy = self.history.policy
        found = policy.node(node) if policy and node else None
        return found.key.keyid if found else None

    def _earlier(self, story: AuthorityStory | None) -> int:
        """Count the authorities of the same reference before this one: it extends them."""
        if story is None or story.authority is None:
            return 0
        reference = story.authority.reference
        return sum(
            each.registered.index < story.registered.index
            and each.authority is not None
            and each.authority.reference == reference
            for each in self.history.authorities.values()
        )


def _flaws(capture: CaptureStory) -> list[Discrepancy]:
    return capture.authority.flaws if capture.authority else []


def _names(entered: _Entered, identifier: str | int) -> bool:
    if isinstance(identifier, int) or entered.record is None:
        return entered.index == identifier
    body = entered.record.body
    return identifier in {body.get("grant_id"), body.get("authority_id")}


def _text(body: Any, name: str) -> str | None:  # noqa: ANN401 - a record's body
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _offered(body: Any) -> Authority | None:  # noqa: ANN401 - a record's body
    """Return the authority that was offered and denied, if it can be read."""
    try:
        envelope = decode_base64(str(body.get("envelope", "")))
        return parse_authority(dsse.parse(envelope, dsse.Kind.AUTHORITY).payload)
    except Refused:
        return None


def _never(capture: CaptureStory) -> str:
    """Say why a grant never ran."""
    for each in capture.statements:
        if each.kind in {ReceiptKind.REFUSED, ReceiptKind.DISARMED}:
            return str(each.details["reason"])
    return capture.stops[-1].why if capture.stops else "not armed"


def _ends(capture: CaptureStory) -> tuple[End, ...]:
    said = [
        End(time=each.said, why=str(each.details["reason"]), by=each.node)
        for each in capture.statements
        if each.kind is ReceiptKind.DISARMED
    ]
    told = [End(time=each.time, why=each.why, by=each.by or "guard") for each in capture.stops]
    return tuple(sorted([*told, *said], key=lambda each: each.time))


def _counted(capture: CaptureStory, name: str) -> int:
    return sum(
        int(each.details.get(name, 0))
        for each in capture.statements
        if each.kind is ReceiptKind.DISARMED
    )
