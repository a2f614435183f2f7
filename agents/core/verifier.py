"""What a node checks before it arms, alone and offline, in this order.

0. The clock is not in doubt: it agrees with the guard's within the policy's tolerance. Every rule
   below reads it. A node that does not know the guard's time is in doubt.
1. The trust policy is signed by the pinned roots (``TrustedPolicy`` is the proof of that), and has
   not expired.
2. The authority's signatures meet the rule of its instrument.
3. The authority's effective window contains now, and is no longer than its rule allows.
4. The grant is signed by a guard of the trust policy, names this node and this very envelope of the
   authority, which itself names the node, and stays inside the authority in window, level and
   lease; its own window contains now.
5. The grant's record is in the log, under a checkpoint signed by the log and a quorum of witnesses,
   no older than the policy allows; and the record says of the grant what the grant says.
6. Neither authority nor grant is known to be revoked, and the grant has not ended here before.
7. The node's sentry enforces at least what the authority demands, as it was proven here, whatever
   the guard believes of it.
8. The sealed subjects open with this node's key, match their commitment, are well formed, of kinds
   that the instrument may select, and for a test on the policy's test list. (A ticket never yields
   content; content for trouble-shooting is a test.)

The result, ``VerifiedGrant``, is made only here and is the only thing that can be armed.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Final

import pyrage

from guard.core import envelope as dsse
from guard.core.approval import ApprovedAuthority, require_approved
from guard.core.authority import Authority
from guard.core.enforcement import Enforcement
from guard.core.evidence import Evidence
from guard.core.grant import Grant, parse_grant
from guard.core.instruments import Instrument, selectable
from guard.core.level import Level
from guard.core.logged import verify_logged
from guard.core.policy import TrustPolicy
from guard.core.reasons import Reason, Refused
from guard.core.subjects import Subject, open_subjects
from guard.core.trust import TrustedPolicy
from guard.core.window import Window


class _MadeByVerifier:
    """Only this module has the instance that makes a ``VerifiedGrant``."""


_TOKEN: Final = _MadeByVerifier()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """What the node knows by itself.

    ``ended`` holds the ids of grants that ended here; ``revoked`` those of authorities and grants
    known to be revoked; ``guard_time`` is the guard's wall clock at ``now``, None when not known;
    ``enforced`` is what the node's own sentry enforces.
    """

    name: str
    identities: Sequence[pyrage.x25519.Identity] = field(repr=False)
    ended: Container[str]
    revoked: Container[str]
    guard_time: datetime | None
    enforced: Enforcement


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedGrant:
    """A grant that passed every rule; ``window``, ``level`` and ``lease`` are what may be armed."""

    grant: Grant
    authority: Authority
    subjects: tuple[Subject, ...]
    window: Window
    level: Level
    lease: timedelta
    token: InitVar[_MadeByVerifier]

    def __post_init__(self, token: _MadeByVerifier) -> None:
        if token is not _TOKEN:
            raise TypeError("only verify_evidence makes a verified grant")


def verify_evidence(
    evidence: Evidence, trusted: TrustedPolicy, context: NodeContext, *, now: datetime
) -> VerifiedGrant:
    """Apply the rules of this module, in their order; raise ``Refused`` at the first one broken."""
    policy = trusted.policy
    # (0) the clock
    _require_clock(policy, context, now)
    # (1) the trust policy
    policy.require_unexpired(now)
    # (2) the authority's signatures, and the length of its window (3)
    approved = require_approved(evidence.authority, policy, now=now)
    # (3) now is inside
    approved.require_active(now)
    # (4) the grant
    grant = _require_grant(evidence, approved, policy, context, now)
    # (5) the log
    _require_logged(evidence, grant, policy, now)
    # (6) the end
    _require_not_over(grant, context)
    # (7) the sentry
    approved.authority.require_enforced(context.enforced, context.name)
    # (8) the subjects
    subjects = _require_subjects(approved.authority, policy, context)
    return VerifiedGrant(
        grant=grant,
        authority=approved.authority,
        subjects=subjects,
        window=grant.window,
        level=grant.level,
        lease=grant.lease,
        token=_TOKEN,
    )


def _require_clock(policy: TrustPolicy, context: NodeContext, now: datetime) -> None:
    if context.guard_time is None:
        raise Refused(Reason.CLOCK_IN_DOUBT, "the guard's time is not known")
    if abs(now - context.guard_time) > policy.clock_tolerance:
        raise Refused(
            Reason.CLOCK_IN_DOUBT,
            f"the clock differs from the guard's by more than {policy.clock_tolerance}",
        )


def _require_grant(
    evidence: Evidence,
    approved: ApprovedAuthority,
    policy: TrustPolicy,
    context: NodeContext,
    now: datetime,
) -> Grant:
    grant = _signed_grant(evidence.grant, policy)
    if grant.node != context.name:
        raise Refused(Reason.GRANT_WRONG_NODE, f"the grant is for {grant.node}")
    if (grant.authority_digest, grant.authority_id) != (approved.digest, approved.authority.id):
        raise Refused(Reason.GRANT_WRONG_AUTHORITY, "the grant is for another authority")
    if grant.node not in approved.authority.nodes:
        raise Refused(Reason.NODE_NOT_NAMED, f"the authority does not name {grant.node}")
    rule = policy.rule(approved.authority.instrument)
    if grant.level > approved.authority.level or grant.level not in rule.levels:
        raise Refused(Reason.LEVEL_NOT_PERMITTED, f"the grant reaches up to {grant.level}")
    if not approved.window.covers(grant.window):
        raise Refused(
            Reason.GRANT_WINDOW_EXCEEDED, "the grant reaches outside the authority's window"
        )
    if grant.lease > rule.lease:
        raise Refused(Reason.GRANT_WINDOW_EXCEEDED, "the grant's lease is longer than its rule's")
    grant.window.require_active(now)
    return grant


def _signed_grant(data: bytes, policy: TrustPolicy) -> Grant:
    envelope = dsse.parse(data, dsse.Kind.GRANT)
    try:
        signers = dsse.verified_keyids(envelope, policy.guard_keys)
    except Refused as refused:
        raise Refused(
            Reason.GRANT_UNTRUSTED, "a signature on the grant is no guard's or does not verify"
        ) from refused
    if not signers:
        raise Refused(Reason.GRANT_UNTRUSTED, "no guard signed the grant")
    return parse_grant(envelope.payload)


def _require_logged(evidence: Evidence, grant: Grant, policy: TrustPolicy, now: datetime) -> None:
    record = verify_logged(evidence.proof, policy, grant_envelope=evidence.grant, now=now)
    stated = {"grant_id": grant.id, "authority_id": grant.authority_id, "node": grant.node}
    # An auditor reads the record, not the grant: what it says must be what runs.
    if any(record.body.get(name) != value for name, value in stated.items()):
        raise Refused(Reason.LOG_PROOF_INVALID, "the record describes another grant")


def _require_not_over(grant: Grant, context: NodeContext) -> None:
    if grant.authority_id in context.revoked or grant.id in context.revoked:
        raise Refused(Reason.REVOKED, "the authority or the grant was revoked")
    if grant.id in context.ended:
        raise Refused(Reason.REPLAYED, "the grant has ended on this node before")


def _require_subjects(
    authority: Authority, policy: TrustPolicy, context: NodeContext
) -> tuple[Subject, ...]:
    subjects = open_subjects(
        authority.sealed_subjects, authority.subjects_commitment, context.identities
    )
    kinds = selectable(authority.instrument)
    if any(subject.kind not in kinds for subject in subjects):
        raise Refused(
            Reason.SUBJECT_NOT_PERMITTED, f"a {authority.instrument} may not name such a subject"
        )
    listed = set(policy.test_subjects)
    if authority.instrument is Instrument.TEST and not listed.issuperset(subjects):
        raise Refused(
            Reason.SUBJECT_NOT_ON_TEST_LIST, "a test names somebody who is not on the test list"
        )
    return subjects
