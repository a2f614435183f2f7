"""History: what the records of the log show, believing only the roots pinned and the log's keys.

Fed with every record in order, it verifies as it goes, each under the trust policy that was in
force at that record:

1. Trust policies, by the roots, version by version (`guard.core.trust`). One that does not follow
   is a discrepancy and changes nothing.
2. Authorities and grants (`guard.core.stories`): people's signatures, the rule, the digests that
   tie a grant to its authority.
3. Receipts (`guard.core.chains`): the node's signature and its chain. Captures are tied to receipts
   by the id of their grant.

What it finds about a capture stays with that capture, what it finds about a node with that node;
``discrepancies`` holds the rest. The guard's own findings and incidents are not believed either.
Three questions are asked of it: `guard.core.interceptions`, `guard.core.ending` and
`guard.core.silence`. That the records are those of the log is for whoever feeds them to verify.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from guard.core import facts
from guard.core.answers import Discrepancy, DiscrepancyKind
from guard.core.chains import NodeChain
from guard.core.erasures import Erasures
from guard.core.facts import Fact, ReceiptTaken, read_fact
from guard.core.fields import parse_time
from guard.core.policy import TrustPolicy
from guard.core.reasons import Refused
from guard.core.receipt import ReceiptKind
from guard.core.record import Entry, Record
from guard.core.stories import AuthorityStory, CaptureStory
from guard.core.trust import PinnedRoots, TrustedPolicy, advance

__all__ = ["History"]

_CLOCKS = timedelta(seconds=5)  # Until a trust policy says how far they may differ.


class History:
    """See the module's docstring. ``apply`` or ``erased`` for every record, in order."""

    def __init__(self, roots: PinnedRoots) -> None:
        self.authorities: dict[str, AuthorityStory] = {}
        self.captures: dict[str, CaptureStory] = {}
        self.nodes: dict[str, NodeChain] = {}
        self.erasures = Erasures()
        self._trust: PinnedRoots | TrustedPolicy = roots
        self._found: list[Discrepancy] = []

    @property
    def policy(self) -> TrustPolicy | None:
        """The trust policy in force after the last record; None before the first policy."""
        return self._trust.policy if isinstance(self._trust, TrustedPolicy) else None

    @property
    def tolerance(self) -> timedelta:
        """How far clocks may differ."""
        return self.policy.clock_tolerance if self.policy else _CLOCKS

    @property
    def discrepancies(self) -> list[Discrepancy]:
        """What is about no capture and no node."""
        return [*self._found, *self.erasures.discrepancies()]

    def take(self, index: int, entry: Entry) -> None:
        """Take in an entry, erased or not; raises Refused for one that is not what it must be."""
        if entry.erased:
            self.erased(index, entry.kind, parse_time(entry.time))
        else:
            self.apply(index, entry.record())

    def apply(self, index: int, record: Record) -> None:
        """Take in the record at ``index``; one that cannot be read is a discrepancy."""
        try:
            self.erasures.kept(index, record)
            fact = read_fact(index, record)
        except Refused as refused:
            sentence = f"the {record.kind} at {index} cannot be read: {refused.detail}"
            self._say(DiscrepancyKind.RECORD_UNREADABLE, sentence, index)
            return
        if fact is not None:
            self._apply(fact)

    def erased(self, index: int, kind: str, time: datetime) -> None:
        """Take note that the record at ``index`` is erased."""
        self.erasures.erased(index, kind, time)

    def _apply(self, fact: Fact) -> None:
        match fact:
            case facts.PolicyChanged():
                self._changed(fact)
            case facts.AuthorityRegistered():
                self._registered(fact)
            case facts.AuthorityApproved() | facts.AuthorityRevoked() | facts.AuthorityExpired():
                self._moved(fact)
            case facts.Granted():
                self._granted(fact)
            case facts.Stopped():
                self._capture(fact.grant_id).stops.append(fact)
            case facts.SegmentStored():
                self._capture(fact.grant_id).stored.append(fact)
            case ReceiptTaken():
                self._receipt(fact)
            case _:
                pass

    def _changed(self, fact: facts.PolicyChanged) -> None:
        try:
            self._trust = advance(self._trust, [fact.envelope], now=fact.time)
        except Refused as refused:  # Rule 1.
            kind = DiscrepancyKind.TRUST_POLICY_UNTRUSTED
            self._say(kind, f"version {fact.version}: {refused.detail}", fact.index)

    def _registered(self, fact: facts.AuthorityRegistered) -> None:
        if fact.authority_id in self.authorities:
            sentence = f"authority {fact.authority_id} is registered a second time"
            self._say(DiscrepancyKind.AUTHORITY_DIFFERS, sentence, fact.index)
            return
        self.authorities[fact.authority_id] = AuthorityStory.begin(fact, self.policy)

    def _moved(
        self, fact: facts.AuthorityApproved | facts.AuthorityRevoked | facts.AuthorityExpired
    ) -> None:
        story = self.authorities.get(fact.authority_id)
        if story is None:
            if self.erasures.last_authority < 0:
                sentence = f"authority {fact.authority_id} was never registered"
                self._say(DiscrepancyKind.AUTHORITY_UNKNOWN, sentence, fact.index)
        elif isinstance(fact, facts.AuthorityApproved):
            story.approve(fact, self.policy)
        elif isinstance(fact, facts.AuthorityRevoked):
            story.revoked = story.revoked or fact
        else:
            story.expired = story.expired or fact

    def _granted(self, fact: facts.Granted) -> None:
        authority = self.authorities.get(fact.authority_id)
        erased = self.erasures.last_authority >= 0
        self._capture(fact.grant_id).grant(fact, authority, self.policy, erased=erased)

    def _receipt(self, fact: ReceiptTaken) -> None:
        name = fact.receipt.node
        chain = self.nodes.setdefault(name, NodeChain(name))
        made = chain.take(fact, self.policy, erased=self.erasures.last_receipt)
        about = made.armed if made.grant_id is None else (made.grant_id,)
        for capture in map(self._capture, about):
            if made.flaw is not None:
                capture.found.append(made.flaw)
            elif made.kind is ReceiptKind.HEARTBEAT:
                capture.listings.append(made)
            else:
                capture.statements.append(made)

    def _capture(self, grant_id: str) -> CaptureStory:
        if grant_id not in self.captures:
            self.captures[grant_id] = CaptureStory(grant_id, tolerance=self.tolerance)
        return self.captures[grant_id]

    def _say(self, kind: DiscrepancyKind, sentence: str, index: int) -> None:
        self._found.append(Discrepancy(kind=kind, sentence=sentence, index=index))
