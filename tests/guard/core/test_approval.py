"""Approval: who must sign an authority, and what refuses it.

The refusals of forged and missing signatures are broken one by one, as a node meets them, in
``tests/agents/core/test_verifier.py``; here is what the guard needs beside that.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from guard.core import envelope as dsse
from guard.core.approval import ApprovedAuthority, inspect, require_approved
from guard.core.instruments import DEFAULTS, Instrument
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.trust import Role, SigningKey
from guard.core.window import Window
from tests.builders.deployment import Deployment, new_keys
from tests.guard.core.refusals import refuses

INTERCEPTING = list(DEFAULTS)


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


def approved(deployment: Deployment, envelope: bytes) -> ApprovedAuthority:
    return require_approved(envelope, deployment.policy, now=deployment.now)


@pytest.mark.parametrize("instrument", INTERCEPTING)
def test_two_people_approve(deployment: Deployment, instrument: Instrument) -> None:
    """Every instrument is approved by its registrant and one other person in the right roles."""
    envelope = deployment.approved(instrument)
    made = approved(deployment, envelope)
    assert made.signers[0] == made.authority.registrant
    assert len(set(made.signers)) == 2
    assert not made.provisional
    assert made.window == made.authority.window
    assert made.digest == dsse.digest(envelope)
    assert not inspect(envelope, deployment.policy, now=deployment.now).missing


@pytest.mark.parametrize("instrument", [i for i in INTERCEPTING if i != Instrument.EMERGENCY])
def test_one_person_does_not_approve(deployment: Deployment, instrument: Instrument) -> None:
    """The registrant's signature alone is inspected well and approves nothing."""
    envelope = deployment.register(deployment.authority(instrument))
    inspection = inspect(envelope, deployment.policy, now=deployment.now)
    assert inspection.missing == f"1 more signature by {DEFAULTS[instrument].approver}"
    assert inspection.approvers == ()
    assert inspection.registrant.name == inspection.authority.registrant
    with refuses(Reason.APPROVALS_MISSING):
        approved(deployment, envelope)


@pytest.mark.parametrize(
    ("instrument", "signers"),
    [
        (instrument, signers)
        for instrument in INTERCEPTING
        for count in range(4)
        for signers in itertools.combinations(
            ["legal-1", "legal-2", "operator-1", "lead-1", "auditor-1"], count
        )
    ],
)
def test_every_set_of_signers(instrument: Instrument, signers: tuple[str, ...]) -> None:
    """Of all sets of people who might sign, exactly those of the instrument's rule approve."""
    authority = SHARED.authority(instrument)
    legal = DEFAULTS[instrument].registrant is Role.LEGAL
    sufficient = [{"legal-1", "legal-2"}] if legal else [{"operator-1", "lead-1"}]
    if instrument is Instrument.EMERGENCY:
        sufficient.append({"legal-1"})
    envelope = dsse.encode(
        dsse.Envelope(
            payload=dsse.parse(SHARED.register(authority), dsse.Kind.AUTHORITY).payload,
            kind=dsse.Kind.AUTHORITY,
            signatures=(),
        )
    )
    for name in signers:
        envelope = SHARED.approve(envelope, name)
    if set(signers) in sufficient:
        assert set(approved(SHARED, envelope).signers) == set(signers)
        return
    with pytest.raises(Refused) as caught:
        approved(SHARED, envelope)
    assert caught.value.reason in {Reason.APPROVALS_MISSING, Reason.SIGNER_ROLE_WRONG}


SHARED = Deployment()


def test_emergency(deployment: Deployment) -> None:
    """An emergency under one signature is provisional for 48 hours, under two it is whole."""
    window = Window(not_before=deployment.now, not_after=deployment.now + timedelta(days=7))
    envelope = deployment.register(deployment.authority(Instrument.EMERGENCY, window=window))
    first = approved(deployment, envelope)
    assert first.provisional
    assert first.window.length == timedelta(hours=48)
    assert inspect(envelope, deployment.policy, now=deployment.now).missing
    second = approved(deployment, deployment.approve(envelope, "legal-2"))
    assert not second.provisional
    assert second.window == window


def test_a_short_emergency_is_not_lengthened(deployment: Deployment) -> None:
    """An emergency of two hours under one signature ends after two hours."""
    envelope = deployment.register(deployment.authority(Instrument.EMERGENCY))
    made = approved(deployment, envelope)
    assert made.window == made.authority.window


def test_a_policy_may_forbid_lonely_emergencies(deployment: Deployment) -> None:
    """Where the policy asks for one approval of an emergency, nobody starts one alone."""
    rule = replace(DEFAULTS[Instrument.EMERGENCY], approvals=1)
    deployment.adopt(instruments={**DEFAULTS, Instrument.EMERGENCY: rule})
    envelope = deployment.register(deployment.authority(Instrument.EMERGENCY))
    with refuses(Reason.APPROVALS_MISSING):
        approved(deployment, envelope)
    assert approved(deployment, deployment.approve(envelope, "legal-2")).signers


