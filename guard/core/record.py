"""Records: what the log is about, and the leaves that stand for them.

1. The leaf in the tree is canonical JSON of three members: `kind`, `time`, and `digest`, which is
   SHA-256 over salt and body. It tells nothing of the body, however few bodies are likely.
2. The salt is 32 random bytes, drawn for each record.
3. An opening (kind, time, salt, body) lets anybody compute the leaf; nothing in it is believed for
   any other reason.
4. A body is canonical JSON of at most 512 KiB: signed documents stand in it whole, so that the
   records alone are enough to check them. It holds no subject, no key and no content.
5. A record is erased by forgetting its salt and its body. The digest stays, and with it the leaf:
   the tree is whole, and nobody can tell what was said (crypto-erasure). None is before it is
   ``LEAST_KEPT`` old.
6. The body of `capture_granted` holds `grant_digest`, `grant_id`, `authority_id`, `node` and
   `principal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

from guard.core import canonical
from guard.core.fields import format_time, parse_time
from guard.core.note import decode_base64, encode_base64
from guard.core.reasons import Reason, Refused

SALT_BYTES = 32
LEAST_KEPT = timedelta(days=400)
MAX_BODY_BYTES = 512 * 1024
_MAX_OPENING_BYTES = 2 * MAX_BODY_BYTES
_OPENING = {"body", "kind", "salt", "time"}


class RecordKind(StrEnum):
    """What happened."""

    AUTHORITY_REGISTERED = "authority_registered"
    AUTHORITY_APPROVED = "authority_approved"
    AUTHORITY_REVOKED = "authority_revoked"
    AUTHORITY_EXPIRED = "authority_expired"
    CAPTURE_GRANTED = "capture_granted"
    CAPTURE_DENIED = "capture_denied"
    CAPTURE_STOPPED = "capture_stopped"
    CAPTURE_EXPIRED = "capture_expired"
    CAPTURE_ARMED = "capture_armed"
    CAPTURE_DISARMED = "capture_disarmed"
    SEGMENT_SEALED = "segment_sealed"
    SEGMENT_STORED = "segment_stored"
    CAPTURE_REFUSED = "capture_refused"
    NOTHING_CAPTURED = "nothing_captured"
    CAPTURE_FETCHED = "capture_fetched"
    SEGMENT_DELETED = "segment_deleted"
    REQUEST_DENIED = "request_denied"
    INCIDENT = "incident"
    TRUST_POLICY_CHANGED = "trust_policy_changed"
    NODE_HEARTBEAT = "node_heartbeat"
    FINDING = "finding"
    FINDING_CLOSED = "finding_closed"
    RECORDS_READ = "records_read"
    RECORDS_ERASED = "records_erased"
    SAMPLE_COMMITTED = "sample_committed"
    CERTIFICATE_FILED = "certificate_filed"
    REVIEW_FILED = "review_filed"
    INCIDENT_NOTIFIED = "incident_notified"
    INCIDENT_ASSESSED = "incident_assessed"


_KINDS: Mapping[str, RecordKind] = {kind.value: kind for kind in RecordKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; `time` is aware UTC, `salt` is 32 bytes."""

    kind: RecordKind
    time: datetime
    body: Mapping[str, Any] = field(repr=False)
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise ValueError("a record's salt is 32 bytes")
        if self.time.utcoffset() != UTC.utcoffset(None):
            raise ValueError("a record's time is in UTC")


class Entry(NamedTuple):
    """A record in its stored parts: what the log keeps, and what the leaf is computed from.

    `digest` is 32 bytes; `salt` and `body` are None once the record is erased (rule 5).
    """

    kind: str
    time: str
    digest: bytes
    salt: bytes | None
    body: bytes | None

    @property
    def erased(self) -> bool:
        """Whether only the leaf is left."""
        return self.salt is None or self.body is None

    def leaf(self) -> bytes:
        """Return the leaf's data (rule 1).

        Kind and time are plain ASCII without anything to escape, so this spells out the JSON.
        """
        digest = self.digest.hex()
        return f'{{"digest":"{digest}","kind":"{self.kind}","time":"{self.time}"}}'.encode()

    def check(self) -> None:
        """Hold salt and body, where they are left, against the digest.

        Raises Refused(DOCUMENT_MALFORMED).
        """
        if self.salt is None or self.body is None:
            return
        if self.digest != _digest(self.salt, self.body):
            raise _malformed("a record is not what its digest was made of")

    def record(self) -> Record:
        """Read the parts.

        Raises Refused(DOCUMENT_MALFORMED) for parts that make no record: an erased one, or a digest
        that is not that of salt and body.
        """
        if self.salt is None or self.body is None:
            raise _malformed("the record was erased")
        if self.kind not in _KINDS or len(self.salt) != SALT_BYTES:
            raise _malformed("a record has an unknown kind or a salt of another length")
        self.check()
        return Record(
            kind=_KINDS[self.kind],
            time=parse_time(self.time),
            body=canonical.decode(self.body, limit=MAX_BODY_BYTES),
            salt=self.salt,
        )


def encode_body(record: Record) -> bytes:
    """Return the body as canonical JSON.

    Raises Refused(DOCUMENT_MALFORMED) for a body that could not be read again, because it is too
    large for instance: what cannot be read must not be written.
    """
    body = canonical.encode(dict(record.body))
    canonical.decode(body, limit=MAX_BODY_BYTES)
    return body


def entry_of(record: Record) -> Entry:
    """Return the stored parts. Raises Refused(DOCUMENT_MALFORMED), as `encode_body` does."""
    body = encode_body(record)
    return _entry(record.kind.value, format_time(record.time), record.salt, body)


def leaf(record: Record) -> bytes:
    """Return the leaf's data (rule 1)."""
    return entry_of(record).leaf()


def encode_opening(record: Record) -> bytes:
    """Return the opening as canonical JSON."""
    return canonical.encode(
        {
            "body": encode_base64(encode_body(record)),
            "kind": str(record.kind),
            "salt": encode_base64(record.salt),
            "time": format_time(record.time),
        }
    )


def parse_opening(data: bytes) -> Record:
    """Read an opening. Raises Refused(DOCUMENT_MALFORMED)."""
    opening = canonical.decode(data, limit=_MAX_OPENING_BYTES)
    if opening.keys() != _OPENING or not all(isinstance(v, str) for v in opening.values()):
        raise _malformed("an opening holds body, kind, salt and time")
    salt, body = decode_base64(opening["salt"]), decode_base64(opening["body"])
    return _entry(opening["kind"], opening["time"], salt, body).record()


def _entry(kind: str, time: str, salt: bytes, body: bytes) -> Entry:
    return Entry(kind=kind, time=time, digest=_digest(salt, body), salt=salt, body=body)


def _digest(salt: bytes, body: bytes) -> bytes:
    return sha256(salt + body).digest()


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, detail)
