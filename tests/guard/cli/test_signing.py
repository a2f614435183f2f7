"""Signing what somebody else registered, and what is shown before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from guard.cli.deployment import Deployment
from guard.cli.plain_words import consequence, lines_of
from guard.cli.profile import load_profile
from guard.cli.signing import require_may_approve, signed_by, unsealed, unsealed_if_mine
from guard.core.approval import inspect, require_approved
from guard.core.enforcement import Enforcement
from guard.core.envelope import Kind, encode, parse, with_signature
from guard.core.instruments import Instrument
from guard.core.reasons import Reason, Refused
from guard.core.trust import TrustPolicy
from tests.guard.cli.running import NOW
from tests.guard.cli.test_drafting import NUMBER, ORDER, TICKET, seal


def approve(demo: Deployment, policy: TrustPolicy, envelope: bytes, person: str) -> bytes:
    """Sign as ``person`` the way the command does and return the new envelope."""
    signer = load_profile(demo.folder / "people" / person).signer()
    inspection = inspect(envelope, policy, now=NOW)
    require_may_approve(envelope, inspection, policy, signer.public_key, now=NOW)
    mine = signed_by(envelope, policy, signer, now=NOW)
    return encode(with_signature(parse(envelope, Kind.AUTHORITY), mine))


def test_the_second_signature_puts_it_in_force(demo: Deployment, policy: TrustPolicy) -> None:
    """What the command signs is what guard and nodes accept as approved."""
    envelope = seal(demo, policy, TICKET, "operator-1").envelope
    approved = require_approved(approve(demo, policy, envelope, "lead-1"), policy, now=NOW)
    assert approved.signers == ("operator-1", "lead-1")


@pytest.mark.parametrize(
    ("draft", "registrant", "person", "reason"),
    [
        (TICKET, "operator-1", "operator-1", Reason.SIGNER_NOT_DISTINCT),
        (ORDER, "legal-1", "legal-1", Reason.SIGNER_NOT_DISTINCT),
        (TICKET, "operator-1", "legal-1", Reason.SIGNER_ROLE_WRONG),
        (TICKET, "operator-1", "auditor-1", Reason.SIGNER_ROLE_WRONG),
        (ORDER, "legal-1", "lead-1", Reason.SIGNER_ROLE_WRONG),
    ],
)
def test_who_may_not_sign_is_told_before_being_asked(
    draft: object,
    registrant: str,
    person: str,
    reason: Reason,
    demo: Deployment,
    policy: TrustPolicy,
) -> None:
    """One's own authority and another role's are refused by name."""
    envelope = seal(demo, policy, draft, registrant).envelope  # type: ignore[arg-type]
    with pytest.raises(Refused) as raised:
        approve(demo, policy, envelope, person)
    assert raised.value.reason is reason


def test_nobody_signs_twice(demo: Deployment, policy: TrustPolicy) -> None:
    """A second approval by the same person is refused."""
    envelope = seal(demo, policy, TICKET, "operator-1").envelope
    with pytest.raises(Refused) as raised:
        approve(demo, policy, approve(demo, policy, envelope, "lead-1"), "lead-1")
    assert raised.value.reason is Reason.SIGNER_NOT_DISTINCT


def test_what_is_over_is_not_signed(demo: Deployment, policy: TrustPolicy) -> None:
    """After its end an authority takes no signature."""
    envelope = seal(demo, policy, TICKET, "operator-1").envelope
    later = NOW + timedelta(hours=2)
    key = load_profile(demo.folder / "people/lead-1").signer().public_key
    with pytest.raises(Refused) as raised:
        require_may_approve(envelope, inspect(envelope, policy, now=later), policy, key, now=later)
    assert raised.value.reason is Reason.EXPIRED


def test_a_key_outside_the_policy_signs_nothing(demo: Deployment, policy: TrustPolicy) -> None:
    """A person who was left out of the policy is told so."""
    envelope = seal(demo, policy, TICKET, "operator-1").envelope
    smaller = replace(policy, principals=tuple(p for p in policy.principals if p.name != "lead-1"))
    key = load_profile(demo.folder / "people/lead-1").signer().public_key
    with pytest.raises(Refused) as raised:
        require_may_approve(envelope, inspect(envelope, smaller, now=NOW), smaller, key, now=NOW)
    assert raised.value.reason is Reason.SIGNATURE_INVALID


def test_subjects_are_shown_only_to_whom_they_are_sealed(
    demo: Deployment, policy: TrustPolicy
) -> None:
    """The approver reads them, the auditor does not, and a wrong commitment is no secret kept."""
    authority = seal(demo, policy, TICKET, "operator-1").authority
    lead, auditor = (
        load_profile(demo.folder / "people" / name) for name in ("lead-1", "auditor-1")
    )
    assert unsealed(authority, lead) == (NUMBER,)
    assert unsealed_if_mine(authority, auditor) is None
    with pytest.raises(Refused) as raised:
        unsealed_if_mine(replace(authority, subjects_commitment="0" * 64), lead)
    assert raised.value.reason is Reason.SUBJECTS_MISMATCH


def test_everything_signed_is_shown(demo: Deployment, policy: TrustPolicy) -> None:
    """Each value of a warrant's signed text is somewhere in the words shown."""
    order = replace(ORDER, max_calls=7, max_bytes=999, enforcement=Enforcement.PREVENT)
    envelope = seal(demo, policy, order, "legal-1").envelope
    inspection = inspect(envelope, policy, now=NOW)
    words = "\n".join(text for _, text in lines_of(inspection, policy, (NUMBER,)))
    authority = inspection.authority
    for value in (
        *(authority.reference, authority.legal_basis, authority.issuing_authority),
        *(authority.issuing_signer, authority.presenting_officer, authority.presenting_agency),
        *(authority.order_sha256, NUMBER.value, *authority.nodes, *authority.recipients),
        *("7 calls", "999 bytes", "2026-11-23 22:00:00 UTC", "2026-11-24 00:00:00 UTC"),
        *("CONTENT", "interception order", "legal-1"),
        "prevent: only nodes whose kernel refuses capture without a grant",
    ):
        assert str(value) in words
    reason = inspect(seal(demo, policy, TICKET, "operator-1").envelope, policy, now=NOW)
    ticket = list(lines_of(reason, policy, None))
    assert ("Reason", "one-way audio") in ticket
    assert "Demands" not in [label for label, _ in ticket]


