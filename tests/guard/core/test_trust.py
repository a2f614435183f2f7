"""From pinned roots to the policy in force: signed at every step, never backwards."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from guard.core import envelope as dsse
from guard.core.envelope import Kind
from guard.core.reasons import Reason
from guard.core.trust import (
    PinnedRoots,
    Roots,
    TrustedPolicy,
    TrustPolicy,
    advance,
    encode_policy,
    encode_roots,
    parse_roots,
)
from tests.builders.deployment import Deployment, sign
from tests.guard.core.refusals import refuses


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment()


def next_policy(policy: TrustPolicy, signers=None, threshold: int = 2) -> TrustPolicy:
    """Make the next version, with other roots if some are given."""
    roots = policy.roots
    if signers is not None:
        keys = tuple(signer.public_key for signer in signers)
        roots = Roots(threshold=threshold, keys=keys)
    return replace(policy, version=policy.version + 1, roots=roots)


def test_roots_round_trip(deployment: Deployment) -> None:
    """Pinned roots read as they were written."""
    assert parse_roots(encode_roots(deployment.pinned)) == deployment.pinned


@pytest.mark.parametrize("data", [b"", b"{}", b'{"keys":[],"threshold":0}', b"x" * 20_000])
def test_what_is_no_roots(data: bytes) -> None:
    """Pinned roots that are none are refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_roots(data)


def test_the_first_policy(deployment: Deployment) -> None:
    """Any two of three roots make the first policy, at whatever version it stands."""
    for signers in itertools.combinations(deployment.roots, 2):
        policy = replace(deployment.policy, version=7)
        trusted = deployment.trust(deployment.sign_policy(policy, signers))
        assert trusted.policy == policy


def test_no_policy(deployment: Deployment) -> None:
    """Roots alone are no policy."""
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        advance(deployment.pinned, [], now=deployment.now)


def test_one_root(deployment: Deployment) -> None:
    """One signature of the two that are needed is not enough, whose ever it is."""
    for root in deployment.roots:
        with refuses(Reason.TRUST_POLICY_UNTRUSTED):
            deployment.trust(deployment.sign_policy(deployment.policy, [root]))
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(sign(encode_policy(deployment.policy), Kind.TRUST_POLICY, []))


def test_a_stranger_beside(deployment: Deployment) -> None:
    """A signature by nobody's root refuses the policy even beside enough good ones."""
    signers = [*deployment.roots[:2], CryptoSigner.generate_ed25519()]
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(deployment.sign_policy(deployment.policy, signers))


def test_people_are_no_roots(deployment: Deployment) -> None:
    """Principals, guards and nodes cannot make a policy."""
    strangers = [deployment.people["legal-1"].signer, deployment.guard.signer]
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(deployment.sign_policy(deployment.policy, strangers))


def test_a_changed_policy(deployment: Deployment) -> None:
    """Signatures of one policy do not carry another."""
    envelope = dsse.parse(deployment.policy_envelope, Kind.TRUST_POLICY)
    other = replace(deployment.policy, clock_tolerance=timedelta(seconds=50))
    data = dsse.encode(replace(envelope, payload=encode_policy(other)))
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(data)


def test_its_own_roots_sign_the_first(deployment: Deployment) -> None:
    """A first policy that names other roots needs their threshold as well."""
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    keys = tuple(signer.public_key for signer in new)
    policy = replace(deployment.policy, roots=Roots(threshold=2, keys=keys))
    for signers in (deployment.roots[:2], new[:2], [*deployment.roots[:2], new[0]]):
        with refuses(Reason.TRUST_POLICY_UNTRUSTED):
            deployment.trust(deployment.sign_policy(policy, signers))
    both = deployment.sign_policy(policy, [*deployment.roots[:2], *new[:2]])
    assert deployment.trust(both).policy == policy


def test_rotation(deployment: Deployment) -> None:
    """Roots change with the old and the new threshold; afterwards the old ones count nothing."""
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    second = next_policy(deployment.policy, new)
    for signers in (deployment.roots[:2], new[:2], [*deployment.roots[:1], *new[:2]]):
        with refuses(Reason.TRUST_POLICY_UNTRUSTED):
            deployment.trust(deployment.policy_envelope, deployment.sign_policy(second, signers))
    rotated = deployment.sign_policy(second, [*deployment.roots[:2], *new[:2]])
    third = next_policy(second)
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(deployment.policy_envelope, rotated, deployment.sign_policy(third))
    by_new = deployment.sign_policy(third, new[1:])
    assert deployment.trust(deployment.policy_envelope, rotated, by_new).policy == third


