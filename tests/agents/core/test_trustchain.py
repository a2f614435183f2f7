"""Which trust policy a node believes, before and after a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from agents.core.trustchain import TrustChain
from guard.core.reasons import Reason, Refused
from guard.core.trust import Roots
from tests.builders.deployment import Deployment


@pytest.fixture(scope="module")
def made() -> Deployment:
    return Deployment()


def version(made: Deployment, number: int, **changes: object) -> bytes:
    return made.sign_policy(replace(made.policy, version=number, **changes))


def test_versions_rise_and_never_fall(made: Deployment):
    """The next version is taken, the same is nothing new, an older one is a roll-back."""
    chain = TrustChain(made.pinned)
    first, second = version(made, 1), version(made, 2)

    assert chain.version == 0
    assert chain.arrive([first, second], now=made.now)
    assert not chain.arrive([second], now=made.now)
    with pytest.raises(Refused) as refused:
        chain.arrive([first], now=made.now)
    assert refused.value.reason is Reason.TRUST_POLICY_ROLLED_BACK
    assert chain.version == 2


def test_a_restart_keeps_the_version(made: Deployment):
    """What is kept leads to the same version, and one envelope is enough without a rotation."""
    chain = TrustChain(made.pinned)
    chain.arrive([version(made, 1), version(made, 2)], now=made.now)
    restored = TrustChain(made.pinned, chain.envelopes)

    assert len(chain.envelopes) == 1
    assert restored.version == 2
    with pytest.raises(Refused):
        restored.arrive([version(made, 1)], now=made.now)


def test_a_rotation_of_the_roots_is_kept_whole(made: Deployment):
    """After a rotation the chain from the pinned roots is needed, and kept."""
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    rotated = replace(
        made.policy, version=2, roots=Roots(threshold=2, keys=tuple(s.public_key for s in new))
    )
    chain = TrustChain(made.pinned)
    both = made.sign_policy(rotated, [*made.roots[:2], *new[:2]])
    third = made.sign_policy(replace(rotated, version=3), new[:2])
    chain.arrive([version(made, 1), both], now=made.now)
    assert len(chain.envelopes) == 1, "the rotation itself is signed by the pinned roots"
    chain.arrive([third], now=made.now)

    assert len(chain.envelopes) == 2
    assert TrustChain(made.pinned, chain.envelopes).version == 3


def test_an_expired_policy_is_taken_up_and_can_be_followed(made: Deployment):
    """A node that was off for long knows its version, and takes the next one only."""
    chain = TrustChain(made.pinned, [version(made, 4)])
    late = made.policy.expires_at + timedelta(days=1)
    dates = {"issued_at": late, "expires_at": late + timedelta(days=30)}

    assert chain.version == 4
    with pytest.raises(Refused) as refused:
        chain.arrive([version(made, 4)], now=late)
    assert refused.value.reason is Reason.TRUST_POLICY_EXPIRED
    assert chain.arrive([version(made, 5, **dates)], now=late)


def test_a_forged_chain_refuses_the_start(made: Deployment):
    """Kept policies that the roots did not sign are not taken up; nothing changes on arrival."""
    forged = made.sign_policy(made.policy, [CryptoSigner.generate_ed25519()])
    with pytest.raises(Refused):
        TrustChain(made.pinned, [forged])

    chain = TrustChain(made.pinned, [version(made, 1)])
    with pytest.raises(Refused):
        chain.arrive(
            [made.sign_policy(replace(made.policy, version=2), new_signers())], now=made.now
        )
    assert chain.version == 1


def new_signers() -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(2)]
