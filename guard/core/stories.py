"""What the log tells of one authority and of one capture, collected from its records.

1. An authority's envelope is followed signature by signature: each record names the digest that the
   envelope has after it, and a grant names the one that it was made under.
2. An authority ends with its window. An emergency under one signature ends 48 hours after it
   began, unless a second person's valid signature is on record before that.
3. A grant is held against its authority as the guard and the node must: signatures and rule under
   the trust policy in force at that record, window, node, level, lease, requester.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from guard.core import envelope as dsse
from guard.core.answers import Discrepancy, DiscrepancyKind
from guard.core.approval import ApprovedAuthority, inspect, require_approved
from guard.core.authority import Authority, parse_authority
from guard.core.chains import Statement
from guard.core.facts import (
    AuthorityApproved,
    AuthorityExpired,
    AuthorityRegistered,
    AuthorityRevoked,
    Fact,
    Granted,
    SegmentStored,
    Stopped,
)
from guard.core.fields import format_time
from guard.core.instruments import EMERGENCY_UNSIGNED, Instrument, requester
from guard.core.policy import TrustPolicy
from guard.core.reasons import Reason, Refused
from guard.core.window import Window

__all__ = ["AuthorityStory", "CaptureStory", "Signer", "check_grant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed an authority, with the roles that the trust policy gave them then."""

    name: str
    roles: tuple[str, ...]


@dataclass(slots=True)
class AuthorityStory:
    """One authority. ``authority`` is None when its envelope says nothing that can be read."""

    registered: AuthorityRegistered
    envelope: bytes = field(repr=False)
    authority: Authority | None = None
    confirmed: bool = False
    revoked: AuthorityRevoked | None = None
    expired: AuthorityExpired | None = None
    flaws: list[Discrepancy] = field(default_factory=list)

    @classmethod
    def begin(cls, fact: AuthorityRegistered, policy: TrustPolicy | None) -> AuthorityStory:
        """Begin with its registration."""
        story = cls(registered=fact, envelope=fact.envelope)
        try:
            parsed = dsse.parse(fact.envelope, dsse.Kind.AUTHORITY)
            story.authority = parse_authority(parsed.payload)
        except Refused as refused:
            story._flaw(fact, refused.detail)
            return story
        if story.authority.id != fact.authority_id:
            story._flaw(fact, "its record gives it another id")
        story._inspect(fact, fact.digest, policy)
        return story

    def approve(self, fact: AuthorityApproved, policy: TrustPolicy | None) -> None:
        """Take in a further signature (rule 1)."""
        try:
            envelope = dsse.parse(self.envelope, dsse.Kind.AUTHORITY)
            self.envelope = dsse.encode(dsse.with_signature(envelope, fact.signature))
        except Refused as refused:
            self._flaw(fact, refused.detail)
            return
        self._inspect(fact, fact.digest, policy)

    @property
    def window(self) -> Window | None:
        """The window in which it was in force (rule 2)."""
        if self.authority is None:
            return None
        window = self.authority.window
        unsigned = self.authority.instrument is Instrument.EMERGENCY and not self.confirmed
        return window.cut(EMERGENCY_UNSIGNED) if unsigned else window

    def _inspect(
        self,
        fact: AuthorityRegistered | AuthorityApproved,
        digest: str,
        policy: TrustPolicy | None,
    ) -> None:
        if dsse.digest(self.envelope) != digest:
            self._flaw(fact, "its record names another envelope", DiscrepancyKind.AUTHORITY_DIFFERS)
        try:
            found = inspect(self.envelope, _required(policy), now=fact.time)
        except Refused as refused:
            self._flaw(fact, refused.detail)
            return
        window = self.window
        if window is not None and fact.time < window.not_after:
            self.confirmed = bool(found.approvers)

    def _flaw(
        self,
        fact: Fact,
        why: str,
        kind: DiscrepancyKind = DiscrepancyKind.AUTHORITY_NOT_APPROVED,
    ) -> None:
        sentence = f"authority {self.registered.authority_id} is not what it should be: {why}"
        self.flaws.append(Discrepancy(kind=kind, sentence=sentence, index=fact.index))


