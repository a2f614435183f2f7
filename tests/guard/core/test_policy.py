"""The trust policy: nobody is two people, nothing is implied, nothing is looser than its ceiling."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guard.core import canonical
from guard.core.instruments import CEILINGS, DEFAULTS, Instrument
from guard.core.policy import TrustPolicy
from guard.core.policycodec import encode_policy, parse_policy
from guard.core.reasons import Reason
from guard.core.signingkey import SigningKey, public_part
from tests.builders.deployment import NOW, Deployment, log_policy, new_keys, subject, vkey
from tests.guard.core.refusals import refuses


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment()


@pytest.fixture(scope="module")
def policy(deployment: Deployment) -> TrustPolicy:
    return deployment.policy


def test_round_trip(policy: TrustPolicy) -> None:
    """A policy reads as it was written, and writes as it was read."""
    payload = encode_policy(policy)
    assert parse_policy(payload) == policy
    assert encode_policy(parse_policy(payload)) == payload


def test_a_policy_of_nobody(policy: TrustPolicy) -> None:
    """A new deployment may name no people and no nodes yet; then nobody may do anything."""
    bare = parse_policy(encode_policy(replace(policy, principals=(), nodes=(), test_subjects=())))
    assert not bare.people_keys
    assert bare.principal("legal-1") is None


def test_look_ups(deployment: Deployment, policy: TrustPolicy) -> None:
    """Everybody is found by name, certificate and key, and as nothing else than what they are."""
    for name, keys in deployment.people.items():
        person = policy.principal(name)
        assert person is not None
        assert person is policy.principal_by_spiffe(keys.spiffe_id)
        assert person is policy.principal_by_keyid(keys.signer.public_key.keyid)
        assert policy.signing_key(keys.signer.public_key.keyid) == person.signing_keys[0]
        assert policy.node(name) is policy.node_by_spiffe(keys.spiffe_id) is None
        assert policy.guard_by_spiffe(keys.spiffe_id) is None
    for name, keys in deployment.nodes.items():
        node = policy.node(name)
        assert node is not None
        assert node is policy.node_by_spiffe(keys.spiffe_id)
        assert policy.principal(name) is policy.principal_by_spiffe(keys.spiffe_id) is None
        assert policy.principal_by_keyid(keys.signer.public_key.keyid) is None
    guard = policy.guard_by_spiffe(deployment.guard.spiffe_id)
    assert guard is policy.guards[0]
    assert policy.principal_by_keyid(deployment.guard.signer.public_key.keyid) is None
    assert policy.node("nobody") is policy.principal("nobody") is None
    assert policy.signing_key("0" * 64) is policy.node_by_spiffe("") is None


def test_whose_keys_count(deployment: Deployment, policy: TrustPolicy) -> None:
    """People's keys sign authorities and guards' keys sign grants; the two never meet."""
    people = {keys.signer.public_key.keyid for keys in deployment.people.values()}
    assert policy.people_keys.keys() == people
    assert policy.guard_keys.keys() == {deployment.guard.signer.public_key.keyid}


def test_expiry(policy: TrustPolicy) -> None:
    """A policy is in force up to its expiry and not at it."""
    policy.require_unexpired(policy.expires_at - timedelta(microseconds=1))
    with refuses(Reason.TRUST_POLICY_EXPIRED):
        policy.require_unexpired(policy.expires_at)


def test_an_instrument_without_a_rule(policy: TrustPolicy) -> None:
    """No rule means not permitted."""
    bare = replace(policy, instruments={Instrument.TICKET: DEFAULTS[Instrument.TICKET]})
    assert bare.rule(Instrument.TICKET)
    with refuses(Reason.INSTRUMENT_UNKNOWN):
        bare.rule(Instrument.EMERGENCY)


def key_of(signer) -> SigningKey:
    window = Deployment().policy.principals[0].signing_keys[0].valid
    return SigningKey(key=signer.public_key, valid=window)


def with_key(policy: TrustPolicy, key: SigningKey) -> TrustPolicy:
    """Give the first principal one more key."""
    first, *others = policy.principals
    more = replace(first, signing_keys=(*first.signing_keys, key))
    return replace(policy, principals=(more, *others))


DOUBLES: dict[str, Callable[[Deployment, TrustPolicy], TrustPolicy]] = {
    "one name, two people": lambda _, p: replace(
        p, principals=(*p.principals[:-1], replace(p.principals[-1], name=p.principals[0].name))
    ),
    "a node called like a person": lambda _, p: replace(
        p, nodes=(replace(p.nodes[0], name=p.principals[0].name),)
    ),
    "a guard called like a node": lambda _, p: replace(
        p, guards=(replace(p.guards[0], name=p.nodes[0].name),)
    ),
    "one certificate, two people": lambda _, p: replace(
        p,
        principals=(
            *p.principals[:-1],
            replace(p.principals[-1], spiffe_id=p.principals[0].spiffe_id),
        ),
    ),
    "a guard's certificate is a person's": lambda _, p: replace(
        p, guards=(replace(p.guards[0], spiffe_id=p.principals[0].spiffe_id),)
    ),
    "one key, two people": lambda d, p: with_key(p, key_of(d.people["legal-2"].signer)),
    "one key twice for one person": lambda d, p: with_key(p, key_of(d.people["legal-1"].signer)),
    "the guard's key is a person's": lambda d, p: with_key(p, key_of(d.guard.signer)),
    "a node's key is a person's": lambda d, p: with_key(p, key_of(d.nodes["node-1"].signer)),
    "a root's key is a person's": lambda d, p: with_key(p, key_of(d.roots[0])),
    "a node's key is the guard's": lambda d, p: replace(
        p, nodes=(replace(p.nodes[0], key=d.guard.signer.public_key),)
    ),
    "the log's key is the guard's": lambda d, p: replace(
        p,
        log=log_policy(vkey("log", 1, d.guard.signer._private_key), [vkey("w", 4, d.witness_key)]),
    ),
    "a witness's key is a node's": lambda d, p: replace(
        p,
        log=log_policy(p.log.vkey, [vkey("w", 4, d.nodes["node-1"].signer._private_key)]),
    ),
    "a person's recipient is a node's": lambda _, p: replace(
        p,
        principals=(
            *p.principals[:-1],
            replace(p.principals[-1], recipient=p.nodes[0].recipient),
        ),
    ),
    "one test subject twice": lambda _, p: replace(p, test_subjects=(subject(), subject())),
}


@pytest.mark.parametrize("case", DOUBLES)
def test_nobody_is_two(deployment: Deployment, policy: TrustPolicy, case: str) -> None:
    """One name, certificate, key or recipient for two is refused, whoever the two are."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        DOUBLES[case](deployment, policy)


