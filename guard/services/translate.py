"""Between the messages of the contract and the words of the rules.

1. An empty or malformed field of a request is INVALID_ARGUMENT, never a default that permits.
2. A page ends early rather than outgrow what a client takes.
3. Display fields of an answer repeat what the envelope says; nothing trusts them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1 import (
    audit_service_pb2,
    authority_service_pb2,
    capture_service_pb2,
    node_service_pb2,
    reason_pb2,
)
from guard.app.authorities import AuthorityView
from guard.app.captures import CaptureView
from guard.app.changes import SegmentRow
from guard.app.denial import MalformedError
from guard.app.presence import Counters, Running
from guard.core.evidence import Evidence
from guard.core.fields import parse_time
from guard.core.findings import Finding
from guard.core.identities import NodeIdentity
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.reasons import Reason
from guard.core.record import Entry
from guard.core.untrusted import NodeStanding
from guard.core.window import Window

__all__ = [
    "MAX_PAGE_BYTES",
    "from_armed",
    "from_timestamp",
    "page_size",
    "page_token",
    "required_id",
    "required_period",
    "required_text",
    "to_authority",
    "to_capture",
    "to_evidence",
    "to_log_record",
    "to_reason",
    "to_segment_header",
    "to_standing",
    "to_timestamp",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MAX_PAGE = 500
MAX_PAGE_BYTES = 3 * 1024 * 1024  # clients take 4 MiB unless told otherwise; one entry fits always
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST = 512

_REASONS = {reason: reason_pb2.Reason.Value(f"REASON_{reason.name}") for reason in Reason}
_AUTHORITY_STATES = {
    state: authority_service_pb2.AuthorityState.Value(f"AUTHORITY_STATE_{state.name}")
    for state in AuthorityState
}
_CAPTURE_STATES = {
    state: capture_service_pb2.CaptureState.Value(f"CAPTURE_STATE_{state.name}")
    for state in CaptureState
}


def to_reason(reason: Reason) -> reason_pb2.Reason.ValueType:
    """Return the contract's value of a reason."""
    return _REASONS[reason]