@dataclass(slots=True)
class CaptureStory:
    """One capture: its grant, if the log holds one, and everything said of it.

    ``statements`` are receipts that count, ``listings`` heartbeats that name it, ``found`` what was
    found as the records came; ``tolerance`` is how far clocks may differ.
    """

    grant_id: str
    granted: Granted | None = None
    authority: AuthorityStory | None = None
    approved: ApprovedAuthority | None = None
    signers: tuple[Signer, ...] = ()
    tolerance: timedelta = timedelta(0)
    stops: list[Stopped] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    listings: list[Statement] = field(default_factory=list)
    stored: list[SegmentStored] = field(default_factory=list)
    found: list[Discrepancy] = field(default_factory=list)

    def grant(
        self,
        fact: Granted,
        authority: AuthorityStory | None,
        policy: TrustPolicy | None,
        *,
        erased: bool,
    ) -> None:
        """Take in the grant and hold it against its authority (rule 3).

        ``erased``: authorities are erased from the log, perhaps this one.
        """
        if self.granted is not None:
            kind = DiscrepancyKind.GRANT_TWICE
            self._found(kind, f"grant {fact.grant_id} is granted twice", fact.index)
            return
        self.granted, self.authority = fact, authority
        if policy is not None:
            self.tolerance = policy.clock_tolerance
        if authority is None and erased:
            sentence = f"grant {fact.grant_id}: its authority may be erased"
            self._found(DiscrepancyKind.RECORDS_ERASED, sentence, fact.index)
            return
        for kind, why in check_grant(fact, authority, policy):
            self._found(kind, f"grant {fact.grant_id}: {why}", fact.index)
        if authority is not None and policy is not None:
            self._approve(fact, authority, policy)

    def _approve(self, fact: Granted, story: AuthorityStory, policy: TrustPolicy) -> None:
        try:
            self.approved = require_approved(story.envelope, policy, now=fact.time)
        except Refused:
            return  # It is among what was found.
        people = (policy.principal(name) for name in self.approved.signers)
        self.signers = tuple(
            Signer(name=each.name, roles=tuple(sorted(each.roles))) for each in people if each
        )

    def _found(self, kind: DiscrepancyKind, sentence: str, index: int) -> None:
        self.found.append(Discrepancy(kind=kind, sentence=sentence, index=index))


def check_grant(
    granted: Granted, story: AuthorityStory | None, policy: TrustPolicy | None
) -> Iterator[tuple[DiscrepancyKind, str]]:
    """Yield what of a grant its authority does not bear (rule 3)."""
    if story is None:
        yield DiscrepancyKind.AUTHORITY_UNKNOWN, "the log holds no authority of its id"
        return
    yield from _check_in_force(granted, story)
    if dsse.digest(story.envelope) != granted.authority_digest:
        yield DiscrepancyKind.AUTHORITY_DIFFERS, "it names another envelope than the log holds"
    try:
        required = _required(policy)
        required.require_unexpired(granted.time)
        approved = require_approved(story.envelope, required, now=granted.time)
    except Refused as refused:
        yield DiscrepancyKind.AUTHORITY_NOT_APPROVED, refused.detail
        return
    if (granted.signers, granted.provisional) != (approved.signers, approved.provisional):
        yield DiscrepancyKind.AUTHORITY_DIFFERS, "its record names other signers"
    yield from _check_scope(granted, approved, required)


def _check_in_force(
    granted: Granted, story: AuthorityStory
) -> Iterator[tuple[DiscrepancyKind, str]]:
    ended = DiscrepancyKind.AUTHORITY_ENDED
    window = story.window
    if story.revoked is not None:
        yield ended, f"its authority was revoked at {format_time(story.revoked.time)}"
    elif story.expired is not None or (window and granted.time >= window.not_after):
        yield ended, "its authority was over"
    elif window and granted.time < window.not_before:
        yield DiscrepancyKind.GRANT_BEYOND_AUTHORITY, "its authority had not begun"


def _check_scope(
    granted: Granted, approved: ApprovedAuthority, policy: TrustPolicy
) -> Iterator[tuple[DiscrepancyKind, str]]:
    authority, beyond = approved.authority, DiscrepancyKind.GRANT_BEYOND_AUTHORITY
    rule = policy.rule(authority.instrument)
    if granted.node not in authority.nodes:
        yield DiscrepancyKind.NODE_NOT_NAMED, f"its authority does not name {granted.node}"
    if granted.level > authority.level or granted.level not in rule.levels:
        yield beyond, f"its authority does not reach to {granted.level}"
    within = (
        approved.window.not_before <= granted.not_before < granted.not_after
        and granted.not_after <= approved.window.not_after
    )
    if not within or granted.lease > rule.lease:
        yield beyond, "its time or lease is longer than its authority's"
    principal = policy.principal(granted.principal)
    if principal is None or requester(authority.instrument) not in principal.roles:
        yield DiscrepancyKind.REQUESTER_WRONG, f"{granted.principal} may not request it"


def _required(policy: TrustPolicy | None) -> TrustPolicy:
    if policy is None:
        raise Refused(Reason.TRUST_POLICY_UNTRUSTED, "no trust policy was in force")
    return policy
