"""Taking in trust policies and handing them out.

1. A policy counts by the signatures of the root holders and nothing else (`trust.advance`); who
   hands it in does not matter, and is on record.
2. It is stored and on record before it is in force, and in force before it is answered. Whoever is
   connected is measured by it from the next message on.
3. At start the policy in force follows from the pinned roots through every stored version, and
   then the configured one when that is the next. A chain that does not verify, or whose last
   version has expired, is no start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from guard.app.changes import PutTrustPolicy
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core import envelope as dsse
from guard.core.fields import encode_base64
from guard.core.policycodec import parse_policy
from guard.core.reasons import Reason, Refused
from guard.core.record import RecordKind
from guard.core.trust import PinnedRoots, TrustedPolicy, advance

__all__ = ["Trust", "chain_at_start"]


def chain_at_start(
    roots: PinnedRoots, stored: Sequence[bytes], configured: bytes, *, now: datetime
) -> TrustedPolicy:
    """Return the policy to start with (rule 3); raises Refused."""
    envelopes = list(stored)
    newest = _version(stored[-1]) if stored else 0
    # The first may have any version: the roots pinned are those of the day it was set up.
    if not stored or _version(configured) == newest + 1:
        envelopes.append(configured)
    return advance(roots, envelopes, now=now)


def _version(envelope: bytes) -> int:
    return parse_policy(dsse.parse(envelope, dsse.Kind.TRUST_POLICY).payload).version


@dataclass(frozen=True, slots=True)
class Trust:
    """The use cases around trust policies."""

    office: Office

    async def adopt_at_start(self) -> None:
        """Store and record the policy that the guard has started with, unless it is stored."""
        version = self.office.policy.version

        def plan(view: Reads, _index: int) -> Plan[None]:
            if view.trust_policies(version - 1):
                return Plan(result=None)
            return self._changed(self.office.trusted, self.office.clock.now(), "configuration")

        await self.office.execute(plan)

    async def publish(self, envelope: bytes, caller: str) -> int:
        """Put a newer policy in force and return its version; raises Denied."""

        def rule(view: Reads, _index: int, now: datetime) -> Plan[TrustedPolicy | None]:
            current = self.office.trusted
            newer = advance(current, [envelope], now=now)
            if newer.policy.version == current.policy.version:
                return Plan(result=None)
            if view.trust_policies(current.policy.version):
                raise Refused(Reason.TRUST_POLICY_ROLLED_BACK, "another one of this version came")
            made = self._changed(newer, now, caller)
            return Plan(result=newer, records=made.records, changes=made.changes)

        about = {
            "envelope_digest": dsse.digest(envelope),
            "method": "publish_trust_policy",
            "principal": caller,
        }
        newer = await self.office.decide(rule, about)
        if newer is not None:
            self._put_in_force(newer)
        return self.office.policy.version

    def _put_in_force(self, newer: TrustedPolicy) -> None:
        # Two may be published at once: the later one is not replaced by the earlier.
        if newer.policy.version > self.office.policy.version:
            self.office.trusted = newer
            self.office.bell.ring_all()

    def policies(self, after_version: int) -> list[bytes]:
        """Return the envelopes of every version above this one, oldest first."""
        with self.office.ledger.reads() as view:
            return view.trust_policies(after_version)

    def _changed(self, trusted: TrustedPolicy, now: datetime, by: str) -> Plan[None]:
        body = {
            "by": by,
            "envelope": encode_base64(trusted.envelope),
            "policy_digest": dsse.digest(trusted.envelope),
            "version": trusted.policy.version,
        }
        record = self.office.record(RecordKind.TRUST_POLICY_CHANGED, now, body)
        change = PutTrustPolicy(version=trusted.policy.version, envelope=trusted.envelope)
        return Plan(result=None, records=(record,), changes=(change,))
