"""From what a person wrote to a signed envelope."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyrage
import pytest

from guard.cli.deployment import Deployment
from guard.cli.drafting import Draft, Sealed, sealed_and_signed
from guard.cli.profile import load_profile
from guard.core.approval import inspect
from guard.core.envelope import Kind, parse
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.subjects import Subject, SubjectKind, open_subjects
from guard.core.trust import TrustPolicy
from guard.core.window import Window
from guard.keys import load_identity
from tests.guard.cli.running import NOW

NUMBER = Subject(SubjectKind.TELEPHONE, "+4930231251234")
TESTED = Subject(SubjectKind.TELEPHONE, "+15550001")
PEER = Subject(SubjectKind.PEER_ADDRESS, "192.0.2.7")

TICKET = Draft(
    instrument=Instrument.TICKET,
    reference="INC-1",
    level=Level.MEDIA_HEADERS,
    nodes=("node-1",),
    window=Window(not_before=NOW, not_after=NOW + timedelta(hours=2)),
    recipients=("operator-1",),
    subjects=(NUMBER,),
    reason="one-way audio",
)
ORDER = replace(
    TICKET,
    instrument=Instrument.INTERCEPTION_ORDER,
    level=Level.CONTENT,
    recipients=("legal-1",),
    reason=None,
    legal_basis="StPO section 100a",
    issuing_authority="Amtsgericht Musterstadt",
    issuing_signer="RiAG Muster",
    presenting_officer="KHK Beispiel",
    presenting_agency="LKA Musterland",
    order_sha256="0" * 64,
)


def seal(demo: Deployment, policy: TrustPolicy, draft: Draft, person: str) -> Sealed:
    """Seal and sign a draft as ``person``."""
    signer = load_profile(demo.folder / "people" / person).signer()
    return sealed_and_signed(draft, policy, person, signer, now=NOW)


def test_the_envelope_is_what_guard_and_node_inspect(demo: Deployment, policy: TrustPolicy) -> None:
    """The registrant has signed what was drafted, and only the approval is missing."""
    sealed = seal(demo, policy, TICKET, "operator-1")
    inspection = inspect(sealed.envelope, policy, now=NOW)
    assert inspection.registrant.name == "operator-1"
    assert inspection.missing == "1 more signature by approver"
    assert inspection.authority == sealed.authority
    assert inspection.authority.window == TICKET.window
    operator = policy.principal("operator-1")
    assert operator
    assert inspection.authority.recipients == (operator.recipient,)


@pytest.mark.parametrize(
    ("draft", "registrant", "readers"),
    [
        (TICKET, "operator-1", {"node-1", "operator-1", "lead-1"}),
        (ORDER, "legal-1", {"node-1", "legal-1", "legal-2"}),
    ],
)
def test_subjects_open_for_nodes_approvers_and_registrant_only(
    draft: Draft, registrant: str, readers: set[str], demo: Deployment, policy: TrustPolicy
) -> None:
    """Whoever must check the subjects can; the auditor and the other side cannot."""
    authority = seal(demo, policy, draft, registrant).authority
    keys = {path.parent.name: load_identity(path) for path in demo.folder.rglob("sealing.key")}
    assert len(keys) == 6
    sealed, expected = authority.sealed_subjects, authority.subjects_commitment
    for name in readers:
        assert open_subjects(sealed, expected, [keys.pop(name)]) == (NUMBER,)
    for identity in keys.values():
        with pytest.raises(Refused) as raised:
            open_subjects(sealed, expected, [identity])
        assert raised.value.reason is Reason.SUBJECTS_UNREADABLE


def test_the_envelope_tells_no_subject(demo: Deployment, policy: TrustPolicy) -> None:
    """Neither the bytes that the guard gets nor any repr holds the number."""
    sealed = seal(demo, policy, TICKET, "operator-1")
    payload = parse(sealed.envelope, Kind.AUTHORITY).payload
    for text in (payload.decode(), repr(sealed), repr(TICKET), repr(sealed.authority)):
        assert "231251234" not in text


def test_the_same_draft_commits_differently_each_time(
    demo: Deployment, policy: TrustPolicy
) -> None:
    """A fresh salt: nobody can tell from commitments that two authorities have one subject."""
    first, second = (seal(demo, policy, TICKET, "operator-1").authority for _ in range(2))
    assert first.subjects_commitment != second.subjects_commitment
    assert first.id != second.id


@pytest.mark.parametrize(
    ("draft", "person", "reason"),
    [
        (replace(TICKET, level=Level.CONTENT), "operator-1", Reason.SUBJECT_NOT_ON_TEST_LIST),
        (
            replace(TICKET, level=Level.CONTENT, subjects=(TESTED,)),
            "operator-1",
            Reason.LEVEL_NOT_PERMITTED,
        ),
        (
            replace(TICKET, window=Window(not_before=NOW, not_after=NOW + timedelta(hours=25))),
            "operator-1",
            Reason.WINDOW_TOO_LONG,
        ),
        (
            replace(TICKET, window=Window(not_before=NOW - timedelta(hours=2), not_after=NOW)),
            "operator-1",
            Reason.EXPIRED,
        ),
        (replace(TICKET, nodes=("node-9",)), "operator-1", Reason.NODE_UNKNOWN),
        (replace(TICKET, recipients=("nobody-1",)), "operator-1", Reason.RECIPIENT_NOT_PERMITTED),
        (replace(TICKET, recipients=("age1xyz",)), "operator-1", Reason.RECIPIENT_NOT_PERMITTED),
        (
            replace(TICKET, instrument=Instrument.TEST),
            "operator-1",
            Reason.SUBJECT_NOT_ON_TEST_LIST,
        ),
        (replace(ORDER, subjects=(PEER,)), "legal-1", Reason.SUBJECT_NOT_PERMITTED),
        (replace(ORDER, order_sha256=None), "legal-1", Reason.DOCUMENT_MALFORMED),
        (replace(TICKET, subjects=()), "operator-1", Reason.DOCUMENT_MALFORMED),
        (TICKET, "lead-1", Reason.SIGNER_ROLE_WRONG),
        (ORDER, "operator-1", Reason.SIGNER_ROLE_WRONG),
    ],
)
def test_what_the_rules_deny_is_denied_at_home(
    draft: Draft, person: str, reason: Reason, demo: Deployment, policy: TrustPolicy
) -> None:
    """Each rule that the guard or a node would apply refuses the draft by its own name."""
    with pytest.raises(Refused) as raised:
        seal(demo, policy, draft, person)
    assert raised.value.reason is reason
    assert "231251234" not in str(raised.value)


def test_a_node_is_no_recipient(demo: Deployment, policy: TrustPolicy) -> None:
    """Who captures must not be able to read."""
    draft = replace(TICKET, recipients=(policy.nodes[0].recipient,))
    with pytest.raises(Refused) as raised:
        seal(demo, policy, draft, "operator-1")
    assert raised.value.reason is Reason.RECIPIENT_NOT_PERMITTED


def test_a_recipient_may_be_a_key_of_somebody_outside(
    demo: Deployment, policy: TrustPolicy
) -> None:
    """A law enforcement monitoring facility is named by its key."""
    key = str(pyrage.x25519.Identity.generate().to_public())
    draft = replace(ORDER, recipients=(key, "legal-2"))
    legal = policy.principal("legal-2")
    assert legal
    assert seal(demo, policy, draft, "legal-1").authority.recipients == (key, legal.recipient)


def test_nobody_can_register_what_nobody_else_can_approve(
    demo: Deployment, policy: TrustPolicy
) -> None:
    """With one legal person left a warrant is refused before it is sent."""
    alone = replace(policy, principals=tuple(p for p in policy.principals if p.name != "legal-2"))
    with pytest.raises(Refused) as raised:
        seal(demo, alone, ORDER, "legal-1")
    assert raised.value.reason is Reason.APPROVALS_MISSING