def test_a_shared_root_counts_for_both_sides(deployment: Deployment) -> None:
    """When one root is replaced, the two who stay make both thresholds."""
    roots = [*deployment.roots[:2], CryptoSigner.generate_ed25519()]
    second = next_policy(deployment.policy, roots)
    signed = deployment.sign_policy(second, deployment.roots[:2])
    assert deployment.trust(deployment.policy_envelope, signed).policy == second


def test_a_lowered_threshold_needs_the_old_one(deployment: Deployment) -> None:
    """Lowering the threshold takes as many as the old threshold."""
    second = next_policy(deployment.policy, deployment.roots, threshold=1)
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(
            deployment.policy_envelope, deployment.sign_policy(second, deployment.roots[:1])
        )


def test_a_missing_version(deployment: Deployment) -> None:
    """Versions follow one another without a gap."""
    third = deployment.sign_policy(replace(deployment.policy, version=3))
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        deployment.trust(deployment.policy_envelope, third)


def test_rolled_back(deployment: Deployment) -> None:
    """An older version, or another document under the same number, is a roll-back."""
    second = deployment.sign_policy(replace(deployment.policy, version=2))
    trusted = deployment.trust(deployment.policy_envelope, second)
    fork = replace(deployment.policy, version=2, clock_tolerance=timedelta(seconds=9))
    for older in (deployment.policy_envelope, deployment.sign_policy(fork)):
        with refuses(Reason.TRUST_POLICY_ROLLED_BACK):
            advance(trusted, [older], now=deployment.now)


def test_the_same_again(deployment: Deployment) -> None:
    """The policy in force may come again, by whichever roots it is signed, and changes nothing."""
    again = deployment.sign_policy(deployment.policy, deployment.roots[1:])
    for envelope in (deployment.policy_envelope, again):
        assert advance(deployment.trusted, [envelope], now=deployment.now) is deployment.trusted
    assert advance(deployment.trusted, [], now=deployment.now) is deployment.trusted


def test_only_the_last_must_be_unexpired(deployment: Deployment) -> None:
    """A node that was away follows expired versions to one in force, and stops at no other."""
    later = deployment.policy.expires_at + timedelta(days=1)
    second = replace(
        deployment.policy,
        version=2,
        issued_at=deployment.now,
        expires_at=later + timedelta(days=1),
    )
    signed = deployment.sign_policy(second)
    assert deployment.trust(deployment.policy_envelope, signed, now=later).policy == second
    with refuses(Reason.TRUST_POLICY_EXPIRED):
        deployment.trust(deployment.policy_envelope, now=later)
    with refuses(Reason.TRUST_POLICY_EXPIRED):
        advance(deployment.trusted, [], now=later)


def test_nobody_else_makes_a_trusted_policy(deployment: Deployment) -> None:
    """A trusted policy can be neither constructed nor changed outside ``advance``."""
    trusted = deployment.trusted
    parts = {"policy": trusted.policy, "envelope": trusted.envelope}
    with pytest.raises(TypeError):
        TrustedPolicy(**parts)
    with pytest.raises(TypeError):
        TrustedPolicy(**parts, token=object())
    with pytest.raises((TypeError, ValueError)):
        replace(trusted, policy=replace(trusted.policy, version=9))
    with pytest.raises(dataclasses.FrozenInstanceError):
        trusted.policy = trusted.policy  # type: ignore[misc]
    assert copy.copy(trusted) == trusted


def test_a_document_of_another_kind(deployment: Deployment) -> None:
    """A policy under another kind is no policy."""
    data = sign(encode_policy(deployment.policy), Kind.GRANT, deployment.roots[:2])
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.trust(data)


def test_pinned_roots_of_one(deployment: Deployment) -> None:
    """A deployment may pin one root; its policy then still needs its own threshold."""
    lonely = PinnedRoots(threshold=1, keys=deployment.pinned.keys[:1])
    signed = deployment.sign_policy(deployment.policy, deployment.roots[:1])
    with refuses(Reason.TRUST_POLICY_UNTRUSTED):
        advance(lonely, [signed], now=deployment.now)
    assert advance(lonely, [deployment.policy_envelope], now=deployment.now)
