"""Uses of interception equipment: one entry for each, with every field that the statutes ask for.

1. A use is a grant, whether it ran or not, a request that was denied, or an incident: something
   that captured, or tried to, without a grant. Tests are uses like any other. Each is entered by
   one record, whose kind and time are public (`USE_KINDS`).
2. Where the fields come from, in the order of the union of 47 CFR 1.20004(a), TKÜV section 16(1)
   and 18 U.S.C. section 2519 that the records carry: the number is the record's index; reference,
   legal kind, statute, issuing authority and signer, presenting officer and agency, order's digest,
   limits, recipients (where it is delivered) and planned end from the authority that people signed;
   who approved from its signatures; who entered it from authority and request; begin, end and why
   from the node's receipts and the guard's stops; counts from the receipts; node and the key that
   it signs with (the equipment) from the trust policy; disruptions from the reconciliation's
   findings about that node; the overseer's certificate, the review and the deletion from their own
   records. Minutes, costs and results of an investigation are not known here, and not invented.
3. The identifier that was entered is sealed: an entry has the commitment and the sealed subjects.
   Whoever registered or approved can open them; the log cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from guard.core import envelope as dsse
from guard.core.authority import Authority, parse_authority
from guard.core.fields import Fields
from guard.core.filing import Filing, parse_filing
from guard.core.history import History
from guard.core.instruments import Instrument
from guard.core.interceptions import End, Traffic, traffic
from guard.core.merkle import leaf_hash
from guard.core.note import decode_base64
from guard.core.reasons import Refused
from guard.core.receipt import ReceiptKind
from guard.core.record import Record, RecordKind, leaf
from guard.core.stories import AuthorityStory, CaptureStory
from guard.core.trust import PinnedRoots, TrustPolicy
from guard.core.window import Window

__all__ = ["USE_KINDS", "Disruption", "Outcome", "SampleCommitment", "Use", "UseBook"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """A fault that the reconciliation found; `ended` None while it lasts."""

    what: str
    began: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCommitment:
    """A draw on record, at `index`; `opening` is the record whose leaf stands there."""

    index: int
    by: str
    period: Window
    commitment: str
    opening: Record = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use (rule 1). What there is not, such as the authority of an incident, is None."""

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
    planned: Window | None = None
    armed: tuple[datetime, ...] = ()
    ended: tuple[End, ...] = ()
    traffic: Traffic | None = None
    calls: int = 0
    drops: int = 0
    extends: int = 0
    disruptions: tuple[Disruption, ...] = ()
    certificates: tuple[Filing, ...] = ()
    deleted: tuple[datetime, ...] = ()

    @property
    def under_suspicion(self) -> bool:
        """Whether it is to be examined whatever the sample: refused, abusive, or no use at all."""
        return self.outcome in {Outcome.DENIED, Outcome.INCIDENT}


@dataclass(frozen=True, slots=True)
class _Entered:
    index: int
    record: Record
    leaf: bytes


