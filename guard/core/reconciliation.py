"""Reconciliation: holds what nodes state against what was granted, record by record.

Fed with every record of the log in order, it knows at any time what does not meet:

1. A grant that has begun and that its node has neither armed nor refused nor ended.
2. A grant that a node says is armed there and that is not granted there: the log does not hold it,
   it is another node's, or it was over for longer than its lease and what clocks may differ. What
   counts is when the node said so, for a node that was cut off delivers late. A node that has
   sealed a segment of another node's grant says so too.
3. A segment that a node has sealed and the guard has not got, while the node is there. If it is
   not, that is the finding. Segments come in order: one that waits behind others which keep coming
   is not late, one that was passed over is. Sealed again, it has waited since the first time.
4. A chain of receipts that does not continue. It stays found until the trust policy names the node
   no more: a node that has lost its memory needs a new name.
5. A node of the trust policy that has not been heard of for too long.
6. A record that cannot be read: what it was about is followed no more.
7. A node that is not to be trusted any more: `untrusted` says when.

Nobody is found silent or late by a guard that was not there itself (`listen_from`). What is on
record as found stays found until it is over, and what was over before it could be put on record is
found all the same. An erased record says nothing, and nothing is found for want of it. Signatures
are not checked here: the guard took receipts in under them, and auditors check them again.

Only what is open is kept: grants that may still be armed, segments on their way, one place for each
node's chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from guard.core import envelope as dsse
from guard.core import facts
from guard.core.facts import RECEIPT_RECORDS, Fact, ReceiptTaken, read_fact
from guard.core.findings import Finding, FindingKind
from guard.core.outstanding import (
    ARMING,
    DELIVERING,
    LONG_AGO,
    LONGEST_GRANT,
    NodeBook,
    OpenGrant,
    OpenSegment,
)
from guard.core.policycodec import parse_policy
from guard.core.reasons import Refused
from guard.core.receipt import AT_START, Receipt, ReceiptKind
from guard.core.record import Record, RecordKind
from guard.core.untrusted import NodeStanding, SentryBook

__all__ = ["Reconciliation"]

_OVER: Final = frozenset({ReceiptKind.DISARMED, ReceiptKind.REFUSED})


class Reconciliation:
    """See the module's docstring. ``apply`` every record in order, then ask for ``findings``."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeBook] = {}
        self._grants: dict[str, OpenGrant] = {}
        self._segments: dict[tuple[str, int], OpenSegment] = {}
        self._early: set[tuple[str, int]] = set()
        self._events: dict[str, Finding] = {}
        self._past: set[str] = set()
        self._recorded: dict[str, str] = {}
        self._from = LONG_AGO
        self._erased_receipt = -1
        self._erased_grant: datetime | None = None

    # -- what happened -------------------------------------------------------------------------

    def listen_from(self, now: datetime) -> None:
        """Say that the guard has taken receipts and segments without a pause only since then."""
        self._from = now

    def sentry(self, node: str) -> SentryBook | None:
        """Return what is known of a node's sentry, to ask it a challenge; None: nothing yet."""
        return self._nodes[node].sentry if node in self._nodes else None

    def apply(self, index: int, record: Record) -> None:
        """Take in the record at ``index``; one that cannot be read is a finding itself (rule 6)."""
        try:
            fact = read_fact(index, record)
        except Refused:
            self.unreadable(index, record.time)
            return
        if fact is not None:
            self.apply_fact(fact)

    def apply_fact(self, fact: Fact) -> None:
        """Take in what a record says that was read already."""
        try:
            self._apply(fact)
        except Refused:
            self.unreadable(fact.index, fact.time)

    def unreadable(self, index: int, time: datetime) -> None:
        """Take note that the record at ``index`` cannot be read (rule 6)."""
        detail = f"record {index} cannot be read, so what it was about is not followed"
        self._found(
            Finding(kind=FindingKind.RECORD_UNREADABLE, since=time, number=index, detail=detail)
        )

    def erased(self, index: int, kind: str, time: datetime) -> None:
        """Take note that the record at ``index`` is there no more."""
        if kind in RECEIPT_RECORDS:
            self._erased_receipt = index
        elif kind == RecordKind.CAPTURE_GRANTED:
            self._erased_grant = time
        elif kind == RecordKind.SEGMENT_STORED:
            for segment in self._segments.values():
                segment.unsure = True

    def _apply(self, fact: Fact) -> None:
        match fact:
            case facts.PolicyChanged():
                self._policy(fact)
            case facts.Granted():
                self._grants[fact.grant_id] = OpenGrant(made=fact)
            case facts.Stopped():
                self._end(fact.grant_id, fact.time)
            case ReceiptTaken():
                self._receipt(fact)
            case facts.SegmentStored():
                self._stored(fact)
            case facts.FindingMade(key=key, what=what):
                self._recorded[key] = what
                self._doubt(key, fact.time)
                if key in self._past:
                    self._past.discard(key)
                    self._events.pop(key, None)
            case facts.FindingClosed(key=key):
                self._recorded.pop(key, None)
                self._doubt(key, None)
            case _:
                pass

    def _policy(self, fact: facts.PolicyChanged) -> None:
        policy = parse_policy(dsse.parse(fact.envelope, dsse.Kind.TRUST_POLICY).payload)
        named = {node.name for node in policy.nodes}
        for identity in policy.nodes:
            node = self._nodes.setdefault(identity.name, NodeBook())
            node.named = node.named or fact.time
            node.sentry.wanted = identity.sentry
        for name, node in self._nodes.items():
            if name not in named and node.named is not None:
                node.named = None
                self._over(f"{FindingKind.CHAIN_BROKEN}:{name}")  # Rule 4.

    def _doubt(self, key: str, since: datetime | None) -> None:
        """Take note that a node is on record as not trusted, or no more."""
        kind, _, name = key.partition(":")
        if kind == FindingKind.NODE_UNTRUSTED and name in self._nodes:
            self._nodes[name].sentry.doubted = since

    def _end(self, grant_id: str, at: datetime) -> None:
        grant = self._grants.get(grant_id)
        if grant is not None and grant.over is None:
            grant.over = at

    # -- receipts ------------------------------------------------------------------------------

    def _receipt(self, fact: ReceiptTaken) -> None:
        receipt = fact.receipt
        node = self._nodes.setdefault(receipt.node, NodeBook())
        self._link(node, fact)
        if not node.is_here(fact.time):
            node.back = fact.time
        node.heard = fact.time
        # Nothing was said later than it was heard, whatever the node's clock shows.
        said = min(receipt.time, fact.time)
        match receipt.kind:
            case ReceiptKind.HEARTBEAT:
                self._heartbeat(node, receipt, said)
                self._forget(receipt.node, said)
            case ReceiptKind.ARMED:
                self._claim(node, receipt.node, str(receipt.grant_id), said)
            case ReceiptKind.SEALED:
                self._sealed(fact, said)
            case kind if kind in _OVER:
                self._ended(node, fact)
            case _:
                pass

    def _link(self, node: NodeBook, fact: ReceiptTaken) -> None:
        """Hold a receipt against the one before it (rule 4)."""
        receipt = fact.receipt
        continues = (receipt.sequence, receipt.previous) == (node.sequence + 1, node.digest)
        erased = self._erased_receipt > node.index and receipt.sequence > node.sequence
        if not continues and not erased:
            detail = (
                f"receipt {receipt.sequence} of {receipt.node} does not continue its chain, "
                f"which stood at {node.sequence}"
            )
            self._found(
                Finding(
                    kind=FindingKind.CHAIN_BROKEN,
                    since=fact.time,
                    node=receipt.node,
                    number=receipt.sequence,
                    detail=detail,
                )
            )
        node.index, node.sequence, node.digest = fact.index, receipt.sequence, fact.digest

    def _heartbeat(self, node: NodeBook, receipt: Receipt, said: datetime) -> None:
        node.every = timedelta(seconds=int(receipt.details["every"]))
        if receipt.health is not None and node.heard is not None and receipt.details["part"] == 1:
            start = receipt.details.get("at") == AT_START
            node.sentry.hear(receipt.health, start=start, at=node.heard)
        for grant_id in receipt.armed:
            self._claim(node, receipt.node, grant_id, said)
        if receipt.details["part"] == 1:
            node.parts = []
        if node.parts is not None:
            node.parts += receipt.armed
        if receipt.details["part"] == receipt.details["parts"] and node.parts is not None:
            if len(node.parts) == receipt.details["armed"]:
                for grant_id in node.claims - set(node.parts):
                    self._unclaim(node, receipt.node, grant_id)
            node.parts = None

    def _claim(self, node: NodeBook, name: str, grant_id: str, said: datetime) -> None:
        """Take in that a node says that a grant is armed there (rule 2)."""
        grant = self._grants.get(grant_id)
        if grant is not None and grant.made.node == name:
            grant.answered = True
            if grant.covers(said):
                return
        elif grant is None and self._may_be_erased(said):
            return
        if grant is None:
            why = "the log holds no such grant that could still be armed"
        elif grant.made.node != name:
            why = f"it is granted to {grant.made.node}"
        else:
            why = "it was not in force then"
        node.claims.add(grant_id)
        self._found(
            Finding(
                kind=FindingKind.ARMED_NOT_GRANTED,
                since=said,
                node=name,
                grant_id=grant_id,
                authority_id=grant.made.authority_id if grant else None,
                detail=f"{name} says that grant {grant_id} is armed, but {why}",
            )
        )

    def _may_be_erased(self, said: datetime) -> bool:
        return self._erased_grant is not None and said <= self._erased_grant + LONGEST_GRANT

    def _unclaim(self, node: NodeBook, name: str, grant_id: str) -> None:
        node.claims.discard(grant_id)
        self._over(f"{FindingKind.ARMED_NOT_GRANTED}:{name}:{grant_id}")

    def _ended(self, node: NodeBook, fact: ReceiptTaken) -> None:
        name, grant_id = fact.receipt.node, str(fact.receipt.grant_id)
        if grant_id in node.claims:
            self._unclaim(node, name, grant_id)
        grant = self._grants.get(grant_id)
        if grant is not None and grant.made.node == name:
            grant.answered = True
            self._end(grant_id, fact.time)

    def _sealed(self, fact: ReceiptTaken, said: datetime) -> None:
        receipt = fact.receipt
        grant_id, number = str(receipt.grant_id), int(receipt.details["number"])
        grant = self._grants.get(grant_id)
        if grant is not None and grant.made.node != receipt.node:
            self._claim(self._nodes[receipt.node], receipt.node, grant_id, said)
            return
        if (grant_id, number) in self._early:
            self._early.discard((grant_id, number))
            return
        segment = OpenSegment(
            index=fact.index,
            finding=Finding(
                kind=FindingKind.SEALED_NOT_RECEIVED,
                since=fact.time,
                node=receipt.node,
                grant_id=grant_id,
                authority_id=grant.made.authority_id if grant else None,
                number=number,
                detail=f"{receipt.node} has sealed segment {number} of grant {grant_id}, "
                "and the guard has not got it",
            ),
        )
        self._segments.setdefault((grant_id, number), segment)

    def _stored(self, fact: facts.SegmentStored) -> None:
        key = (fact.grant_id, fact.number)
        segment = self._segments.pop(key, None)
        if segment is not None:
            node = self._nodes[str(segment.finding.node)]
            node.delivered, node.passed = fact.time, max(node.passed, segment.index)
        elif fact.grant_id in self._grants:
            self._early.add(key)  # Its receipt is still on the way.

    def _forget(self, name: str, said: datetime) -> None:
        """Forget the node's grants about which it has nothing more to say."""
        passed = [
            grant_id
            for grant_id, grant in self._grants.items()
            if grant.made.node == name and grant.last_moment() < said
        ]
        for grant_id in passed:
            del self._grants[grant_id]
        if passed:
            self._early = {key for key in self._early if key[0] in self._grants}

    # -- findings ------------------------------------------------------------------------------

    def _found(self, finding: Finding) -> None:
        """Keep something that happened, once, until it is over."""
        self._past.discard(finding.key)
        self._events.setdefault(finding.key, finding)

    def _over(self, key: str) -> None:
        """End what happened; not before it is on record."""
        if key in self._recorded:
            self._events.pop(key, None)
        elif key in self._events:
            self._past.add(key)

    def findings(self, now: datetime) -> list[Finding]:
        """Return what is open at ``now``, oldest first."""
        late = (*self._unarmed(now), *self._unreceived(now), *self._silent(now))
        every = (*self._events.values(), *late, *self._untrusted(now))
        found = {each.key: each for each in every}
        return sorted(found.values(), key=lambda each: (each.since, each.key))

    def news(self, now: datetime) -> tuple[list[Finding], dict[str, str]]:
        """Return what is to be put on record: new findings, and key and kind of those over."""
        found = {each.key: each for each in self.findings(now)}
        made = [each for key, each in found.items() if key not in self._recorded]
        return made, {key: what for key, what in self._recorded.items() if key not in found}

    def standings(self, now: datetime) -> dict[str, NodeStanding]:
        """Return how each node of the trust policy stands at ``now``."""
        silent = {each.node: each.since for each in self._silent(now)}
        return {
            name: node.standing(now, silent=silent.get(name), since=self._from)
            for name, node in self._nodes.items()
            if node.named is not None
        }

    def _untrusted(self, now: datetime) -> Iterator[Finding]:
        for name, standing in self.standings(now).items():
            if standing.flaw is not None:
                yield standing.flaw.finding(name)

    def _unarmed(self, now: datetime) -> Iterator[Finding]:
        for grant_id, grant in self._grants.items():
            if grant.answered or grant.ended(now):
                continue
            begun = max(grant.made.not_before, grant.made.time)
            finding = Finding(
                kind=FindingKind.GRANTED_NOT_ARMED,
                since=begun,
                node=grant.made.node,
                grant_id=grant_id,
                authority_id=grant.made.authority_id,
                detail=f"{grant.made.node} has neither armed nor refused grant {grant_id}",
            )
            if finding.key in self._recorded or now - max(begun, self._from) >= ARMING:
                yield finding

    def _unreceived(self, now: datetime) -> Iterator[Finding]:
        for segment in self._segments.values():
            finding = segment.finding
            late = not segment.unsure and self._is_late(segment, now)
            if late or finding.key in self._recorded:
                yield finding

    def _is_late(self, segment: OpenSegment, now: datetime) -> bool:
        """Say whether a segment should be here by now (rule 3)."""
        node = self._nodes[str(segment.finding.node)]
        waiting_since = max(segment.finding.since, node.back, self._from)
        if segment.index > node.passed:
            waiting_since = max(waiting_since, node.delivered)
        return node.is_here(now) and now - waiting_since >= DELIVERING

    def _silent(self, now: datetime) -> Iterator[Finding]:
        for name, node in self._nodes.items():
            if node.named is None:
                continue
            last = max(node.named, node.heard or LONG_AGO)
            heard = "since its last receipt" if node.heard else "since the trust policy named it"
            finding = Finding(
                kind=FindingKind.NODE_SILENT,
                since=last,
                node=name,
                detail=f"nothing has been heard of {name} {heard}",
            )
            if self._is_silent(node, finding, now):
                yield finding

    def _is_silent(self, node: NodeBook, finding: Finding, now: datetime) -> bool:
        if finding.key in self._recorded and not node.is_here(now):
            return True
        return now - max(finding.since, self._from) >= node.patience()
