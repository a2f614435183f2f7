"""What a node lets in: evidence, verified offline, under a trusted policy and a believable clock.

1. While the clock is in doubt nothing is admitted (CLOCK_IN_DOUBT).
2. Otherwise `verify_evidence` decides, and it alone.
3. What was admitted is held against every new trust policy, and whenever the sentry enforces
   something else than before, by the same rules, as of now. Only the
   age of its checkpoint counts from the moment when it was admitted: a capture may outlast a
   checkpoint, but not a signer's key, role or name. Doubt about the clock ends nothing: what runs
   then runs out by its deadline.
4. The sentry's mode is the newest trust policy's word about this node, expired or not. One that
   does not name the node changes nothing while the agent runs.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime

import pyrage

from agents.core.clockcheck import ClockCheck
from agents.core.instant import Instant
from agents.core.trustchain import TrustChain
from agents.core.verifier import NodeContext, VerifiedGrant, verify_evidence
from guard.core import envelope
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.evidence import Evidence
from guard.core.grant import Grant, parse_grant
from guard.core.reasons import Reason, Refused
from guard.core.trust import TrustedPolicy

__all__ = ["Admission", "unverified_grant"]


def unverified_grant(evidence: Evidence) -> Grant | None:
    """Read what the evidence says that it grants, to name it in a receipt; believe none of it."""
    try:
        return parse_grant(envelope.parse(evidence.grant, envelope.Kind.GRANT).payload)
    except Refused:
        return None


class Admission:
    """The trust, the clock and the keys of one node. ``ended``, ``revoked``: see `NodeContext`.

    ``enforced`` is what its sentry enforces now: nothing but `detect` before that is proven.
    """

    def __init__(
        self,
        name: str,
        identities: Sequence[pyrage.x25519.Identity],
        trust: TrustChain,
        clock: ClockCheck,
        *,
        revoked: Container[str],
    ) -> None:
        self._name = name
        self._identities = tuple(identities)
        self._revoked = revoked
        self.trust = trust
        self.clock = clock
        self.enforced = Enforcement.DETECT

    def policy_ends(self) -> datetime:
        """When the trust policy in force expires; raises `Refused` when there is none."""
        return self._trusted().policy.expires_at

    def sentry(self, before: SentryMode) -> SentryMode:
        """Return the mode of this node's sentry (rule 4)."""
        trusted = self.trust.trusted
        node = None if trusted is None else trusted.policy.node(self._name)
        return before if node is None else node.sentry

    def doubt(self, now: Instant) -> str | None:
        """Return why the clock cannot be believed, or None."""
        trusted = self.trust.trusted
        if trusted is None:  # Nothing is admitted then, and no tolerance is known.
            return None
        return self.clock.doubt(now, trusted.policy.clock_tolerance)

    def admit(self, evidence: Evidence, now: Instant, *, ended: Container[str]) -> VerifiedGrant:
        """Verify evidence (rules 1 and 2); raises `Refused`."""
        doubt = self.doubt(now)
        if doubt is not None:
            raise Refused(Reason.CLOCK_IN_DOUBT, doubt)
        guard_time = self.clock.guard_time(now)
        return self._verify(evidence, now.wall, guard_time=guard_time, ended=ended)

    def readmit(
        self, evidence: Evidence, now: Instant, *, admitted: Instant, ended: Container[str]
    ) -> None:
        """Verify again what was admitted before (rule 3); raises `Refused`."""
        wall, before = now.wall, admitted.wall
        try:
            self._verify(evidence, wall, guard_time=wall, ended=ended)
        except Refused as refused:
            if refused.reason is not Reason.CHECKPOINT_STALE:
                raise
            # The rules before the checkpoint's have just held; this run is for those after it.
            self._verify(evidence, before, guard_time=before, ended=ended)

    def _verify(
        self,
        evidence: Evidence,
        wall: datetime,
        *,
        guard_time: datetime | None,
        ended: Container[str],
    ) -> VerifiedGrant:
        context = NodeContext(
            name=self._name,
            identities=self._identities,
            ended=ended,
            revoked=self._revoked,
            guard_time=guard_time,
            enforced=self.enforced,
        )
        return verify_evidence(evidence, self._trusted(), context, now=wall)

    def _trusted(self) -> TrustedPolicy:
        if self.trust.trusted is None:
            raise Refused(Reason.TRUST_POLICY_UNTRUSTED, "the node has no trust policy yet")
        return self.trust.trusted
