"""From pinned roots to a trusted policy, version by version (as TUF does for its root).

1. The first version is signed by the pinned threshold of roots and by its own.
2. Each next version is the previous plus one, signed by the old and by the new threshold. Every
   step counts people's keys once, and every signature on it is by an old or a new root.
3. Versions only rise. The version in force may be handed in again; another document under its
   number, or an older number, is a roll-back.
4. The last version is not expired.

Everything about trust is imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final

from securesystemslib.signer import Key

from guard.core import canonical
from guard.core import envelope as dsse
from guard.core.fields import Fields
from guard.core.identities import (
    GuardIdentity,
    NodeIdentity,
    Principal,
    Roots,
    require_recipient,
)
from guard.core.instruments import Instrument, InstrumentRule, Role
from guard.core.logpolicy import LogPolicy
from guard.core.policy import TrustPolicy
from guard.core.policycodec import encode_policy, parse_policy, roots_fields, take_roots
from guard.core.reasons import Reason, Refused
from guard.core.signingkey import SigningKey, make_key
from guard.core.subjects import Subject

__all__ = [
    "GuardIdentity",
    "Instrument",
    "InstrumentRule",
    "LogPolicy",
    "NodeIdentity",
    "PinnedRoots",
    "Principal",
    "Role",
    "Roots",
    "SigningKey",
    "Subject",
    "TrustPolicy",
    "TrustedPolicy",
    "advance",
    "encode_policy",
    "encode_roots",
    "make_key",
    "parse_policy",
    "parse_roots",
    "require_recipient",
]

_MAX_ROOTS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedRoots(Roots):
    """The roots that an agent, a guard or a person starts from; kept in ``roots.json``."""


class _MadeByAdvance:
    """Only this module has the instance that makes a ``TrustedPolicy``."""


_TOKEN: Final = _MadeByAdvance()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedPolicy:
    """A policy whose signatures were checked up to the pinned roots. Only ``advance`` makes one."""

    policy: TrustPolicy
    envelope: bytes = field(repr=False)
    token: InitVar[_MadeByAdvance]

    def __post_init__(self, token: _MadeByAdvance) -> None:
        if token is not _TOKEN:
            raise TypeError("only advance makes a trusted policy")


def parse_roots(data: bytes) -> PinnedRoots:
    """Read pinned roots: canonical JSON, ``{"keys": […], "threshold": n}``."""
    roots = take_roots(Fields(canonical.decode(data, limit=_MAX_ROOTS), "roots"))
    return PinnedRoots(threshold=roots.threshold, keys=roots.keys)


def encode_roots(roots: Roots) -> bytes:
    """Write roots to be pinned."""
    return canonical.encode(roots_fields(roots))


def advance(
    current: PinnedRoots | TrustedPolicy, envelopes: Sequence[bytes], *, now: datetime
) -> TrustedPolicy:
    """Follow the envelopes, oldest first, to the policy in force.

    Raises ``Refused``: TRUST_POLICY_UNTRUSTED, TRUST_POLICY_ROLLED_BACK, TRUST_POLICY_EXPIRED, or
    DOCUMENT_MALFORMED and its kin for what a policy says.
    """
    for data in envelopes:
        current = _step(current, data)
    if isinstance(current, PinnedRoots):
        raise _untrusted("there is no policy")
    current.policy.require_unexpired(now)  # (4)
    return current


def _step(current: PinnedRoots | TrustedPolicy, data: bytes) -> TrustedPolicy:
    envelope = dsse.parse(data, dsse.Kind.TRUST_POLICY)
    policy = parse_policy(envelope.payload)
    if isinstance(current, TrustedPolicy) and _is_in_force(current, envelope, policy):
        return current
    # Rules 1 and 2: the roots before are the pinned ones, or those of the version before.
    roots = current.policy.roots if isinstance(current, TrustedPolicy) else current
    signers = _signers(envelope, (*roots.keys, *policy.roots.keys))
    _require_threshold(roots, signers, "the roots before it")
    _require_threshold(policy.roots, signers, "its own roots")
    return TrustedPolicy(policy=policy, envelope=data, token=_TOKEN)


def _is_in_force(current: TrustedPolicy, envelope: dsse.Envelope, policy: TrustPolicy) -> bool:
    """Hold a version against the one in force (3); True when it is that one."""
    before = current.policy.version
    if policy.version > before + 1:
        raise _untrusted(f"version {before + 1} of the policy is missing")
    if policy.version == before + 1:
        return False
    if dsse.parse(current.envelope, dsse.Kind.TRUST_POLICY).payload != envelope.payload:
        raise Refused(
            Reason.TRUST_POLICY_ROLLED_BACK,
            f"version {policy.version} is not the policy in force, version {before}",
        )
    return True


def _signers(envelope: dsse.Envelope, keys: Iterable[Key]) -> frozenset[str]:
    try:
        return dsse.verified_keyids(envelope, {key.keyid: key for key in keys})
    except Refused as refused:
        raise _untrusted("a signature on it is no root's or does not verify") from refused


def _require_threshold(roots: Roots, signers: frozenset[str], who: str) -> None:
    # Key ids are computed from the keys and the keys are distinct: ids count holders.
    signed = len(signers & {key.keyid for key in roots.keys})
    if signed < roots.threshold:
        raise _untrusted(f"{signed} of {roots.threshold} of {who} signed it")


def _untrusted(why: str) -> Refused:
    return Refused(Reason.TRUST_POLICY_UNTRUSTED, f"the trust policy is not trusted: {why}")