def to_timestamp(time: datetime) -> Timestamp:
    """Return an aware time."""
    seconds, rest = divmod((time - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def required_id(text: str, what: str) -> str:
    """Return a lower-case UUID; raises MalformedError."""
    if not _UUID.fullmatch(text):
        raise MalformedError(f"{what} must be a lower-case UUID")
    return text


def required_text(text: str, what: str) -> str:
    """Return a single line of 1 to 512 characters; raises MalformedError."""
    if not text.strip() or len(text) > _LONGEST or not text.isprintable():
        raise MalformedError(f"{what} must be a line of 1 to {_LONGEST} characters")
    return text


def required_period(start: Timestamp, end: Timestamp) -> Window:
    """Return a period that is not empty; raises MalformedError."""
    begin, over = from_timestamp(start), from_timestamp(end)
    if begin >= over:
        raise MalformedError("the period is empty")
    return Window(not_before=begin, not_after=over)


def page_size(asked: int) -> int:
    """Return how many to list; raises MalformedError for less than none."""
    if asked < 0:
        raise MalformedError("page_size must not be negative")
    return min(asked or MAX_PAGE, MAX_PAGE)


def page_token(text: str) -> int | None:
    """Return the revision where the page before ended; raises MalformedError."""
    if not text:
        return None
    if not _TOKEN.fullmatch(text):
        raise MalformedError("page_token is not one of ours")
    return int(text)


def to_authority(view: AuthorityView) -> authority_service_pb2.Authority:
    """Return an authority for display."""
    if not view.seen:
        return authority_service_pb2.Authority(
            id=view.row.id, state=_AUTHORITY_STATES[view.row.state]
        )
    authority = view.authority
    return authority_service_pb2.Authority(
        id=view.row.id,
        envelope=view.row.envelope,
        state=_AUTHORITY_STATES[view.row.state],
        instrument=authority.instrument.value,
        reference=authority.reference,
        level=authority.level.value,
        nodes=authority.nodes,
        not_before=to_timestamp(authority.window.not_before),
        not_after=to_timestamp(view.row.window_end),
        signers=view.signers,
        missing=view.missing,
        enforcement=authority.enforcement or "",
    )


def to_capture(view: CaptureView) -> capture_service_pb2.Capture:
    """Return a capture for display."""
    row, running = view.row, view.running
    if not view.seen:
        return capture_service_pb2.Capture(id=row.id, state=_CAPTURE_STATES[row.state])
    made = capture_service_pb2.Capture(
        id=row.id,
        authority_id=row.authority_id,
        reference=view.reference,
        node=row.node,
        level=row.level.value,
        state=_CAPTURE_STATES[row.state],
        why=row.why,
        not_before=to_timestamp(row.not_before),
        not_after=to_timestamp(row.not_after),
        segments=view.segments,
        sealed_bytes=view.sealed_bytes,
    )
    if running is not None:
        made.counters.CopyFrom(_to_counters(running.counters))
        if running.lease_until is not None:
            made.lease_until.CopyFrom(to_timestamp(running.lease_until))
    return made


def _to_counters(counters: Counters) -> capture_service_pb2.CaptureCounters:
    return capture_service_pb2.CaptureCounters(
        calls=counters.calls,
        packets=counters.packets,
        bytes=counters.bytes,
        drops=counters.drops,
    )


def from_armed(armed: node_service_pb2.ArmedCapture) -> Running:
    """Read one entry of a heartbeat; raises MalformedError."""
    said = armed.counters
    until = None
    if armed.HasField("lease_until"):
        until = from_timestamp(armed.lease_until)
    return Running(
        counters=Counters(
            calls=said.calls, packets=said.packets, bytes=said.bytes, drops=said.drops
        ),
        lease_until=until,
    )


def from_timestamp(stamp: Timestamp) -> datetime:
    """Read a time in UTC; raises MalformedError when it is none."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError("a time is out of range") from error


def to_segment_header(row: SegmentRow) -> capture_service_pb2.SegmentHeader:
    """Return what comes before a segment's bytes."""
    return capture_service_pb2.SegmentHeader(
        capture_id=row.capture_id,
        number=row.number,
        size=row.size,
        sha256=bytes.fromhex(row.sha256),
        receipt=row.receipt,
    )


def to_evidence(evidence: Evidence) -> node_service_pb2.Evidence:
    """Return a grant's evidence, byte for byte."""
    return node_service_pb2.Evidence(
        authority=evidence.authority, grant=evidence.grant, proof=evidence.proof
    )


def to_log_record(index: int, entry: Entry) -> audit_service_pb2.LogRecord:
    """Return a record with the opening of its leaf, as it is stored: its reader checks it."""
    return audit_service_pb2.LogRecord(
        index=index,
        kind=entry.kind,
        time=to_timestamp(parse_time(entry.time)),
        salt=entry.salt or b"",
        body=entry.body or b"",
        digest=entry.digest,
    )


def to_finding(finding: Finding) -> audit_service_pb2.Finding:
    """Return a finding; what it is not about is left out."""
    return audit_service_pb2.Finding(
        kind=finding.kind.value,
        node=finding.node or "",
        grant_id=finding.grant_id or "",
        authority_id=finding.authority_id or "",
        number=finding.number,
        since=to_timestamp(finding.since),
        detail=finding.detail,
    )


def to_standing(
    node: NodeIdentity,
    standing: NodeStanding,
    *,
    connected: bool,
) -> audit_service_pb2.NodeStanding:
    """Return how a node stands; what is not known is left out."""
    health, flaw = standing.health, standing.flaw
    return audit_service_pb2.NodeStanding(
        node=node.name,
        policy=node.sentry.value,
        connected=connected,
        untrusted=flaw.words if flaw else "",
        untrusted_since=to_timestamp(flaw.since) if flaw else None,
        stated=to_timestamp(standing.heard) if standing.heard else None,
        proven=to_timestamp(standing.answered) if standing.answered else None,
        mode=health.mode.value if health else "",
        enforcement=health.enforcement.value if health else "",
        doors=health.doors if health else {},
        programs=health.programs if health else "",
    )
