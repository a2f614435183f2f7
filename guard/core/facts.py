"""What a record says, read into one small type per kind.

1. A fact is read from a record's body and checked for form only. Who signed what is in it is the
   business of whoever uses it: the envelopes stand in the facts whole.
2. Of a node's receipt only the envelope is read. What the record repeats of it beside must agree:
   kind, digest, node and number; else the record is refused.
3. Kinds that nobody has to follow (readings, fetches, samples, filed documents) give no fact, and
   so does an erased record: there is nothing left in it to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from guard.core import envelope as dsse
from guard.core.fields import DIGEST, NAME, UUID, Fields, require
from guard.core.level import Level
from guard.core.receipt import Receipt, ReceiptKind, parse_receipt
from guard.core.record import Record, RecordKind

__all__ = [
    "AuthorityApproved",
    "AuthorityExpired",
    "AuthorityRegistered",
    "AuthorityRevoked",
    "Denied",
    "Fact",
    "FindingClosed",
    "FindingMade",
    "Granted",
    "PolicyChanged",
    "ReceiptTaken",
    "SegmentDeleted",
    "SegmentStored",
    "Stopped",
    "read_fact",
]

_DAY: Final = 86_400
_LONGEST_LEASE: Final = 400 * _DAY
_LARGEST: Final = 2**53 - 1
RECEIPT_RECORDS: Final[Mapping[RecordKind, ReceiptKind]] = MappingProxyType(
    {
        RecordKind.CAPTURE_ARMED: ReceiptKind.ARMED,
        RecordKind.CAPTURE_DISARMED: ReceiptKind.DISARMED,
        RecordKind.SEGMENT_SEALED: ReceiptKind.SEALED,
        RecordKind.CAPTURE_REFUSED: ReceiptKind.REFUSED,
        RecordKind.NOTHING_CAPTURED: ReceiptKind.NOTHING_CAPTURED,
        RecordKind.INCIDENT: ReceiptKind.INCIDENT,
        RecordKind.NODE_HEARTBEAT: ReceiptKind.HEARTBEAT,
    }
)
"""Which records carry a receipt, and of which kind; an incident of the guard's own carries none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Where it stands in the log, and when the guard wrote it."""

    index: int
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRegistered(Fact):
    """An authority came in, as `envelope`, whose digest is `digest`."""

    authority_id: str
    by: str
    state: str
    digest: str
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityApproved(Fact):
    """A signature was added, after which the envelope's digest is `digest`."""

    authority_id: str
    by: str
    state: str
    digest: str
    signature: dsse.Signature = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRevoked(Fact):
    """An authority was revoked."""

    authority_id: str
    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityExpired(Fact):
    """An authority's window was over."""

    authority_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted(Fact):
    """A capture was granted: [not_before, not_after), under the authority of that digest."""

    grant_id: str
    grant_digest: str
    authority_id: str
    authority_digest: str
    node: str
    level: Level
    principal: str
    started_by: str
    signers: tuple[str, ...]
    provisional: bool
    not_before: datetime
    not_after: datetime
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Fact):
    """The guard told a capture to stop, or saw that its grant was over; `by` is a person or ""."""

    grant_id: str
    authority_id: str
    node: str
    why: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTaken(Fact):
    """A node's receipt, with the envelope that the node signed and its digest."""

    receipt: Receipt
    digest: str
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored(Fact):
    """The guard has a segment; `receipt_digest` is that of the node's receipt for it."""

    grant_id: str
    number: int
    size: int
    sha256: str
    receipt_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDeleted(Fact):
    """A segment was deleted at the end of its retention."""

    grant_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied(Fact):
    """A request was denied. `about` is what else the record says of it."""

    kind: RecordKind
    method: str
    principal: str
    reason: str
    sentence: str
    about: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged(Fact):
    """A trust policy came into force on the guard; `digest` is of `envelope`."""

    version: int
    by: str
    digest: str
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingMade(Fact):
    """The guard's reconciliation found something; `key` names it."""

    key: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingClosed(Fact):
    """What was found under `key` is over."""

    key: str


def read_fact(index: int, record: Record) -> Fact | None:
    """Return what the record at `index` says, or None (rule 3). Raises Refused."""
    if record.kind in RECEIPT_RECORDS and "receipt" in record.body:
        return _receipt(index, record)
    reader = _READERS.get(record.kind)
    return None if reader is None else reader(index, record)


def _fields(record: Record) -> Fields:
    return Fields(record.body, f"the body of {record.kind}")


def _id(fields: Fields, name: str) -> str:
    return fields.text(name, pattern=UUID)


def _digest(fields: Fields, name: str) -> str:
    return fields.text(name, pattern=DIGEST)


def _receipt(index: int, record: Record) -> ReceiptTaken:
    fields = _fields(record)
    envelope = fields.binary("receipt", longest=dsse.MAX_ENVELOPE)
    parsed = parse_receipt(dsse.parse(envelope, dsse.Kind.RECEIPT).payload)
    digest = _digest(fields, "receipt_digest")
    said = (fields.text("node"), fields.integer("sequence", least=1, most=_LARGEST))
    agrees = (
        digest == dsse.digest(envelope)
        and said == (parsed.node, parsed.sequence)
        and RECEIPT_RECORDS[record.kind] is parsed.kind
    )
    require(agrees, "a record says other things than the receipt in it")  # Rule 2.
    return ReceiptTaken(
        index=index, time=record.time, receipt=parsed, digest=digest, envelope=envelope
    )


