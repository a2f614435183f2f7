"""Trust policies: how one comes into force, at the start and later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from guard.app.denial import Denied
from guard.app.trust import chain_at_start
from guard.core.reasons import Reason, Refused
from tests.builders.house import House


def next_version(house: House, **changes: object) -> bytes:
    policy = house.site.policy
    return house.site.sign_policy(replace(policy, version=policy.version + 1, **changes))


async def test_the_first_policy_is_the_first_record(house: House) -> None:
    """The policy that the guard starts with is stored and on record, once."""
    await house.trust.adopt_at_start()
    assert house.kinds() == ["trust_policy_changed"]
    assert house.trust.policies(0) == [house.site.policy_envelope]


async def test_a_newer_policy_signed_by_the_roots_comes_into_force(house: House) -> None:
    """It is stored, on record, and in force for whatever comes next; again is the same."""
    envelope = next_version(house)
    for _ in range(2):
        assert await house.trust.publish(envelope, "auditor-1") == 2
    assert house.office.policy.version == 2
    assert house.trust.policies(1) == [envelope]
    assert house.kinds().count("trust_policy_changed") == 2


async def test_an_unsigned_or_older_policy_is_denied_on_record(house: House) -> None:
    """One root is not enough, and nothing goes back."""
    site = house.site
    lone = site.sign_policy(replace(site.policy, version=2), signers=site.roots[:1])
    other = site.sign_policy(replace(site.policy, expires_at=site.now + timedelta(days=1)))
    for envelope, reason in (
        (lone, Reason.TRUST_POLICY_UNTRUSTED),
        (other, Reason.TRUST_POLICY_ROLLED_BACK),
        (next_version(house, expires_at=site.now), Reason.TRUST_POLICY_EXPIRED),
        (b"{}", Reason.DOCUMENT_MALFORMED),
    ):
        with pytest.raises(Denied) as denied:
            await house.trust.publish(envelope, "auditor-1")
        assert denied.value.deny.reason is reason
        assert house.kinds()[-1] == "request_denied"
    assert house.office.policy.version == 1


async def test_a_start_follows_every_stored_version(house: House) -> None:
    """Pinned roots, stored versions, then the configured one when it is the next."""
    site, first, second = house.site, house.site.policy_envelope, next_version(house)
    for stored, configured, version in (
        ([], first, 1),
        ([first], first, 1),
        ([first], second, 2),
        ([first, second], first, 2),
    ):
        trusted = chain_at_start(site.pinned, stored, configured, now=site.now)
        assert trusted.policy.version == version


async def test_no_start_without_a_valid_policy(house: House) -> None:
    """An expired newest version, a forged one, and other roots are no start."""
    site, first = house.site, house.site.policy_envelope
    with pytest.raises(Refused) as refused:
        chain_at_start(site.pinned, [first], first, now=site.now + timedelta(days=90))
    assert refused.value.reason is Reason.TRUST_POLICY_EXPIRED
    forged = site.sign_policy(site.policy, signers=[site.guard.signer])
    with pytest.raises(Refused):
        chain_at_start(site.pinned, [], forged, now=site.now)
    with pytest.raises(Refused):
        chain_at_start(site.pinned, [forged], first, now=site.now)