class UseBook:
    """Takes in every record in order; ``uses`` are those of the records so far."""

    def __init__(self, roots: PinnedRoots) -> None:
        self.history = History(roots)
        self.samples: list[SampleCommitment] = []
        self.reviews: list[Filing] = []
        self._entered: list[_Entered] = []
        self._certificates: list[Filing] = []
        self._deleted: dict[str, list[datetime]] = {}
        self._faults: dict[str, tuple[str, str, datetime, datetime | None]] = {}

    @property
    def policy(self) -> TrustPolicy | None:
        """The trust policy in force after the last record; None before the first."""
        return self.history.policy

    def apply(self, index: int, record: Record) -> None:
        """Take in a record. What cannot be read is a discrepancy of the history."""
        self.history.apply(index, record)
        if record.kind in USE_KINDS:
            self._entered.append(_Entered(index, record, leaf_hash(leaf(record))))
        try:
            self._note(index, record)
        except Refused:
            return

    def erased(self, index: int, kind: str, time: datetime) -> None:
        """Take note that a record is erased."""
        self.history.erased(index, kind, time)

    def uses(self, period: Window) -> list[Use]:
        """Return the uses that were entered in the period, in the order of the log."""
        return [self._use(each) for each in self._entered if period.contains(each.record.time)]

    def find(self, identifier: str) -> list[Use]:
        """Return the uses of a grant or of an authority."""
        named = (each for each in self._entered if _names(each.record, identifier))
        return [self._use(each) for each in named]

    # -- what records say ----------------------------------------------------------------------

    def _note(self, index: int, record: Record) -> None:
        fields = Fields(record.body, f"the body of {record.kind}")
        match record.kind:
            case RecordKind.SEGMENT_DELETED:
                self._deleted.setdefault(fields.text("grant_id"), []).append(record.time)
            case RecordKind.CERTIFICATE_FILED:
                self._certificates.append(_filing(fields))
            case RecordKind.REVIEW_FILED:
                self.reviews.append(_filing(fields))
            case RecordKind.SAMPLE_COMMITTED:
                self.samples.append(_sample(index, record, fields))
            case RecordKind.FINDING:
                key, what = fields.text("key"), fields.text("what")
                node = fields.optional_text("node") or ""
                self._faults[key] = (node, what, fields.optional_time("since") or record.time, None)
            case RecordKind.FINDING_CLOSED:
                key = fields.text("key")
                if key in self._faults:
                    self._faults[key] = (*self._faults[key][:3], record.time)
            case _:
                pass

    # -- uses ----------------------------------------------------------------------------------

    def _use(self, entered: _Entered) -> Use:
        record = entered.record
        if record.kind is RecordKind.CAPTURE_GRANTED:
            capture = self.history.captures.get(str(record.body.get("grant_id")))
            if capture is not None and capture.granted is not None:
                return self._granted(entered, capture)
        return self._other(entered)

    def _granted(self, entered: _Entered, capture: CaptureStory) -> Use:
        granted, story = capture.granted, capture.authority
        assert granted is not None  # noqa: S101 - the one caller has looked
        authority = story.authority if story else None
        armed = tuple(e.said for e in capture.statements if e.kind is ReceiptKind.ARMED)
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
            entered_by=granted.principal,
            started_by=granted.started_by,
            approvers=tuple(each.name for each in capture.signers[1:]),
            planned=Window(not_before=granted.not_before, not_after=granted.not_after),
            armed=armed,
            ended=_ends(capture),
            traffic=traffic(capture.statements),
            calls=_counted(capture, "calls"),
            drops=_counted(capture, "drops"),
            extends=self._earlier(story),
            disruptions=self._disruptions(granted.node, granted.time, granted.not_after),
            certificates=tuple(
                each for each in self._certificates if each.grant_id == granted.grant_id
            ),
            deleted=tuple(self._deleted.get(granted.grant_id, ())),
        )

    def _other(self, entered: _Entered) -> Use:
        record, body = entered.record, entered.record.body
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
            started_by=_text(body, "method"),
        )

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

    def _disruptions(self, node: str, begun: datetime, end: datetime) -> tuple[Disruption, ...]:
        return tuple(
            Disruption(what=what, began=since, ended=ended)
            for name, what, since, ended in self._faults.values()
            if name == node and since < end and (ended is None or ended >= begun)
        )


def _names(record: Record, identifier: str) -> bool:
    body = record.body
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


def _filing(fields: Fields) -> Filing:
    envelope = decode_base64(fields.document("document", longest=dsse.MAX_ENVELOPE))
    return parse_filing(dsse.parse(envelope, dsse.Kind.FILING).payload)


def _sample(index: int, record: Record, fields: Fields) -> SampleCommitment:
    return SampleCommitment(
        index=index,
        by=fields.text("by"),
        period=Window(not_before=fields.time("start"), not_after=fields.time("end")),
        commitment=fields.text("commitment"),
        opening=record,
    )


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
