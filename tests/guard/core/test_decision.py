"""The guard's decision: every denial by its name, and what a permit says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.core.approval import inspect
from guard.core.decision import CaptureRequest, Deny, Permit, decide
from guard.core.enforcement import Enforcement
from guard.core.grant import make_grant
from guard.core.instruments import DEFAULTS, Instrument, requester
from guard.core.level import Level
from guard.core.lifecycle import AuthorityState
from guard.core.reasons import Reason
from guard.core.trust import Role
from guard.core.untrusted import UNHEARD, Flaw, NodeStanding
from guard.core.window import Window
from tests.builders.deployment import Deployment, new_id
from tests.builders.healths import enforcing

CALLERS = {Role.OPERATOR: "operator-1", Role.LEGAL: "legal-1"}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment()


def ask(
    deployment: Deployment,
    envelope: bytes | None,
    state: AuthorityState | None = AuthorityState.APPROVED,
    *,
    authority_id: str | None = None,
    caller: str = "operator-1",
    node: str = "node-1",
    level: Level | None = None,
    live: bool = False,
    now: Any = None,
    standing: NodeStanding = UNHEARD,
) -> Permit | Deny:
    if authority_id is None:
        authority_id = (
            new_id()
            if envelope is None
            else inspect(envelope, deployment.policy, now=deployment.now).authority.id
        )
    request = CaptureRequest(
        request_id=new_id(),
        principal=deployment.principal(caller),
        authority_id=authority_id,
        node=node,
        level=level,
    )
    return decide(
        request,
        envelope=envelope,
        state=state,
        live_on_node=live,
        standing=standing,
        policy=deployment.policy,
        now=now or deployment.now,
    )


def test_a_node_that_is_not_trusted(deployment: Deployment) -> None:
    """Nothing new begins there, and the sentence says why; what is wrong before is said first."""
    flaw = Flaw(deployment.now, "has not answered a challenge")
    doubted = NodeStanding(flaw=flaw)
    answer = ask(deployment, deployment.approved(), standing=doubted)
    denied(answer, Reason.NODE_UNTRUSTED)
    assert answer.sentence == "node-1 is not trusted: it has not answered a challenge"
    denied(
        ask(deployment, deployment.approved(), standing=doubted, live=True), Reason.ALREADY_RUNNING
    )


@pytest.mark.parametrize("demanded", Enforcement)
@pytest.mark.parametrize("enforced", [None, *Enforcement])
def test_what_the_authority_demands(
    deployment: Deployment, demanded: Enforcement, enforced: Enforcement | None
) -> None:
    """The node's own last word must bear it out; a node that has said nothing only detects."""
    health = None if enforced is None else enforcing(enforced)
    answer = ask(
        deployment,
        deployment.approved(enforcement=demanded),
        standing=NodeStanding(health=health),
    )
    if (enforced or Enforcement.DETECT).rank >= demanded.rank:
        assert isinstance(answer, Permit)
    else:
        denied(answer, Reason.NODE_NOT_ENFORCING)


def test_doubt_about_a_node_comes_before_what_it_enforces(deployment: Deployment) -> None:
    """A node that is not trusted is said to be so, whatever it claims."""
    standing = NodeStanding(flaw=Flaw(deployment.now, "has not answered a challenge"))
    envelope = deployment.approved(enforcement=Enforcement.PREVENT)
    denied(ask(deployment, envelope, standing=standing), Reason.NODE_UNTRUSTED)


def denied(answer: Permit | Deny, reason: Reason) -> None:
    assert isinstance(answer, Deny), answer
    assert answer.reason is reason
    assert answer.sentence


@pytest.mark.parametrize("instrument", DEFAULTS)
def test_permitted(deployment: Deployment, instrument: Instrument) -> None:
    """An approved authority, asked for by the right role, is permitted as it stands."""
    caller = CALLERS[requester(instrument)]
    answer = ask(deployment, deployment.approved(instrument), caller=caller)
    assert isinstance(answer, Permit)
    assert answer.level is answer.authority.authority.level
    assert answer.window == answer.authority.window
    assert answer.lease == DEFAULTS[instrument].lease
    grant = make_grant(answer, grant_id=new_id(), now=deployment.now)
    assert grant.authority_digest == answer.authority.digest
    assert (grant.node, grant.window, grant.issued_at) == ("node-1", answer.window, deployment.now)


def test_a_lower_level(deployment: Deployment) -> None:
    """Less than the authority's level may be asked for."""
    answer = ask(deployment, deployment.approved(), level=Level.SIGNALLING)
    assert isinstance(answer, Permit)
    assert answer.level is Level.SIGNALLING


