"""What every use case works with, and the one way in which they decide.

1. A decision is made inside the ledger's writer, under the trust policy in force there and then.
2. Whatever a rule refuses becomes a recorded denial: the record is durable before `decide` raises.
   A rule changes nothing before it has decided, so a denial leaves only its record.
3. Nothing is permitted under a trust policy that has expired or no longer names this guard, nor
   while the clock is behind what the log has seen: a window that is over would seem open. What
   stops and what denies needs no clock.
4. What is forgotten for good, because its time is over, is forgotten by the witnesses' time:
   whoever sets the guard's clock ahead deletes nothing by it.
5. A record of a denial names who, what and why: ids and reasons, never a subject.
6. A record of an incident and its place among what the privacy team is to be told are one
   transaction (`guard.app.noting`): neither is there without the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Signer

from guard.app.bell import Bell
from guard.app.changes import PutAuthority, PutCapture, PutIncident
from guard.app.denial import Denied
from guard.app.noting import NOTICES, noted
from guard.app.ports import Clock, Entropy, Ledger, Plan, Reads
from guard.app.readings import Readings
from guard.app.standings import Standings
from guard.core.checkpoint import cosignature_times
from guard.core.decision import Deny
from guard.core.note import parse_note
from guard.core.reasons import Reason, Refused
from guard.core.record import Record, RecordKind
from guard.core.trust import TrustedPolicy, TrustPolicy

__all__ = ["Office", "Rule"]

T = TypeVar("T")
Rule = Callable[[Reads, int, datetime], Plan[T]]


@dataclass(slots=True, kw_only=True)
class Office:
    """The ports, the trust policy in force, and who this guard is.

    ``trusted`` is replaced when a newer policy is published, and by nothing else. ``due`` is set
    when an authority has changed: something may have to begin or to end.
    """

    ledger: Ledger
    clock: Clock
    entropy: Entropy
    signer: Signer = field(repr=False)
    trusted: TrustedPolicy
    bell: Bell = field(default_factory=Bell)
    readings: Readings = field(default_factory=Readings)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    standings: Standings = field(default_factory=Standings)

    @property
    def policy(self) -> TrustPolicy:
        """The trust policy in force, which may have expired: for reading, not for permitting."""
        return self.trusted.policy

    def require_policy(self, now: datetime) -> TrustPolicy:
        """Return the trust policy if something may be permitted under it (rule 3)."""
        policy = self.policy
        policy.require_unexpired(now)
        latest = self.ledger.latest
        if latest is not None and now < latest - policy.clock_tolerance:
            raise Refused(Reason.CLOCK_IN_DOUBT, "the guard's clock is behind its own log")
        if self.signer.public_key.keyid not in policy.guard_keys:
            raise Refused(Reason.GRANT_UNTRUSTED, "the trust policy does not name this guard")
        return policy

    def witnessed_now(self, view: Reads, now: datetime) -> datetime | None:
        """Return the time, but none later than a quorum of witnesses has vouched for (rule 4)."""
        checkpoint = view.cosigned_checkpoint()
        if checkpoint is None:
            return None
        times = cosignature_times(parse_note(checkpoint), self.policy.log)
        vouched = self.policy.log.met_since(times)
        return None if vouched is None else min(now, vouched)

    def record(self, kind: RecordKind, now: datetime, body: Mapping[str, Any]) -> Record:
        """Make a record with a new salt."""
        return Record(kind=kind, time=now, body=body, salt=self.entropy.new_salt())

    async def execute(self, plan: Callable[[Reads, int], Plan[T]]) -> T:
        """Run a plan and wake whoever waits for the nodes and captures that it changed."""
        touched: set[str] = set()
        authorities: set[str] = set()

        def watched(view: Reads, index: int) -> Plan[T]:
            made = plan(view, index)
            if puts := noted(view, index, made.records):  # Rule 6.
                made = replace(made, changes=(*made.changes, *puts))
            for change in made.changes:
                if isinstance(change, PutCapture):
                    touched.update((change.row.node, change.row.id))
                elif isinstance(change, PutAuthority):
                    authorities.add(change.row.id)
                elif isinstance(change, PutIncident):
                    touched.add(NOTICES)
            return made

        result = await self.ledger.execute(watched)
        self.bell.ring(touched)
        if authorities:
            self.due.set()
        return result

    async def decide(
        self,
        rule: Rule[T],
        about: Mapping[str, Any],
        *,
        denial: RecordKind = RecordKind.REQUEST_DENIED,
    ) -> T:
        """Run a rule; a refusal is recorded with ``about`` and raised as `Denied` (rule 2)."""

        def plan(view: Reads, index: int) -> Plan[T | Deny]:
            now = self.clock.now()
            try:
                return rule(view, index, now)
            except Refused as refused:
                deny = Deny(reason=refused.reason, sentence=refused.detail)
                body = {**about, "reason": str(deny.reason), "sentence": deny.sentence}
                return Plan(result=deny, records=(self.record(denial, now, body),))

        outcome = await self.execute(plan)
        if isinstance(outcome, Deny):
            raise Denied(outcome)
        return outcome
