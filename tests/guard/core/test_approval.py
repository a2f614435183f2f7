"""Approval: who must sign an authority, and what refuses it."""

from __future__ import annotations

import pytest

from guard.core.approval import inspect, require_approved
from guard.core.instruments import Instrument
from guard.core.reasons import Reason, Refused
from tests.builders.deployment import Deployment

INTERCEPTING = [
    Instrument.INTERCEPTION_ORDER,
    Instrument.PEN_REGISTER,
    Instrument.EMERGENCY,
    Instrument.TICKET,
    Instrument.TEST,
]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment()


@pytest.mark.parametrize("instrument", INTERCEPTING)
def test_two_people_approve(deployment: Deployment, instrument: Instrument) -> None:
    """Every instrument is approved by its registrant and one other person in the right roles."""
    approved = require_approved(
        deployment.approved(instrument), deployment.policy, now=deployment.now
    )
    assert len(approved.signers) == 2
    assert not approved.provisional
    assert approved.window == approved.authority.window


@pytest.mark.parametrize("instrument", [i for i in INTERCEPTING if i != Instrument.EMERGENCY])
def test_one_person_does_not_approve(deployment: Deployment, instrument: Instrument) -> None:
    """The registrant's signature alone is inspected well and approves nothing."""
    envelope = deployment.register(deployment.authority(instrument))
    assert inspect(envelope, deployment.policy, now=deployment.now).missing
    with pytest.raises(Refused) as refused:
        require_approved(envelope, deployment.policy, now=deployment.now)
    assert refused.value.reason is Reason.APPROVALS_MISSING