def test_provisional_emergency(deployment: Deployment) -> None:
    """An emergency under one signature is permitted for its 48 hours."""
    window = Window(not_before=deployment.now, not_after=deployment.now + timedelta(days=7))
    envelope = deployment.register(deployment.authority(Instrument.EMERGENCY, window=window))
    answer = ask(deployment, envelope, AuthorityState.PROVISIONAL, caller="legal-1")
    assert isinstance(answer, Permit)
    assert answer.window.length == timedelta(hours=48)


def test_unknown(deployment: Deployment) -> None:
    """Without an authority, without its state, or under another's id there is nothing to permit."""
    envelope = deployment.approved()
    denied(ask(deployment, None, None), Reason.AUTHORITY_UNKNOWN)
    denied(ask(deployment, envelope, None), Reason.AUTHORITY_UNKNOWN)
    denied(ask(deployment, None), Reason.AUTHORITY_UNKNOWN)
    denied(ask(deployment, envelope, authority_id=new_id()), Reason.AUTHORITY_UNKNOWN)


@pytest.mark.parametrize("instrument", DEFAULTS)
@pytest.mark.parametrize("caller", ["legal-1", "operator-1", "lead-1", "auditor-1"])
def test_callers(deployment: Deployment, instrument: Instrument, caller: str) -> None:
    """Only the role that requests under the instrument may ask."""
    answer = ask(deployment, deployment.approved(instrument), caller=caller)
    if caller == CALLERS[requester(instrument)]:
        assert isinstance(answer, Permit)
    else:
        denied(answer, Reason.CALLER_ROLE_WRONG)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (AuthorityState.REVOKED, Reason.REVOKED),
        (AuthorityState.EXPIRED, Reason.EXPIRED),
        (AuthorityState.REGISTERED, Reason.STATE_NOT_PERMITTED),
    ],
)
def test_states(deployment: Deployment, state: AuthorityState, reason: Reason) -> None:
    """A state that is not in force denies, however well the authority is signed."""
    denied(ask(deployment, deployment.approved(), state), reason)


def test_a_state_does_not_approve(deployment: Deployment) -> None:
    """A row that calls itself approved without the signatures denies."""
    envelope = deployment.register(deployment.authority())
    denied(ask(deployment, envelope), Reason.APPROVALS_MISSING)


def test_outside_the_window(deployment: Deployment) -> None:
    """Before the beginning and from the end on, the answer is no."""
    envelope = deployment.approved()
    for off, reason in (
        (timedelta(hours=-1, microseconds=-1), Reason.NOT_YET_VALID),
        (timedelta(hours=1), Reason.EXPIRED),
    ):
        denied(ask(deployment, envelope, now=deployment.now + off), reason)


def test_nodes(deployment: Deployment) -> None:
    """A node that is not named, or not known, is denied."""
    envelope = deployment.approved()
    denied(ask(deployment, envelope, node="node-2"), Reason.NODE_NOT_NAMED)
    denied(ask(deployment, envelope, node="node-9"), Reason.NODE_UNKNOWN)


def test_a_higher_level(deployment: Deployment) -> None:
    """More than the authority's level is denied."""
    envelope = deployment.approved(level=Level.SIGNALLING)
    denied(ask(deployment, envelope, level=Level.MEDIA_HEADERS), Reason.LEVEL_NOT_PERMITTED)


def test_already_running(deployment: Deployment) -> None:
    """One authority runs once on a node."""
    denied(ask(deployment, deployment.approved(), live=True), Reason.ALREADY_RUNNING)


def test_expired_policy(deployment: Deployment) -> None:
    """Under an expired policy nothing is permitted."""
    late = deployment.policy.expires_at
    denied(ask(deployment, deployment.approved(), now=late), Reason.TRUST_POLICY_EXPIRED)


def test_what_is_no_authority(deployment: Deployment) -> None:
    """A row that is no envelope denies with a reason and does not raise."""
    answer = ask(deployment, b"forged", authority_id=new_id())
    denied(answer, Reason.DOCUMENT_MALFORMED)


def test_key_expired_since(deployment: Deployment) -> None:
    """An approver's key that has expired since no longer carries a new capture."""
    other = Deployment()
    envelope = other.approved()
    over = Window(not_before=other.now - timedelta(days=1), not_after=other.now)
    other.adopt(
        principals=tuple(
            replace(p, signing_keys=tuple(replace(k, valid=over) for k in p.signing_keys))
            if p.name == "lead-1"
            else p
            for p in other.policy.principals
        )
    )
    answer = ask(other, envelope, authority_id=new_id())
    denied(answer, Reason.SIGNER_KEY_NOT_VALID)
