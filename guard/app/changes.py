"""What a plan may change in the store: whole rows, put by their key.

1. A change replaces the row with the same key, or adds it.
2. What is over says so in its state. Rows are deleted only by `EraseBefore`, when the retention of
   the records about them is over.
3. A revision is the log index of the record that speaks of the row's last change. So revisions rise
   with the log, and nothing changes without a record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from guard.core.incidents import Incident
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState, CaptureState


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRow:
    """An authority as the guard holds it; the envelope alone says what it permits."""

    id: str
    envelope: bytes = field(repr=False)
    state: AuthorityState
    registrant: str
    revision: int
    window_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRow:
    """A grant and how far its capture has come.

    `grant` is the grant's envelope, `evidence_index` the log index of its `capture_granted`,
    `request_id` the caller's, one per principal.
    """

    id: str
    authority_id: str
    node: str
    level: Level
    state: CaptureState
    why: str
    grant: bytes = field(repr=False)
    evidence_index: int
    not_before: datetime
    not_after: datetime
    lease_seconds: int
    principal: str
    request_id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """A sealed file; `path` is where the guard keeps it, `receipt` the node's signed word on it."""

    capture_id: str
    number: int
    size: int
    sha256: str
    path: str
    receipt: bytes = field(repr=False)
    stored_at: datetime
    deleted: bool


@dataclass(frozen=True, slots=True)
class PutAuthority:
    """Add or replace an authority by its id."""

    row: AuthorityRow


@dataclass(frozen=True, slots=True)
class PutCapture:
    """Add or replace a capture by its id."""

    row: CaptureRow


@dataclass(frozen=True, slots=True)
class PutSegment:
    """Add or replace a segment by capture and number."""

    row: SegmentRow


@dataclass(frozen=True, slots=True)
class PutTrustPolicy:
    """Add a version of the trust policy."""

    version: int
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """Remember the last receipt of a node: its sequence and the digest of its envelope."""

    node: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class PutIncident:
    """Add or replace an incident by its id."""

    row: Incident


@dataclass(frozen=True, slots=True)
class EraseBefore:
    """Forget salt and body of every record before an index, trust policies excepted.

    With them go segments, captures, authorities and incidents that are over and whose last change
    was before it; none goes before what belongs to it. An incident is over when no clock runs.
    """

    end: int


Change = (
    PutAuthority | PutCapture | PutSegment | PutTrustPolicy | PutReceipt | PutIncident | EraseBefore
)
