"""Signing what somebody else registered.

1. What forbids a signature is asked before the person is, with the rules that the guard and every
   node apply: the words are theirs.
2. The signature is made over the envelope that was inspected, and the result is inspected again.
3. Subjects are shown only after they matched the commitment that is signed.
"""

from __future__ import annotations

from datetime import datetime

from securesystemslib.signer import Key, Signer

from guard.cli.profile import Profile
from guard.core.approval import Inspection, inspect
from guard.core.authority import Authority
from guard.core.envelope import Kind, Signature, add_signature, encode, parse, with_signature
from guard.core.reasons import Reason, Refused
from guard.core.subjects import Subject, open_subjects
from guard.core.trust import Principal, TrustPolicy

__all__ = ["require_may_approve", "signed_by", "signer_of", "unsealed", "unsealed_if_mine"]

_UNSIGNED = bytes(64)


def signer_of(key: Key, policy: TrustPolicy) -> Principal:
    """Return whose key it is; SIGNATURE_INVALID when the trust policy does not know it."""
    person = policy.principal_by_keyid(key.keyid)
    if person is None:
        raise Refused(Reason.SIGNATURE_INVALID, "your signing key is not in the trust policy")
    return person


def require_may_approve(
    envelope: bytes, inspection: Inspection, policy: TrustPolicy, key: Key, *, now: datetime
) -> Principal:
    """Return who would sign, or raise ``Refused`` with the reason that forbids it (rule 1)."""
    person = signer_of(key, policy)
    authority = inspection.authority
    if person.name == inspection.registrant.name:
        raise Refused(
            Reason.SIGNER_NOT_DISTINCT, f"{person.name} registered it and cannot approve it"
        )
    with_signature(parse(envelope, Kind.AUTHORITY), Signature(keyid=key.keyid, sig=_UNSIGNED))
    role = policy.rule(authority.instrument).approver
    if role not in person.roles:
        raise Refused(Reason.SIGNER_ROLE_WRONG, f"{person.name} does not hold the role {role}")
    if now >= authority.window.not_after:
        raise Refused(Reason.EXPIRED, "its window is over")
    return person


def signed_by(envelope: bytes, policy: TrustPolicy, signer: Signer, *, now: datetime) -> Signature:
    """Sign, and hold the result against the rules (rule 2); raises ``Refused``."""
    signed = add_signature(parse(envelope, Kind.AUTHORITY), signer)
    inspect(encode(signed), policy, now=now)
    (mine,) = (each for each in signed.signatures if each.keyid == signer.public_key.keyid)
    return mine


def unsealed(authority: Authority, profile: Profile) -> tuple[Subject, ...]:
    """Open the subjects with the person's own key (rule 3); raises ``Refused``."""
    return open_subjects(
        authority.sealed_subjects, authority.subjects_commitment, [profile.identity()]
    )


def unsealed_if_mine(authority: Authority, profile: Profile) -> tuple[Subject, ...] | None:
    """Open the subjects, or return None when they are not sealed to this person."""
    try:
        return unsealed(authority, profile)
    except Refused as refused:
        if refused.reason is Reason.SUBJECTS_UNREADABLE:
            return None
        raise