def _registered(index: int, record: Record) -> AuthorityRegistered:
    fields = _fields(record)
    return AuthorityRegistered(
        index=index,
        time=record.time,
        authority_id=_id(fields, "authority_id"),
        by=fields.text("by", pattern=NAME),
        state=fields.text("state"),
        digest=_digest(fields, "authority_digest"),
        envelope=fields.binary("envelope", longest=dsse.MAX_ENVELOPE),
    )


def _approved(index: int, record: Record) -> AuthorityApproved:
    fields = _fields(record)
    signature = dsse.Signature(keyid=_digest(fields, "keyid"), sig=fields.binary("sig", longest=64))
    return AuthorityApproved(
        index=index,
        time=record.time,
        authority_id=_id(fields, "authority_id"),
        by=fields.text("by", pattern=NAME),
        state=fields.text("state"),
        digest=_digest(fields, "authority_digest"),
        signature=signature,
    )


def _revoked(index: int, record: Record) -> AuthorityRevoked:
    fields = _fields(record)
    return AuthorityRevoked(
        index=index,
        time=record.time,
        authority_id=_id(fields, "authority_id"),
        by=fields.text("by", pattern=NAME),
        why=fields.text("why"),
    )


def _expired(index: int, record: Record) -> AuthorityExpired:
    return AuthorityExpired(
        index=index, time=record.time, authority_id=_id(_fields(record), "authority_id")
    )


def _granted(index: int, record: Record) -> Granted:
    fields = _fields(record)
    return Granted(
        index=index,
        time=record.time,
        grant_id=_id(fields, "grant_id"),
        grant_digest=_digest(fields, "grant_digest"),
        authority_id=_id(fields, "authority_id"),
        authority_digest=_digest(fields, "authority_digest"),
        node=fields.text("node", pattern=NAME),
        level=fields.choice("level", Level),
        principal=fields.text("principal", pattern=NAME),
        started_by=fields.text("started_by", pattern=NAME),
        signers=fields.text_list("signers", least=0, most=dsse.MAX_SIGNATURES),
        provisional=record.body.get("provisional") is True,
        not_before=fields.time("not_before"),
        not_after=fields.time("not_after"),
        lease=fields.seconds("lease_seconds", least=1, most=_LONGEST_LEASE),
    )


def _stopped(index: int, record: Record) -> Stopped:
    fields = _fields(record)
    return Stopped(
        index=index,
        time=record.time,
        grant_id=_id(fields, "grant_id"),
        authority_id=_id(fields, "authority_id"),
        node=fields.text("node", pattern=NAME),
        why=fields.optional_text("why") or "expired",
        by=fields.optional_text("by") or "",
    )


def _stored(index: int, record: Record) -> SegmentStored:
    fields = _fields(record)
    return SegmentStored(
        index=index,
        time=record.time,
        grant_id=_id(fields, "grant_id"),
        number=fields.integer("number", least=1, most=_LARGEST),
        size=fields.integer("size", least=1, most=_LARGEST),
        sha256=_digest(fields, "sha256"),
        receipt_digest=_digest(fields, "receipt_digest"),
    )


def _deleted(index: int, record: Record) -> SegmentDeleted:
    fields = _fields(record)
    return SegmentDeleted(
        index=index,
        time=record.time,
        grant_id=_id(fields, "grant_id"),
        number=fields.integer("number", least=1, most=_LARGEST),
    )


def _denied(index: int, record: Record) -> Denied:
    fields = _fields(record)
    return Denied(
        index=index,
        time=record.time,
        kind=record.kind,
        method=fields.text("method"),
        principal=fields.text("principal"),
        reason=fields.text("reason"),
        sentence=fields.text("sentence"),
        about=MappingProxyType(fields.rest()),
    )


def _policy(index: int, record: Record) -> PolicyChanged:
    fields = _fields(record)
    return PolicyChanged(
        index=index,
        time=record.time,
        version=fields.integer("version", least=1, most=_LARGEST),
        by=fields.text("by"),
        digest=_digest(fields, "policy_digest"),
        envelope=fields.binary("envelope", longest=dsse.MAX_ENVELOPE),
    )


def _found(index: int, record: Record) -> FindingMade:
    fields = _fields(record)
    return FindingMade(
        index=index, time=record.time, key=fields.text("key"), what=fields.text("what")
    )


def _closed(index: int, record: Record) -> FindingClosed:
    return FindingClosed(index=index, time=record.time, key=_fields(record).text("key"))


_READERS: Final[Mapping[RecordKind, Callable[[int, Record], Fact]]] = MappingProxyType(
    {
        RecordKind.AUTHORITY_REGISTERED: _registered,
        RecordKind.AUTHORITY_APPROVED: _approved,
        RecordKind.AUTHORITY_REVOKED: _revoked,
        RecordKind.AUTHORITY_EXPIRED: _expired,
        RecordKind.CAPTURE_GRANTED: _granted,
        RecordKind.CAPTURE_STOPPED: _stopped,
        RecordKind.CAPTURE_EXPIRED: _stopped,
        RecordKind.SEGMENT_STORED: _stored,
        RecordKind.SEGMENT_DELETED: _deleted,
        RecordKind.CAPTURE_DENIED: _denied,
        RecordKind.REQUEST_DENIED: _denied,
        RecordKind.TRUST_POLICY_CHANGED: _policy,
        RecordKind.FINDING: _found,
        RecordKind.FINDING_CLOSED: _closed,
    }
)