def test_two_keys_for_one_person(policy: TrustPolicy) -> None:
    """A person may have several keys, as when one follows the other."""
    spare = new_keys("spare").signer
    both = with_key(policy, key_of(spare))
    assert both.principal_by_keyid(spare.public_key.keyid) is both.principals[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"expires_at": NOW - timedelta(days=1)},
        {"expires_at": NOW + timedelta(days=366)},
        {"checkpoint_max_age": timedelta(0)},
        {"checkpoint_max_age": timedelta(days=1, seconds=1)},
        {"clock_tolerance": timedelta(0)},
        {"clock_tolerance": timedelta(seconds=61)},
        {"instruments": {Instrument.TICKET: CEILINGS[Instrument.TEST]}},
    ],
    ids=str,
)
def test_bounds(policy: TrustPolicy, changes: dict[str, Any]) -> None:
    """A policy cannot last, age, tolerate or permit more than the code allows."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(policy, **changes)


def test_times_are_in_utc(policy: TrustPolicy) -> None:
    """A policy whose times have no zone is a bug of the caller."""
    with pytest.raises(ValueError, match="UTC"):
        replace(policy, issued_at=datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))


def edited(policy: TrustPolicy, edit: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(encode_policy(policy))
    edit(value)
    return canonical.encode(value)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an unknown field": lambda v: v.update(more=1),
    "no version": lambda v: v.pop("version"),
    "a version that is no number": lambda v: v.update(version="1"),
    "a version that is true": lambda v: v.update(version=True),
    "no guard": lambda v: v.update(guards=[]),
    "no rules": lambda v: v.update(instruments=[]),
    "no witness": lambda v: v.update(log_policy=v["log_policy"].split("witness")[0]),
    "a quorum of none": lambda v: v.update(
        log_policy=v["log_policy"].rpartition("quorum")[0] + "quorum none\n"
    ),
    "no log policy": lambda v: v.update(log_policy=""),
    "a log policy that is too long": lambda v: v.update(log_policy=v["log_policy"] + "#" * 131_072),
    "a threshold of none": lambda v: v["roots"].update(threshold=0),
    "a root twice": lambda v: v["roots"].update(keys=v["roots"]["keys"][:1] * 2),
    "a root under another id": lambda v: v["roots"]["keys"][0].update(keyid="0" * 64),
    "an unknown field of a root": lambda v: v["roots"]["keys"][0].update(more=1),
    "an unknown field of a person": lambda v: v["principals"][0].update(more=1),
    "an unknown field of a person's key": lambda v: v["principals"][0]["signing_keys"][0].update(
        more=1
    ),
    "an unknown field of a node": lambda v: v["nodes"][0].update(more=1),
    "no word about a node's sentry": lambda v: v["nodes"][0].pop("sentry"),
    "another word about a node's sentry": lambda v: v["nodes"][0].update(sentry="learn"),
    "an unknown field of a node's key": lambda v: v["nodes"][0]["key"].update(more=1),
    "an unknown field of a guard": lambda v: v["guards"][0].update(more=1),
    "an unknown field of a rule": lambda v: v["instruments"][0].update(more=1),
    "an unknown field of a test subject": lambda v: v["test_subjects"][0].update(more=1),
    "a log beside its policy": lambda v: v.update(log="x"),
    "no role": lambda v: v["principals"][0].update(roles=[]),
    "an unknown role": lambda v: v["principals"][0].update(roles=["king"]),
    "roles out of order": lambda v: v["principals"][0].update(roles=["operator", "legal"]),
    "a role twice": lambda v: v["principals"][0].update(roles=["legal", "legal"]),
    "an unknown level": lambda v: v["instruments"][0].update(levels=["everything"]),
    "two rules for one instrument": lambda v: v.update(instruments=v["instruments"][:1] * 2),
    "a rule that lets one act alone": lambda v: v["instruments"][0].update(approvals=0),
    "too long a lease": lambda v: v["instruments"][0].update(lease_seconds=61),
    "a lease of half a second": lambda v: v["instruments"][0].update(lease_seconds="0.5"),
    "no window for a key": lambda v: v["principals"][0]["signing_keys"][0].pop("not_after"),
    "a log policy that is a list": lambda v: v.update(log_policy=[v["log_policy"]]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_no_policy(policy: TrustPolicy, edit: str) -> None:
    """A document that breaks one rule of a policy's form is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_policy(edited(policy, EDITS[edit]))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda v: v["instruments"][0].update(instrument="subpoena"),
            Reason.STORED_DATA_ONLY,
        ),
        (lambda v: v["instruments"][0].update(instrument="whim"), Reason.INSTRUMENT_UNKNOWN),
        (
            lambda v: v["test_subjects"][0].update(value="*"),
            Reason.SUBJECT_NOT_PERMITTED,
        ),
        (
            lambda v: v["principals"][0].update(recipient="age1"),
            Reason.RECIPIENT_NOT_PERMITTED,
        ),
        (
            lambda v: v["principals"][0]["signing_keys"][0].update(
                not_after="2000-01-01T00:00:00Z"
            ),
            Reason.WINDOW_TOO_LONG,
        ),
    ],
)
def test_refused_by_its_own_name(
    policy: TrustPolicy, edit: Callable[[dict[str, Any]], object], reason: Reason
) -> None:
    """What has a reason of its own is refused for it."""
    with refuses(reason):
        parse_policy(edited(policy, edit))


def test_no_keys_or_test_subjects_in_the_repr(policy: TrustPolicy) -> None:
    """The repr of a policy shows neither public keys nor test subjects."""
    shown = repr(policy)
    assert policy.test_subjects[0].value.lstrip("+") not in shown
    assert public_part(policy.nodes[0].key) not in shown
