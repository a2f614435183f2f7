"""What one connected node is to be told: the desired state, and longer leases.

1. The desired state travels as revision and delta. A revision is an index of the log; a delta holds
   what changed for this node after the revision that the node holds.
2. A grant is offered once its evidence can be assembled; a word to stop never waits. While a grant
   waits, the revision told to the node stays below it, so that a session that breaks in between
   asks for it again. Being told twice to stop does no harm.
3. An offer is made once in a session. Its later changes of state come from the node itself. A
   delta holds about a megabyte at most; what is over that waits for the next, which follows.
4. A lease is renewed while the capture may run: it is granted or armed and inside its window, its
   authority's state and signatures are in force under the trust policy of now. Nothing else renews
   it, so that doubt about any of these ends the capture by itself.
5. A node that is not trusted is offered nothing and has no lease renewed until it is well again
   (`guard.core.untrusted`), nor one under an authority that demands more of it than it enforces. It
   is told to stop all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from guard.app.changes import AuthorityRow, CaptureRow
from guard.app.evidence import EvidenceDesk
from guard.app.office import Office
from guard.app.ports import Reads
from guard.core.approval import require_approved
from guard.core.evidence import Evidence
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.reasons import Reason, Refused

__all__ = ["Delta", "NodeFeed", "Withdrawal"]

_LIVE = frozenset({CaptureState.GRANTED, CaptureState.ARMED})
_IN_FORCE = frozenset({AuthorityState.PROVISIONAL, AuthorityState.APPROVED})
_MOST_BYTES = 1024 * 1024
_NOTHING_RUNS = 30
_WHY = {"revoked": Reason.REVOKED, "expired": Reason.EXPIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A grant to end; ``authority_id`` is set when the whole authority is revoked."""

    grant_id: str
    reason: Reason
    authority_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A change of the desired state, after which the node holds ``revision``."""

    revision: int
    offered: tuple[Evidence, ...]
    withdrawn: tuple[Withdrawal, ...]


@dataclass(slots=True)
class _Making:
    """A delta in the making; ``waiting`` are the revisions of grants that it cannot hold."""

    offered: list[Evidence] = field(default_factory=list)
    withdrawn: list[Withdrawal] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class NodeFeed:
    """The guard's side of one session's desired state; ``revision`` is the node's."""

    office: Office
    desk: EvidenceDesk
    node: str
    revision: int
    waiting: bool = False
    started: bool = False
    _told: dict[str, CaptureState] = field(default_factory=dict)

    def delta(self) -> Delta | None:
        """Return the next that the node has not been told, or None.

        ``waiting`` says that there are grants which cannot be told yet.
        """
        now = self.office.clock.now()
        made = _Making()
        with self.office.ledger.reads() as view:
            rows = view.changes(self.node, self.revision)
            for row in rows:
                if row.state in _LIVE and now < row.not_after:
                    self._offer(view, row, now, made)
                elif row.state is CaptureState.STOPPING:
                    self._withdraw(row, made)
        self.started, self.waiting = True, bool(made.waiting)
        first = min(made.waiting, default=None)
        settled = (row.revision for row in rows if first is None or row.revision < first)
        reached = max(settled, default=self.revision)
        if reached <= self.revision and not (made.offered or made.withdrawn):
            return None
        self.revision = max(reached, self.revision)
        return Delta(
            revision=self.revision,
            offered=tuple(made.offered),
            withdrawn=tuple(made.withdrawn),
        )

    def _offer(self, view: Reads, row: CaptureRow, now: datetime, made: _Making) -> None:
        if row.id in self._told:
            return
        evidence = None
        if made.size < _MOST_BYTES and self._trusted():
            evidence = self.desk.assemble(view, row, now)
        if evidence is None:
            made.waiting.append(row.revision)
            return
        self._told[row.id] = row.state
        made.offered.append(evidence)
        made.size += len(evidence.authority) + len(evidence.grant) + len(evidence.proof)

    def _withdraw(self, row: CaptureRow, made: _Making) -> None:
        if self._told.get(row.id) is CaptureState.STOPPING:
            return
        self._told[row.id] = CaptureState.STOPPING
        reason = _WHY.get(row.why, Reason.STATE_NOT_PERMITTED)
        authority_id = row.authority_id if reason is Reason.REVOKED else ""
        made.withdrawn.append(Withdrawal(grant_id=row.id, reason=reason, authority_id=authority_id))

    def renewals(self) -> tuple[list[str], float]:
        """Return the grants to renew now, and seconds until the next renewal is due (rule 4).

        The pause is a third of the shortest lease, so that two renewals may be lost, and a few
        seconds while nothing runs: with the leases a node hears the guard's time.
        """
        now = self.office.clock.now()
        renewed: list[str] = []
        leases: list[int] = []
        with self.office.ledger.reads() as view:
            for row in view.live_captures(node=self.node):
                if row.state in _LIVE and row.not_before <= now < row.not_after:
                    leases.append(row.lease_seconds)
                    if self._trusted() and self._in_force(view.authority(row.authority_id), now):
                        renewed.append(row.id)
        return renewed, min(leases, default=_NOTHING_RUNS) / 3

    def _trusted(self) -> bool:
        return self.office.standings.of(self.node).flaw is None

    def _in_force(self, row: AuthorityRow | None, now: datetime) -> bool:
        if row is None or row.state not in _IN_FORCE or now >= row.window_end:
            return False
        try:
            policy = self.office.require_policy(now)
            signed = self.office.readings.signed(row.envelope, policy)
            approved = require_approved(signed, policy, now=now)
            approved.require_active(now)
            enforced = self.office.standings.of(self.node).enforcement
            approved.authority.require_enforced(enforced, self.node)
        except Refused:
            return False
        return True