def test_sealed_subjects_are_said_to_be_sealed(demo: Deployment, policy: TrustPolicy) -> None:
    """Whoever cannot open the subjects is told so, not shown an empty list."""
    inspection = inspect(seal(demo, policy, TICKET, "operator-1").envelope, policy, now=NOW)
    (words,) = [
        text for label, text in lines_of(inspection, policy, None) if label == "Whose calls"
    ]
    assert "sealed" in words


def test_the_consequence_is_said_by_instrument(demo: Deployment, policy: TrustPolicy) -> None:
    """A warrant starts by itself, a ticket is started, an emergency runs already."""
    legal, lead = policy.principal("legal-2"), policy.principal("lead-1")
    assert legal
    assert lead
    ticket = inspect(seal(demo, policy, TICKET, "operator-1").envelope, policy, now=NOW)
    assert "operator-1 may start" in consequence(ticket, policy, lead, now=NOW)
    order = inspect(seal(demo, policy, ORDER, "legal-1").envelope, policy, now=NOW)
    assert "starts by itself at once on node-1" in consequence(order, policy, legal, now=NOW)
    earlier = NOW - timedelta(hours=1)
    assert "starts by itself at 2026-11-23 22:00:00 UTC on node-1" in consequence(
        order, policy, legal, now=earlier
    )
    draft = replace(ORDER, instrument=Instrument.EMERGENCY)
    emergency = inspect(seal(demo, policy, draft, "legal-1").envelope, policy, now=NOW)
    assert "in force already, for 2d" in consequence(emergency, policy, legal, now=NOW)


def test_who_is_not_the_last_is_told_so(demo: Deployment, policy: TrustPolicy) -> None:
    """Where the rule asks for two approvals the first one starts nothing, and says so."""
    rules = dict(policy.instruments)
    rules[Instrument.TICKET] = replace(rules[Instrument.TICKET], approvals=2)
    stricter = replace(policy, instruments=rules)
    lead = policy.principal("lead-1")
    assert lead
    ticket = inspect(seal(demo, policy, TICKET, "operator-1").envelope, stricter, now=NOW)
    assert "1 more must sign before anything can start" in consequence(
        ticket, stricter, lead, now=NOW
    )
