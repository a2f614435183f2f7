"""From a permit to a capture: decide, sign the grant, describe the record and the row.

1. One live capture per authority and node. A capture whose grant is over counts as live only until
   its end: the node's kernel has ended it by then, whether or not the node could say so.
2. The record of a grant names the grant's envelope by digest, so that the proof that a node demands
   is about this grant and no other.
3. The row's revision is the index of that record: a node learns of the grant by it, and the grant's
   proof is for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from guard.app.changes import AuthorityRow, CaptureRow, PutCapture
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core import envelope as dsse
from guard.core.decision import CaptureRequest, Deny, Permit, decide
from guard.core.fields import format_time
from guard.core.grant import encode_grant, make_grant
from guard.core.lifecycle import CaptureState
from guard.core.reasons import Refused
from guard.core.record import Record, RecordKind

__all__ = ["Granted", "grant_capture", "runs_on"]


@dataclass(frozen=True, slots=True)
class Granted:
    """A capture granted, and the reference of its authority."""

    row: CaptureRow
    reference: str


def grant_capture(
    office: Office,
    view: Reads,
    index: int,
    now: datetime,
    *,
    request: CaptureRequest,
    started_by: str,
) -> Plan[Granted]:
    """Grant a capture, its record to be at ``index``; raises Refused with the reason not to."""
    policy = office.require_policy(now)
    authority = view.authority(request.authority_id)
    decision = decide(
        request,
        envelope=office.readings.signed(authority.envelope, policy) if authority else None,
        state=authority.state if authority else None,
        live_on_node=runs_on(view, request.authority_id, request.node, now),
        standing=office.standings.of(request.node),
        policy=policy,
        now=now,
    )
    if isinstance(decision, Deny):
        raise Refused(decision.reason, decision.sentence)
    assert authority is not None  # noqa: S101 - decide() denies what is not there
    return _granted(office, index, now, decision, request, authority, started_by)


def runs_on(view: Reads, authority_id: str, node: str, now: datetime) -> bool:
    """Say whether a capture under the authority may be running on the node (rule 1)."""
    live = view.live_captures(node=node, authority_id=authority_id)
    return any(now < row.not_after for row in live)


def _granted(
    office: Office,
    index: int,
    now: datetime,
    permit: Permit,
    request: CaptureRequest,
    authority: AuthorityRow,
    started_by: str,
) -> Plan[Granted]:
    grant = make_grant(permit, grant_id=office.entropy.new_id(), now=now)
    envelope = dsse.encode(dsse.sign(encode_grant(grant), dsse.Kind.GRANT, office.signer))
    row = CaptureRow(
        id=grant.id,
        authority_id=authority.id,
        node=grant.node,
        level=grant.level,
        state=CaptureState.GRANTED,
        why="",
        grant=envelope,
        evidence_index=index,
        not_before=grant.window.not_before,
        not_after=grant.window.not_after,
        lease_seconds=int(grant.lease.total_seconds()),
        principal=request.principal.name,
        request_id=request.request_id,
        revision=index,
    )
    return Plan(
        result=Granted(row, permit.authority.authority.reference),
        records=(_record(office, now, row, permit, started_by),),
        changes=(PutCapture(row),),
    )


def _record(
    office: Office, now: datetime, row: CaptureRow, permit: Permit, started_by: str
) -> Record:
    body = {
        "authority_digest": permit.authority.digest,
        "authority_id": row.authority_id,
        "grant_digest": dsse.digest(row.grant),
        "grant_id": row.id,
        "lease_seconds": row.lease_seconds,
        "level": str(row.level),
        "node": row.node,
        "not_after": format_time(row.not_after),
        "not_before": format_time(row.not_before),
        "principal": row.principal,
        "provisional": permit.authority.provisional,
        "request_id": row.request_id,
        "signers": list(permit.authority.signers),
        "started_by": started_by,
    }
    return office.record(RecordKind.CAPTURE_GRANTED, now, body)
