"""What the log holds about uses besides the captures: samples, certificates, reviews, faults.

1. A filing counts when a key that the trust policy in force gives the person whom it names has
   signed it, and nobody else. Any other is none, whatever the guard put on record.
2. A fault is a finding of the guard's reconciliation about a node; it lasts until it is closed. One
   about a grant disrupts that grant alone; any other, all that the node ran meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from guard.core import envelope as dsse
from guard.core.fields import Fields, require
from guard.core.filing import Filing, FilingKind, parse_filing
from guard.core.note import decode_base64
from guard.core.policy import TrustPolicy
from guard.core.record import Record, RecordKind
from guard.core.window import Window

__all__ = ["Disruption", "Filed", "SampleCommitment"]

_KINDS = {
    RecordKind.CERTIFICATE_FILED: FilingKind.CERTIFICATE,
    RecordKind.REVIEW_FILED: FilingKind.REVIEW,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """A fault of a node; `ended` None while it lasts (rule 2)."""

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


@dataclass(frozen=True, slots=True)
class _Fault:
    node: str
    grant_id: str | None
    what: str
    began: datetime
    ended: datetime | None = None


class Filed:
    """Takes note of such records, in order. ``deleted``: when segments of a grant were."""

    def __init__(self) -> None:
        self.samples: list[SampleCommitment] = []
        self.deleted: dict[str, list[datetime]] = {}
        self._filings: list[Filing] = []
        self._faults: dict[str, _Fault] = {}

    def note(self, index: int, record: Record, policy: TrustPolicy | None) -> None:
        """Take note of a record, under the trust policy in force; raises Refused."""
        fields = Fields(record.body, f"the body of {record.kind}")
        match record.kind:
            case RecordKind.SEGMENT_DELETED:
                self.deleted.setdefault(fields.text("grant_id"), []).append(record.time)
            case RecordKind.CERTIFICATE_FILED | RecordKind.REVIEW_FILED:
                self._filings.append(_filing(record.kind, fields, policy))
            case RecordKind.SAMPLE_COMMITTED:
                self.samples.append(_sample(index, record, fields))
            case RecordKind.FINDING:
                key, what = fields.text("key"), fields.text("what")
                began = fields.optional_time("since") or record.time
                node, grant_id = fields.optional_text("node"), fields.optional_text("grant_id")
                self._faults[key] = _Fault(node or "", grant_id, what, began)
            case RecordKind.FINDING_CLOSED:
                if fault := self._faults.get(key := fields.text("key")):
                    self._faults[key] = replace(fault, ended=record.time)
            case _:
                pass

    def certificates(self, *, grant_id: str | None, index: int) -> tuple[Filing, ...]:
        """Return the certificates of a grant, or of the use that a record entered."""
        return tuple(
            each
            for each in self._filings
            if each.kind is FilingKind.CERTIFICATE
            and (each.record == index or (grant_id is not None and each.grant_id == grant_id))
        )

    def reviews(self, entered: datetime) -> tuple[Filing, ...]:
        """Return the reviews of periods that a moment belongs to."""
        return tuple(e for e in self._filings if e.period and e.period.contains(entered))

    def disruptions(
        self, node: str, grant_id: str, begun: datetime, end: datetime
    ) -> Iterator[Disruption]:
        """Yield the faults that touch a grant on a node in its time (rule 2)."""
        for each in self._faults.values():
            about = each.node == node and each.grant_id in {None, grant_id}
            lasts = each.ended is None or each.ended >= begun
            if about and each.began < end and lasts:
                yield Disruption(what=each.what, began=each.began, ended=each.ended)


def _filing(kind: RecordKind, fields: Fields, policy: TrustPolicy | None) -> Filing:
    """Read a filing that counts (rule 1)."""
    document = decode_base64(fields.document("document", longest=dsse.MAX_ENVELOPE))
    parsed = dsse.parse(document, dsse.Kind.FILING)
    filing = parse_filing(parsed.payload)
    person = policy.principal(filing.by) if policy else None
    keys = {each.key.keyid: each.key for each in person.signing_keys} if person else {}
    signed = bool(dsse.verified_keyids(parsed, keys))
    require(signed and filing.kind is _KINDS[kind], "a filing is not its person's")
    return filing


def _sample(index: int, record: Record, fields: Fields) -> SampleCommitment:
    return SampleCommitment(
        index=index,
        by=fields.text("by"),
        period=Window(not_before=fields.time("start"), not_after=fields.time("end")),
        commitment=fields.text("commitment"),
        opening=record,
    )
