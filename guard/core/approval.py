"""Whether an authority is approved: the signatures against the rule of its instrument.

1. Every signature on the envelope is by a person's key of the trust policy and verifies; one that
   does not refuses the whole. Keys of guards, nodes and roots are nobody's here.
2. Every key is inside its window now: a signature is worth what its key is worth when it is used.
3. People count, not keys: one person with two keys is refused, not counted once.
4. The registrant named in the text has signed and holds the instrument's registrant role; every
   other signer holds its approver role.
5. The level and the length of the window are within the rule; the nodes are in the trust policy; no
   recipient is a node, since who captures must not be able to read.
6. An emergency under one signature is provisional: its window ends 48 hours after it began.

The result, ``ApprovedAuthority``, is made only here.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final

from guard.core import envelope as dsse
from guard.core.authority import Authority, parse_authority
from guard.core.identities import Principal
from guard.core.instruments import EMERGENCY_UNSIGNED, Instrument, InstrumentRule
from guard.core.policy import TrustPolicy
from guard.core.reasons import Reason, Refused
from guard.core.window import Window


class _MadeByApproval:
    """Only this module has the instance that makes an ``ApprovedAuthority``."""


_TOKEN: Final = _MadeByApproval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """An authority whose signatures so far are good, perhaps not enough of them.

    ``digest`` names the envelope as it is; ``missing`` says in words which signatures are still to
    come and is empty when none is.
    """

    authority: Authority
    digest: str
    registrant: Principal
    approvers: tuple[Principal, ...]
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedAuthority:
    """An authority in force.

    ``window`` is the effective one, ``signers`` begin with the registrant, ``provisional`` marks
    an emergency under one signature.
    """

    authority: Authority
    digest: str
    window: Window
    signers: tuple[str, ...]
    provisional: bool
    token: InitVar[_MadeByApproval]

    def __post_init__(self, token: _MadeByApproval) -> None:
        if token is not _TOKEN:
            raise TypeError("only require_approved makes an approved authority")

    def require_active(self, now: datetime) -> None:
        """Refuse as NOT_YET_VALID or EXPIRED when now is outside the effective window."""
        self.window.require_active(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAuthority:
    """An authority's text and whose keys signed it, under one trust policy: rules 1 and 5.

    It holds nothing that time can change, so it may be kept for as long as the policy is in force;
    keys' windows and the rest are looked at whenever it is used. Only ``read_signed`` makes one.
    """

    authority: Authority
    digest: str
    keyids: frozenset[str]
    policy: TrustPolicy = field(repr=False)
    token: InitVar[_MadeByApproval]

    def __post_init__(self, token: _MadeByApproval) -> None:
        if token is not _TOKEN:
            raise TypeError("only read_signed makes a signed authority")


def read_signed(envelope: bytes, policy: TrustPolicy) -> SignedAuthority:
    """Take an authority's envelope apart and check what no time changes (rules 1 and 5).

    Raises ``Refused``: what ``parse_authority`` raises, INSTRUMENT_UNKNOWN, SIGNATURE_INVALID,
    WINDOW_TOO_LONG, LEVEL_NOT_PERMITTED, NODE_UNKNOWN, RECIPIENT_NOT_PERMITTED.
    """
    parsed = dsse.parse(envelope, dsse.Kind.AUTHORITY)
    authority = parse_authority(parsed.payload)
    rule = policy.rule(authority.instrument)
    keyids = dsse.verified_keyids(parsed, policy.people_keys)
    _require_within(authority, rule, policy)
    return SignedAuthority(
        authority=authority,
        digest=dsse.digest(envelope),
        keyids=keyids,
        policy=policy,
        token=_TOKEN,
    )


def inspect(envelope: bytes | SignedAuthority, policy: TrustPolicy, *, now: datetime) -> Inspection:
    """Check everything about an authority but that enough people have signed it.

    Raises ``Refused``: what ``parse_authority`` raises, SIGNATURE_INVALID, SIGNER_KEY_NOT_VALID,
    SIGNER_NOT_DISTINCT, SIGNER_ROLE_WRONG, APPROVALS_MISSING (the registrant's own signature),
    WINDOW_TOO_LONG, LEVEL_NOT_PERMITTED, NODE_UNKNOWN, RECIPIENT_NOT_PERMITTED.
    """
    signed = _signed(envelope, policy)
    authority = signed.authority
    rule = policy.rule(authority.instrument)
    people = _signers(signed.keyids, policy, now)
    registrant, approvers = _sides(authority, rule, people, policy)
    return Inspection(
        authority=authority,
        digest=signed.digest,
        registrant=registrant,
        approvers=approvers,
        missing=_missing(authority, rule, len(approvers)),
    )


def require_approved(
    envelope: bytes | SignedAuthority, policy: TrustPolicy, *, now: datetime
) -> ApprovedAuthority:
    """Return the authority if everybody has signed whom its instrument demands.

    Raises ``Refused`` as ``inspect`` does, and APPROVALS_MISSING.
    """
    inspection = inspect(envelope, policy, now=now)
    authority, approvers = inspection.authority, inspection.approvers
    if len(approvers) < policy.rule(authority.instrument).approvals:
        raise Refused(Reason.APPROVALS_MISSING, f"still missing: {inspection.missing}")
    provisional = authority.instrument is Instrument.EMERGENCY and not approvers
    window = authority.window
    return ApprovedAuthority(
        authority=authority,
        digest=inspection.digest,
        window=window.cut(EMERGENCY_UNSIGNED) if provisional else window,
        signers=(inspection.registrant.name, *(each.name for each in approvers)),
        provisional=provisional,
        token=_TOKEN,
    )


def _signed(envelope: bytes | SignedAuthority, policy: TrustPolicy) -> SignedAuthority:
    if isinstance(envelope, bytes):
        return read_signed(envelope, policy)
    if envelope.policy is not policy:
        raise ValueError("a signed authority was read under another trust policy")
    return envelope


def _signers(keyids: frozenset[str], policy: TrustPolicy, now: datetime) -> list[Principal]:
    people: list[Principal] = []
    for keyid in sorted(keyids):
        person, key = policy.principal_by_keyid(keyid), policy.signing_key(keyid)
        if person is None or key is None:
            raise Refused(Reason.SIGNATURE_INVALID, "a signature is by nobody in the policy")
        if not key.valid.contains(now):  # Rule 2.
            raise Refused(Reason.SIGNER_KEY_NOT_VALID, f"the key of {person.name} is not valid now")
        if person in people:  # Rule 3.
            raise Refused(Reason.SIGNER_NOT_DISTINCT, f"{person.name} signed with two keys")
        people.append(person)
    return people


def _sides(
    authority: Authority, rule: InstrumentRule, people: list[Principal], policy: TrustPolicy
) -> tuple[Principal, tuple[Principal, ...]]:
    """Tell the registrant from the approvers (4)."""
    registrant = policy.principal(authority.registrant)
    if registrant is None or rule.registrant not in registrant.roles:
        raise Refused(
            Reason.SIGNER_ROLE_WRONG,
            f"{authority.registrant} does not hold the role {rule.registrant}",
        )
    if registrant not in people:
        raise Refused(Reason.APPROVALS_MISSING, f"{registrant.name} has not signed")
    approvers = tuple(person for person in people if person is not registrant)
    for person in approvers:
        if rule.approver not in person.roles:
            raise Refused(
                Reason.SIGNER_ROLE_WRONG, f"{person.name} does not hold the role {rule.approver}"
            )
    return registrant, approvers


def _require_within(authority: Authority, rule: InstrumentRule, policy: TrustPolicy) -> None:
    """Hold the text against the rule and the trust policy (5)."""
    if authority.window.length > rule.longest:
        raise Refused(
            Reason.WINDOW_TOO_LONG, f"the window is longer than {rule.longest} allowed here"
        )
    if authority.level not in rule.levels:
        raise Refused(
            Reason.LEVEL_NOT_PERMITTED, f"a {authority.instrument} may not be {authority.level}"
        )
    for name in authority.nodes:
        if policy.node(name) is None:
            raise Refused(Reason.NODE_UNKNOWN, f"{name} is not a node of the trust policy")
    if {node.recipient for node in policy.nodes} & set(authority.recipients):
        raise Refused(Reason.RECIPIENT_NOT_PERMITTED, "a node may not be a recipient")


def _missing(authority: Authority, rule: InstrumentRule, signed: int) -> str:
    # An emergency wants its second person even where it may begin without.
    wanted = max(rule.approvals, 1) - signed
    if wanted <= 0:
        return ""
    words = f"{wanted} more signature{'s' if wanted > 1 else ''} by {rule.approver}"
    if authority.instrument is Instrument.EMERGENCY and rule.approvals == 0:
        return f"{words} within 48 hours of its beginning"
    return words