def test_more_than_enough(deployment: Deployment) -> None:
    """Further people in the right role may sign; each is named."""
    third = new_keys("legal-3")
    legal = deployment.principal("legal-1")
    key = SigningKey(key=third.signer.public_key, valid=legal.signing_keys[0].valid)
    person = replace(
        legal,
        name="legal-3",
        spiffe_id=third.spiffe_id,
        recipient=third.recipient,
        signing_keys=(key,),
    )
    deployment.adopt(principals=(*deployment.policy.principals, person))
    envelope = deployment.approve(deployment.approved(Instrument.INTERCEPTION_ORDER), third.signer)
    signers = approved(deployment, envelope).signers
    assert signers[0] == "legal-1"
    assert set(signers) == {"legal-1", "legal-2", "legal-3"}


def test_both_roles_in_one_person(deployment: Deployment) -> None:
    """Somebody who holds both roles still needs another person."""
    operator = deployment.principal("operator-1")
    both = replace(operator, roles=frozenset({Role.OPERATOR, Role.APPROVER}))
    others = tuple(p for p in deployment.policy.principals if p.name != "operator-1")
    deployment.adopt(principals=(both, *others))
    envelope = deployment.register(deployment.authority())
    with refuses(Reason.APPROVALS_MISSING):
        approved(deployment, envelope)
    with refuses(Reason.SIGNER_NOT_DISTINCT):
        deployment.approve(envelope, "operator-1")


def test_active_is_the_effective_window(deployment: Deployment) -> None:
    """An approved authority is active in its effective window, not in its text's."""
    window = Window(not_before=deployment.now, not_after=deployment.now + timedelta(days=7))
    envelope = deployment.register(deployment.authority(Instrument.EMERGENCY, window=window))
    made = approved(deployment, envelope)
    made.require_active(deployment.now)
    with refuses(Reason.EXPIRED):
        made.require_active(deployment.now + timedelta(hours=48))
    with refuses(Reason.NOT_YET_VALID):
        made.require_active(deployment.now - timedelta(seconds=1))


@pytest.mark.parametrize("instrument", [Instrument.TICKET, Instrument.PEN_REGISTER])
def test_level_above_the_instruments(deployment: Deployment, instrument: Instrument) -> None:
    """An authority above its instrument's level is refused before anybody else signs it."""
    envelope = deployment.register(deployment.authority(instrument, level=Level.CONTENT))
    with refuses(Reason.LEVEL_NOT_PERMITTED):
        inspect(envelope, deployment.policy, now=deployment.now)


def test_longer_than_the_rule(deployment: Deployment) -> None:
    """An authority longer than its rule is refused before anybody else signs it."""
    window = Window(
        not_before=deployment.now, not_after=deployment.now + timedelta(hours=24, seconds=1)
    )
    envelope = deployment.register(deployment.authority(window=window))
    with refuses(Reason.WINDOW_TOO_LONG):
        inspect(envelope, deployment.policy, now=deployment.now)


def test_node_as_recipient(deployment: Deployment) -> None:
    """An authority that a node could read is refused before anybody else signs it."""
    recipients = (deployment.nodes["node-1"].recipient,)
    envelope = deployment.register(deployment.authority(recipients=recipients))
    with refuses(Reason.RECIPIENT_NOT_PERMITTED):
        inspect(envelope, deployment.policy, now=deployment.now)


def test_unknown_node(deployment: Deployment) -> None:
    """An authority for a node that the policy does not know is refused."""
    envelope = deployment.register(deployment.authority(nodes=("node-1", "node-9")))
    with refuses(Reason.NODE_UNKNOWN):
        inspect(envelope, deployment.policy, now=deployment.now)


def test_unknown_registrant(deployment: Deployment) -> None:
    """An authority whose registrant is nobody in the policy is refused."""
    authority = deployment.authority(registrant="nobody")
    envelope = deployment.register(authority, by="operator-1")
    with refuses(Reason.SIGNER_ROLE_WRONG):
        inspect(envelope, deployment.policy, now=deployment.now)


def test_nobody_else_makes_an_approved_authority(deployment: Deployment) -> None:
    """An approved authority can be neither constructed nor changed outside this module."""
    made = approved(deployment, deployment.approved())
    parts = {
        "authority": made.authority,
        "digest": made.digest,
        "window": made.window,
        "signers": made.signers,
        "provisional": False,
    }
    with pytest.raises(TypeError):
        ApprovedAuthority(**parts)
    with pytest.raises(TypeError):
        ApprovedAuthority(**parts, token=object())
    with pytest.raises((TypeError, ValueError)):
        replace(made, provisional=False)
