"""Rows of the use cases to and from columns of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from guard.app.changes import (
    AuthorityRow,
    CaptureRow,
    Change,
    EraseBefore,
    PutAuthority,
    PutCapture,
    PutIncident,
    PutReceipt,
    PutSegment,
    PutTrustPolicy,
    SegmentRow,
)
from guard.core import canonical
from guard.core.fields import format_time, parse_time
from guard.core.incidents import Hook, Incident
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.reporting import Assessment, ClockName, Verdict

_MOST_ASSESSED: Final = 64 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Looking a value up is several times faster than calling the enumeration.
_LEVELS: Final[Mapping[str, Level]] = {level.value: level for level in Level}
_AUTHORITY: Final[Mapping[str, AuthorityState]] = {s.value: s for s in AuthorityState}
_CAPTURE: Final[Mapping[str, CaptureState]] = {s.value: s for s in CaptureState}

Columns = dict[str, Any]


def microseconds(time: datetime) -> int:
    """Return microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time of so many microseconds since 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=value)


def columns(change: Change) -> Columns:  # noqa: PLR0911 - one for each kind of change
    """Return the row that a change puts, by column."""
    match change:
        case PutAuthority(row):
            return _authority_columns(row)
        case PutCapture(row):
            return _capture_columns(row)
        case PutSegment(row):
            return _segment_columns(row)
        case PutTrustPolicy(version, envelope):
            return {"version": version, "envelope": envelope}
        case PutReceipt(node, sequence, digest):
            return {"node": node, "sequence": sequence, "digest": digest}
        case PutIncident(row):
            return _incident_columns(row)
        case EraseBefore(end):
            return {"end": end}


def authority(row: tuple[Any, ...]) -> AuthorityRow:
    """Return an authority from its columns in the table's order."""
    identifier, envelope, state, registrant, revision, window_end = row
    return AuthorityRow(
        id=identifier,
        envelope=envelope,
        state=_AUTHORITY[state],
        registrant=registrant,
        revision=revision,
        window_end=moment(window_end),
    )


def capture(row: tuple[Any, ...]) -> CaptureRow:
    """Return a capture from its columns in the table's order."""
    return CaptureRow(
        id=row[0],
        authority_id=row[1],
        node=row[2],
        level=_LEVELS[row[3]],
        state=_CAPTURE[row[4]],
        why=row[5],
        grant=row[6],
        evidence_index=row[7],
        not_before=moment(row[8]),
        not_after=moment(row[9]),
        lease_seconds=row[10],
        principal=row[11],
        request_id=row[12],
        revision=row[13],
    )


def segment(row: tuple[Any, ...]) -> SegmentRow:
    """Return a segment from its columns in the table's order."""
    return SegmentRow(
        capture_id=row[0],
        number=row[1],
        size=row[2],
        sha256=row[3],
        path=row[4],
        receipt=row[5],
        stored_at=moment(row[6]),
        deleted=bool(row[7]),
    )


def incident(row: tuple[Any, ...]) -> Incident:
    """Return an incident from its columns in the table's order."""
    return Incident(
        id=row[0],
        node=row[1],
        kind=row[2],
        first=moment(row[3]),
        last=moment(row[4]),
        last_record=row[5],
        count=row[6],
        told={Hook.COMMAND: row[7], Hook.WEBHOOK: row[8]},
        open=bool(row[9]),
        assessments=tuple(
            map(_assessment, canonical.decode(row[11], limit=_MOST_ASSESSED)["said"])
        ),
        revision=row[12],
    )


def _incident_columns(row: Incident) -> Columns:
    return {
        "id": row.id,
        "node": row.node,
        "kind": row.kind,
        "first": microseconds(row.first),
        "last": microseconds(row.last),
        "last_record": row.last_record,
        "count": row.count,
        "told_command": row.told.get(Hook.COMMAND, 0),
        "told_webhook": row.told.get(Hook.WEBHOOK, 0),
        "open": row.open,
        "closed": row.closed,
        "assessments": canonical.encode({"said": [_said(each) for each in row.assessments]}),
        "revision": row.revision,
    }


def _said(said: Assessment) -> Columns:
    reported = said.reported_at
    return {
        "at": format_time(said.at),
        "by": said.by,
        "clock": said.clock.value,
        "record": said.record,
        "verdict": said.verdict.value,
        "words": said.words,
        **({"reported_at": format_time(reported)} if reported else {}),
    }


def _assessment(said: Columns) -> Assessment:
    reported = said.get("reported_at")
    return Assessment(
        clock=ClockName(said["clock"]),
        verdict=Verdict(said["verdict"]),
        by=said["by"],
        at=parse_time(said["at"]),
        record=said["record"],
        words=said["words"],
        reported_at=parse_time(reported) if reported else None,
    )


def _authority_columns(row: AuthorityRow) -> Columns:
    return {
        "id": row.id,
        "envelope": row.envelope,
        "state": row.state.value,
        "registrant": row.registrant,
        "revision": row.revision,
        "window_end": microseconds(row.window_end),
    }


def _capture_columns(row: CaptureRow) -> Columns:
    return {
        "id": row.id,
        "authority_id": row.authority_id,
        "node": row.node,
        "level": row.level.value,
        "state": row.state.value,
        "why": row.why,
        "grant_envelope": row.grant,
        "evidence_index": row.evidence_index,
        "not_before": microseconds(row.not_before),
        "not_after": microseconds(row.not_after),
        "lease_seconds": row.lease_seconds,
        "principal": row.principal,
        "request_id": row.request_id,
        "revision": row.revision,
    }


def _segment_columns(row: SegmentRow) -> Columns:
    return {
        "capture_id": row.capture_id,
        "number": row.number,
        "size": row.size,
        "sha256": row.sha256,
        "path": row.path,
        "receipt": row.receipt,
        "stored_at": microseconds(row.stored_at),
        "deleted": row.deleted,
    }
