"""The guard's decision: permit or deny, with a reason.

Denied is everything that no rule permits. The rules, in the order of the reasons they give:

1. The trust policy has not expired.
2. The authority exists, and the caller holds the role that may request under its instrument.
3. It is neither revoked nor expired, it carries every signature, and its state says so too.
4. Its effective window contains now.
5. It names the node, and the level asked for is not above its own.
6. No capture under it runs on that node already.
7. The node is trusted (`untrusted`), and by its last word it enforces at least what the authority
   demands.

The node decides again, for itself: a permit is necessary and never sufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from guard.core.approval import (
    ApprovedAuthority,
    SignedAuthority,
    inspect,
    read_signed,
    require_approved,
)
from guard.core.identities import Principal
from guard.core.instruments import requester
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState
from guard.core.policy import TrustPolicy
from guard.core.reasons import Reason, Refused
from guard.core.untrusted import NodeStanding
from guard.core.window import Window

_IN_FORCE = frozenset({AuthorityState.PROVISIONAL, AuthorityState.APPROVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Somebody asks for a capture. ``level`` None means the authority's own."""

    request_id: str
    principal: Principal
    authority_id: str
    node: str
    level: Level | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The capture may be granted, for this node, level, window and lease."""

    authority: ApprovedAuthority
    node: str
    level: Level
    window: Window
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """The capture may not be granted. ``sentence`` is for people."""

    reason: Reason
    sentence: str


def decide(
    request: CaptureRequest,
    *,
    envelope: bytes | SignedAuthority | None,
    state: AuthorityState | None,
    live_on_node: bool,
    standing: NodeStanding,
    policy: TrustPolicy,
    now: datetime,
) -> Permit | Deny:
    """Decide on a request.

    ``envelope`` and ``state`` are the authority's as stored, None where there is none; an envelope
    that ``read_signed`` has read under this policy may stand for its bytes;
    ``live_on_node`` says whether a capture under it runs on the node, ``standing`` how the node
    stands. Never raises ``Refused``.
    """
    try:
        permit = _permit(request, envelope, state, live_on_node, policy, now)
        _require_fit(permit, standing)
    except Refused as refused:
        return Deny(reason=refused.reason, sentence=refused.detail)
    return permit


def _permit(
    request: CaptureRequest,
    envelope: bytes | SignedAuthority | None,
    state: AuthorityState | None,
    live_on_node: bool,  # noqa: FBT001  private, passed on from a keyword
    policy: TrustPolicy,
    now: datetime,
) -> Permit:
    policy.require_unexpired(now)
    if envelope is None or state is None:
        raise Refused(Reason.AUTHORITY_UNKNOWN, "there is no such authority")
    approved = _require_in_force(request, envelope, state, policy, now)
    approved.require_active(now)
    level = _require_scope(request, approved, policy)
    if live_on_node:
        raise Refused(Reason.ALREADY_RUNNING, f"a capture already runs on {request.node}")
    return Permit(
        authority=approved,
        node=request.node,
        level=level,
        window=approved.window,
        lease=policy.rule(approved.authority.instrument).lease,
    )


def _require_fit(permit: Permit, standing: NodeStanding) -> None:
    """Hold the node to rule 7."""
    if standing.flaw is not None:
        raise Refused(
            Reason.NODE_UNTRUSTED, f"{permit.node} is not trusted: it {standing.flaw.words}"
        )
    permit.authority.authority.require_enforced(standing.enforcement, permit.node)


def _require_in_force(
    request: CaptureRequest,
    envelope: bytes | SignedAuthority,
    state: AuthorityState,
    policy: TrustPolicy,
    now: datetime,
) -> ApprovedAuthority:
    signed = read_signed(envelope, policy) if isinstance(envelope, bytes) else envelope
    authority = inspect(signed, policy, now=now).authority
    if authority.id != request.authority_id:
        raise Refused(Reason.AUTHORITY_UNKNOWN, "there is no such authority")
    role = requester(authority.instrument)
    if role not in request.principal.roles:
        raise Refused(
            Reason.CALLER_ROLE_WRONG, f"{request.principal.name} does not hold the role {role}"
        )
    if state is AuthorityState.REVOKED:
        raise Refused(Reason.REVOKED, "the authority was revoked")
    if state is AuthorityState.EXPIRED:
        raise Refused(Reason.EXPIRED, "the authority has expired")
    approved = require_approved(signed, policy, now=now)
    if state not in _IN_FORCE:
        raise Refused(Reason.STATE_NOT_PERMITTED, f"the authority is only {state}")
    return approved


def _require_scope(
    request: CaptureRequest, approved: ApprovedAuthority, policy: TrustPolicy
) -> Level:
    if policy.node(request.node) is None:
        raise Refused(Reason.NODE_UNKNOWN, "there is no such node")
    if request.node not in approved.authority.nodes:
        raise Refused(Reason.NODE_NOT_NAMED, f"the authority does not name {request.node}")
    level = approved.authority.level if request.level is None else request.level
    permitted = policy.rule(approved.authority.instrument).levels
    if level > approved.authority.level or level not in permitted:
        raise Refused(Reason.LEVEL_NOT_PERMITTED, f"the authority does not reach to {level}")
    return level
