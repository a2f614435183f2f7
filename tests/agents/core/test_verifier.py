"""The verifier: each test breaks just one of its rules and sees that rule's named refusal.

Everything else in the evidence stays as an honest deployment would have made it; where a thief of
the guard is the forger, the thief uses the guard's and the log's own keys.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.core.verifier import NodeContext, VerifiedGrant, verify_evidence
from guard.core import envelope as dsse
from guard.core.approval import inspect
from guard.core.authority import Authority, encode_authority
from guard.core.enforcement import Enforcement
from guard.core.envelope import Kind
from guard.core.evidence import Evidence
from guard.core.grant import Grant, encode_grant
from guard.core.instruments import DEFAULTS, Instrument
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.record import RecordKind
from guard.core.subjects import SubjectKind, commitment, encode_subjects
from guard.core.trust import SigningKey, advance
from guard.core.window import Window
from tests.builders.deployment import (
    TEST_SUBJECT,
    WITNESS_NAME,
    Deployment,
    countersign,
    log_policy,
    new_id,
    new_keys,
    seal,
    sign,
    subject,
    vkey,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


def context(deployment: Deployment, **changes: Any) -> NodeContext:
    fields: dict[str, Any] = {
        "name": "node-1",
        "identities": [deployment.nodes["node-1"].identity],
        "ended": frozenset(),
        "revoked": frozenset(),
        "guard_time": deployment.now,
        "enforced": Enforcement.DETECT,
    }
    return NodeContext(**(fields | changes))


def verify(deployment: Deployment, evidence: Evidence, **changes: Any) -> VerifiedGrant:
    return verify_evidence(
        evidence, deployment.trusted, context(deployment, **changes), now=deployment.now
    )


def refused(reason: Reason, attempt: Callable[[], object]) -> None:
    """See the attempt refused for this reason, without any subject in what is said."""
    with pytest.raises(Refused) as caught:
        attempt()
    assert caught.value.reason is reason, caught.value
    assert "49891" not in str(caught.value)
    assert "49999" not in str(caught.value)


def logged(deployment: Deployment, authority: bytes, grant: Grant | bytes) -> Evidence:
    """Log a grant as whoever holds the guard can: with its keys, and the witness's help."""
    return deployment.evidence(authority, grant)


def grant_for(deployment: Deployment, authority: Authority, envelope: bytes) -> Grant:
    """Make a grant as a thief of the guard would: without asking whether anybody approved."""
    return Grant(
        id=new_id(),
        authority_id=authority.id,
        authority_digest=dsse.digest(envelope),
        node="node-1",
        level=authority.level,
        window=authority.window,
        lease=timedelta(seconds=30),
        issued_at=deployment.now,
    )


def forced(deployment: Deployment, authority: Authority, envelope: bytes) -> Evidence:
    """Grant and log an authority whether or not it is approved."""
    return logged(deployment, envelope, grant_for(deployment, authority, envelope))


def other_window(deployment: Deployment, before: timedelta, after: timedelta) -> Window:
    return Window(not_before=deployment.now + before, not_after=deployment.now + after)


# --- what passes --------------------------------------------------------------------------------


@pytest.mark.parametrize("instrument", DEFAULTS)
def test_honest_evidence_passes(deployment: Deployment, instrument: Instrument) -> None:
    """Evidence that breaks no rule verifies, for every instrument, to what was granted."""
    evidence = deployment.evidence(deployment.approved(instrument))
    verified = verify(deployment, evidence)
    assert verified.authority.instrument is instrument
    assert verified.window == verified.grant.window == verified.authority.window
    assert verified.level is verified.authority.level
    assert verified.lease == timedelta(seconds=30)
    assert len(verified.subjects) == 1


def test_emergency_under_one_signature_ends_after_48_hours(deployment: Deployment) -> None:
    """An emergency that one legal person signed passes, cut to 48 hours from its beginning."""
    window = other_window(deployment, -HOUR, timedelta(days=6))
    authority = deployment.authority(Instrument.EMERGENCY, window=window)
    verified = verify(deployment, deployment.evidence(deployment.register(authority)))
    assert verified.window == window.cut(timedelta(hours=48))
    second = deployment.approve(deployment.register(authority), "legal-2")
    assert verify(deployment, deployment.evidence(second)).window == window


def test_a_lower_level_and_a_shorter_window_pass(deployment: Deployment) -> None:
    """A grant may ask for less than its authority: what is armed is the grant's own."""
    envelope = deployment.approved(Instrument.INTERCEPTION_ORDER)
    window = other_window(deployment, -HOUR, timedelta(minutes=5))
    grant = deployment.grant(envelope, level=Level.SIGNALLING, window=window)
    verified = verify(deployment, deployment.evidence(envelope, grant))
    assert (verified.level, verified.window) == (Level.SIGNALLING, window)


# --- only the verifier makes a verified grant ---------------------------------------------------


def test_nobody_else_makes_a_verified_grant(deployment: Deployment) -> None:
    """A verified grant can be neither constructed nor changed outside the verifier."""
    verified = verify(deployment, deployment.evidence(deployment.approved()))
    fields = {f.name: getattr(verified, f.name) for f in dataclasses.fields(verified)}
    with pytest.raises(TypeError):
        VerifiedGrant(**fields)
    with pytest.raises(TypeError):
        VerifiedGrant(**fields, token=object())
    with pytest.raises((TypeError, ValueError)):
        replace(verified, level=Level.CONTENT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.level = Level.CONTENT  # type: ignore[misc]
    assert copy.copy(verified) == verified


def test_a_verified_grant_does_not_show_its_subjects(deployment: Deployment) -> None:
    """The repr of a verified grant and of the node's context holds no subject and no key."""
    verified = verify(deployment, deployment.evidence(deployment.approved()))
    shown = repr(verified) + repr(context(deployment))
    assert verified.subjects[0].value.lstrip("+") not in shown
    assert "AGE-SECRET-KEY" not in shown
    assert "Identity" not in shown


# --- (0) the clock ------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [timedelta(seconds=6), timedelta(days=-1), timedelta(days=1)])
def test_clock_in_doubt(deployment: Deployment, off: timedelta) -> None:
    """A clock that differs from the guard's by more than the policy allows refuses."""
    evidence = deployment.evidence(deployment.approved())
    guard_time = deployment.now + off
    refused(Reason.CLOCK_IN_DOUBT, lambda: verify(deployment, evidence, guard_time=guard_time))


def test_unknown_clock_is_in_doubt(deployment: Deployment) -> None:
    """A node that does not know the guard's time refuses."""
    evidence = deployment.evidence(deployment.approved())
    refused(Reason.CLOCK_IN_DOUBT, lambda: verify(deployment, evidence, guard_time=None))


# --- (1) the trust policy -----------------------------------------------------------------------


def test_expired_policy(deployment: Deployment) -> None:
    """A policy that was trusted once refuses everything from its expiry on."""
    evidence = deployment.evidence(deployment.approved())
    late = deployment.policy.expires_at
    refused(
        Reason.TRUST_POLICY_EXPIRED,
        lambda: verify_evidence(
            evidence, deployment.trusted, context(deployment, guard_time=late), now=late
        ),
    )


def test_expired_policy_is_not_advanced_to(deployment: Deployment) -> None:
    """Nobody gets from pinned roots to an expired policy."""
    refused(
        Reason.TRUST_POLICY_EXPIRED,
        lambda: deployment.trust(deployment.policy_envelope, now=deployment.policy.expires_at),
    )


def test_policy_rolled_back(deployment: Deployment) -> None:
    """A policy older than one already trusted refuses, however well it is signed."""
    second = deployment.sign_policy(replace(deployment.policy, version=2))
    trusted = deployment.trust(deployment.policy_envelope, second)
    refused(
        Reason.TRUST_POLICY_ROLLED_BACK,
        lambda: advance(trusted, [deployment.policy_envelope], now=deployment.now),
    )


def test_policy_under_signed(deployment: Deployment) -> None:
    """One root of two does not make a policy."""
    lonely = deployment.sign_policy(deployment.policy, deployment.roots[:1])
    refused(Reason.TRUST_POLICY_UNTRUSTED, lambda: deployment.trust(lonely))


def test_policy_by_strangers(deployment: Deployment) -> None:
    """A policy signed by roots of the guard's own making is refused."""
    stranger = Deployment()
    refused(Reason.TRUST_POLICY_UNTRUSTED, lambda: deployment.trust(stranger.policy_envelope))


# --- (2) the authority's signatures -------------------------------------------------------------


def test_forged_row(deployment: Deployment) -> None:
    """An authority that a database merely calls approved, with no signature, refuses."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = sign(encode_authority(authority), Kind.AUTHORITY, [])
    refused(
        Reason.APPROVALS_MISSING,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_forged_signature(deployment: Deployment) -> None:
    """A signature under a real person's key id that the person did not make refuses."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = deployment.register(authority)
    made = dsse.Signature(
        keyid=deployment.people["legal-2"].signer.public_key.keyid, sig=os.urandom(64)
    )
    forged = dsse.encode(dsse.with_signature(dsse.parse(envelope, Kind.AUTHORITY), made))
    refused(
        Reason.SIGNATURE_INVALID,
        lambda: verify(deployment, forced(deployment, authority, forged)),
    )


def test_signatures_of_another_authority(deployment: Deployment) -> None:
    """Signatures that people made on one authority do not carry another."""
    approved = dsse.parse(deployment.approved(Instrument.INTERCEPTION_ORDER), Kind.AUTHORITY)
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = dsse.encode(replace(approved, payload=encode_authority(authority)))
    refused(
        Reason.SIGNATURE_INVALID,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_stolen_guard_key(deployment: Deployment) -> None:
    """Whoever steals the guard, its log and its keys cannot make an authority of it."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    for signers in (
        [deployment.guard.signer],
        [deployment.people["legal-1"].signer, deployment.guard.signer],
    ):
        envelope = sign(encode_authority(authority), Kind.AUTHORITY, signers)
        refused(
            Reason.SIGNATURE_INVALID,
            lambda made=envelope: verify(deployment, forced(deployment, authority, made)),
        )


@pytest.mark.parametrize("whose", ["node", "root", "stranger"])
def test_keys_of_machines_and_strangers_are_nobodys(deployment: Deployment, whose: str) -> None:
    """A node's, a root's or an unknown key on an authority refuses it, not merely counts nothing."""
    signer = {
        "node": deployment.nodes["node-1"].signer,
        "root": deployment.roots[0],
        "stranger": new_keys("stranger").signer,
    }[whose]
    authority = deployment.authority()
    envelope = deployment.approve(deployment.approved(authority), signer)
    refused(
        Reason.SIGNATURE_INVALID,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_one_signer_twice(deployment: Deployment) -> None:
    """One person with two keys is one person."""
    spare = new_keys("spare")
    legal = deployment.principal("legal-1")
    key = SigningKey(key=spare.signer.public_key, valid=legal.signing_keys[0].valid)
    twice = replace(legal, signing_keys=(*legal.signing_keys, key))
    others = tuple(p for p in deployment.policy.principals if p.name != "legal-1")
    deployment.adopt(principals=(twice, *others))
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = deployment.approve(deployment.register(authority), spare.signer)
    refused(
        Reason.SIGNER_NOT_DISTINCT,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_one_signature_written_twice(deployment: Deployment) -> None:
    """The same signature listed twice is no envelope."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    value = json.loads(deployment.register(authority))
    value["signatures"] *= 2
    envelope = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    refused(
        Reason.DOCUMENT_MALFORMED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


@pytest.mark.parametrize(
    ("instrument", "second"),
    [
        (Instrument.TICKET, "legal-1"),
        (Instrument.TICKET, "auditor-1"),
        (Instrument.INTERCEPTION_ORDER, "lead-1"),
        (Instrument.PEN_REGISTER, "operator-1"),
        (Instrument.EMERGENCY, "auditor-1"),
        (Instrument.TEST, "legal-2"),
    ],
)
def test_wrong_role_approves(deployment: Deployment, instrument: Instrument, second: str) -> None:
    """A second signature by somebody without the approver's role refuses the authority."""
    authority = deployment.authority(instrument)
    envelope = deployment.approve(deployment.register(authority), second)
    refused(
        Reason.SIGNER_ROLE_WRONG,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_wrong_role_registers(deployment: Deployment) -> None:
    """A warrant that an operator registered refuses, though legal signed it."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER, registrant="operator-1")
    envelope = deployment.approve(deployment.register(authority), "legal-1")
    refused(
        Reason.SIGNER_ROLE_WRONG,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_registrant_did_not_sign(deployment: Deployment) -> None:
    """An authority that names a registrant who has not signed refuses."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = deployment.register(authority, by="legal-2")
    refused(
        Reason.APPROVALS_MISSING,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


@pytest.mark.parametrize("instrument", [i for i in DEFAULTS if i != Instrument.EMERGENCY])
def test_approval_missing(deployment: Deployment, instrument: Instrument) -> None:
    """The registrant alone starts nothing."""
    authority = deployment.authority(instrument)
    envelope = deployment.register(authority)
    refused(
        Reason.APPROVALS_MISSING,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


@pytest.mark.parametrize("who", ["legal-1", "legal-2"])
def test_signer_key_expired(deployment: Deployment, who: str) -> None:
    """A signature by a key that is outside its window now refuses, on either side."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    envelope = deployment.approved(authority)
    over = other_window(deployment, -10 * HOUR, timedelta(0))
    deployment.adopt(
        principals=tuple(
            replace(p, signing_keys=tuple(replace(k, valid=over) for k in p.signing_keys))
            if p.name == who
            else p
            for p in deployment.policy.principals
        )
    )
    refused(
        Reason.SIGNER_KEY_NOT_VALID,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_signer_left(deployment: Deployment) -> None:
    """Once somebody is out of the trust policy, what that person approved starts nothing new."""
    evidence = deployment.evidence(deployment.approved(Instrument.INTERCEPTION_ORDER))
    stayed = tuple(p for p in deployment.policy.principals if p.name != "legal-2")
    deployment.adopt(principals=stayed)
    refused(Reason.SIGNATURE_INVALID, lambda: verify(deployment, evidence))


def test_stricter_policy(deployment: Deployment) -> None:
    """Where the policy asks for two approvals, one is not enough."""
    rule = replace(DEFAULTS[Instrument.TICKET], approvals=2)
    deployment.adopt(instruments={**DEFAULTS, Instrument.TICKET: rule})
    authority = deployment.authority()
    envelope = deployment.approved(authority)
    refused(
        Reason.APPROVALS_MISSING,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_instrument_without_a_rule(deployment: Deployment) -> None:
    """An instrument that the policy does not mention is not permitted."""
    rules = {k: v for k, v in DEFAULTS.items() if k != Instrument.TICKET}
    evidence = deployment.evidence(deployment.approved())
    deployment.adopt(instruments=rules)
    refused(Reason.INSTRUMENT_UNKNOWN, lambda: verify(deployment, evidence))


@pytest.mark.parametrize("word", ["subpoena", "search_warrant"])
def test_stored_data_only(deployment: Deployment, word: str) -> None:
    """A subpoena or a search warrant refuses by name, even fully signed."""
    authority = deployment.authority(Instrument.INTERCEPTION_ORDER)
    payload = encode_authority(authority).replace(b"interception_order", word.encode())
    signers = [deployment.people[name].signer for name in ("legal-1", "legal-2")]
    envelope = sign(payload, Kind.AUTHORITY, signers)
    refused(
        Reason.STORED_DATA_ONLY,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


# --- (3) the authority's window -----------------------------------------------------------------


def test_authority_not_begun(deployment: Deployment) -> None:
    """Before its beginning an authority starts nothing."""
    window = other_window(deployment, timedelta(microseconds=1), HOUR)
    evidence = deployment.evidence(deployment.approved(window=window))
    refused(Reason.NOT_YET_VALID, lambda: verify(deployment, evidence))


def test_authority_over(deployment: Deployment) -> None:
    """At its very end an authority is over."""
    window = other_window(deployment, -HOUR, timedelta(0))
    evidence = deployment.evidence(deployment.approved(window=window))
    refused(Reason.EXPIRED, lambda: verify(deployment, evidence))


def test_emergency_over_after_48_hours(deployment: Deployment) -> None:
    """An emergency under one signature is over 48 hours after it began, whatever its text says."""
    window = other_window(deployment, timedelta(hours=-48), 24 * HOUR)
    authority = deployment.authority(Instrument.EMERGENCY, window=window)
    evidence = deployment.evidence(deployment.register(authority))
    refused(Reason.EXPIRED, lambda: verify(deployment, evidence))


@pytest.mark.parametrize("instrument", DEFAULTS)
def test_authority_too_long(deployment: Deployment, instrument: Instrument) -> None:
    """A window longer than its rule refuses, though everybody signed it."""
    longest = DEFAULTS[instrument].longest
    window = other_window(deployment, -HOUR, longest - HOUR + timedelta(seconds=1))
    authority = deployment.authority(instrument, window=window)
    envelope = deployment.approved(authority)
    refused(
        Reason.WINDOW_TOO_LONG,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


# --- (4) the grant ------------------------------------------------------------------------------


def test_grant_by_nobody(deployment: Deployment) -> None:
    """A grant without a signature refuses."""
    envelope = deployment.approved()
    grant = sign(encode_grant(deployment.grant(envelope)), Kind.GRANT, [])
    refused(Reason.GRANT_UNTRUSTED, lambda: verify(deployment, logged(deployment, envelope, grant)))


@pytest.mark.parametrize("whose", ["person", "node", "stranger"])
def test_grant_by_another(deployment: Deployment, whose: str) -> None:
    """A grant signed by anybody but a guard of the policy refuses."""
    signer = {
        "person": deployment.people["legal-1"].signer,
        "node": deployment.nodes["node-1"].signer,
        "stranger": new_keys("stranger").signer,
    }[whose]
    envelope = deployment.approved()
    grant = deployment.sign_grant(deployment.grant(envelope), signer)
    refused(Reason.GRANT_UNTRUSTED, lambda: verify(deployment, logged(deployment, envelope, grant)))


def test_grant_with_a_strangers_signature_beside(deployment: Deployment) -> None:
    """A grant that a stranger signed beside the guard refuses."""
    envelope = deployment.approved()
    signed = deployment.sign_grant(deployment.grant(envelope))
    grant = countersign(signed, Kind.GRANT, new_keys("stranger").signer)
    refused(Reason.GRANT_UNTRUSTED, lambda: verify(deployment, logged(deployment, envelope, grant)))


def test_grant_for_another_node(deployment: Deployment) -> None:
    """A grant for the node beside refuses here."""
    envelope = deployment.approved(nodes=("node-1", "node-2"))
    grant = deployment.grant(envelope, node="node-2")
    refused(
        Reason.GRANT_WRONG_NODE, lambda: verify(deployment, logged(deployment, envelope, grant))
    )


def test_authority_does_not_name_the_node(deployment: Deployment) -> None:
    """A grant for a node that the authority does not name refuses, on that very node."""
    envelope = deployment.approved(nodes=("node-2",))
    grant = deployment.grant(envelope, node="node-1")
    refused(Reason.NODE_NOT_NAMED, lambda: verify(deployment, logged(deployment, envelope, grant)))


def test_grant_for_another_authority(deployment: Deployment) -> None:
    """A grant of one authority does not carry another that is just as well approved."""
    envelope, other = deployment.approved(), deployment.approved()
    grant = deployment.grant(other)
    refused(
        Reason.GRANT_WRONG_AUTHORITY,
        lambda: verify(deployment, logged(deployment, envelope, grant)),
    )


def test_grant_with_another_authoritys_id(deployment: Deployment) -> None:
    """A grant that names this envelope under another id refuses: revocations go by id."""
    envelope = deployment.approved()
    grant = deployment.grant(envelope, authority_id=new_id())
    refused(
        Reason.GRANT_WRONG_AUTHORITY,
        lambda: verify(deployment, logged(deployment, envelope, grant)),
    )


def test_grant_for_another_set_of_signatures(deployment: Deployment) -> None:
    """A grant made before a signature was added is not a grant of what it became."""
    authority = deployment.authority(Instrument.EMERGENCY)
    first = deployment.register(authority)
    grant = deployment.grant(first)
    envelope = deployment.approve(first, "legal-2")
    refused(
        Reason.GRANT_WRONG_AUTHORITY,
        lambda: verify(deployment, logged(deployment, envelope, grant)),
    )


def test_level_raised(deployment: Deployment) -> None:
    """A grant above its authority's level refuses."""
    envelope = deployment.approved(Instrument.INTERCEPTION_ORDER, level=Level.SIGNALLING)
    grant = deployment.grant(envelope, level=Level.MEDIA_HEADERS)
    refused(
        Reason.LEVEL_NOT_PERMITTED, lambda: verify(deployment, logged(deployment, envelope, grant))
    )


@pytest.mark.parametrize(
    ("instrument", "level"),
    [
        (Instrument.TICKET, Level.CONTENT),
        (Instrument.PEN_REGISTER, Level.MEDIA_HEADERS),
        (Instrument.PEN_REGISTER, Level.CONTENT),
    ],
)
def test_level_that_the_instrument_may_not_have(
    deployment: Deployment, instrument: Instrument, level: Level
) -> None:
    """No signatures give an instrument a level above its own."""
    authority = deployment.authority(instrument, level=level)
    envelope = deployment.approved(authority)
    refused(
        Reason.LEVEL_NOT_PERMITTED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


@pytest.mark.parametrize("listed", [True, False])
def test_content_under_a_ticket(deployment: Deployment, listed: bool) -> None:
    """A ticket never yields content, on the test list or off it."""
    subjects = [subject(TEST_SUBJECT) if listed else subject()]
    authority = deployment.authority(Instrument.TICKET, subjects, level=Level.CONTENT)
    envelope = deployment.approved(authority)
    refused(
        Reason.LEVEL_NOT_PERMITTED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_content_grant_of_a_ticket(deployment: Deployment) -> None:
    """A grant that makes content of an honest ticket refuses."""
    envelope = deployment.approved(Instrument.TICKET)
    grant = deployment.grant(envelope, level=Level.CONTENT)
    refused(
        Reason.LEVEL_NOT_PERMITTED, lambda: verify(deployment, logged(deployment, envelope, grant))
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [(timedelta(0), timedelta(seconds=1)), (timedelta(seconds=1), timedelta(0))],
)
def test_window_stretched(deployment: Deployment, earlier: timedelta, later: timedelta) -> None:
    """A grant that begins before or ends after its authority refuses."""
    envelope = deployment.approved()
    honest = deployment.grant(envelope)
    window = Window(
        not_before=honest.window.not_before - earlier, not_after=honest.window.not_after + later
    )
    grant = replace(honest, window=window)
    refused(
        Reason.GRANT_WINDOW_EXCEEDED,
        lambda: verify(deployment, logged(deployment, envelope, grant)),
    )


def test_emergency_stretched(deployment: Deployment) -> None:
    """A grant for an emergency's whole text refuses while only one person has signed."""
    window = other_window(deployment, -HOUR, timedelta(days=6))
    authority = deployment.authority(Instrument.EMERGENCY, window=window)
    envelope = deployment.register(authority)
    refused(
        Reason.GRANT_WINDOW_EXCEEDED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_lease_stretched(deployment: Deployment) -> None:
    """A grant with a longer lease than its rule's refuses."""
    envelope = deployment.approved()
    grant = deployment.grant(envelope, lease=timedelta(seconds=31))
    refused(
        Reason.GRANT_WINDOW_EXCEEDED,
        lambda: verify(deployment, logged(deployment, envelope, grant)),
    )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (timedelta(seconds=1), HOUR, Reason.NOT_YET_VALID),
        (-HOUR, timedelta(0), Reason.EXPIRED),
    ],
)
def test_grant_outside_its_own_window(
    deployment: Deployment, before: timedelta, after: timedelta, reason: Reason
) -> None:
    """A grant shorter than its authority is held to its own window."""
    envelope = deployment.approved()
    grant = deployment.grant(envelope, window=other_window(deployment, before, after))
    refused(reason, lambda: verify(deployment, logged(deployment, envelope, grant)))


# --- (5) the log --------------------------------------------------------------------------------


def test_proof_for_another_leaf(deployment: Deployment) -> None:
    """The proof of another grant's record, well logged, does not carry this one."""
    evidence = deployment.evidence(deployment.approved())
    other = deployment.evidence(deployment.approved())
    refused(
        Reason.LOG_PROOF_INVALID,
        lambda: verify(deployment, replace(evidence, proof=other.proof)),
    )


def test_record_not_in_the_tree(deployment: Deployment) -> None:
    """A record shown with the path of another leaf refuses."""
    envelope = deployment.approved()
    grant = deployment.sign_grant(deployment.grant(envelope))
    proof = deployment.prove(17, deployment.record(grant))
    evidence = Evidence(authority=envelope, grant=grant, proof=proof)
    refused(Reason.LOG_PROOF_INVALID, lambda: verify(deployment, evidence))


def test_record_of_another_kind(deployment: Deployment) -> None:
    """A denial on record is no grant on record."""
    envelope = deployment.approved()
    grant = deployment.sign_grant(deployment.grant(envelope))
    record = replace(deployment.record(grant), kind=RecordKind.CAPTURE_DENIED)
    proof = deployment.prove(deployment.append(record), record)
    evidence = Evidence(authority=envelope, grant=grant, proof=proof)
    refused(Reason.LOG_PROOF_INVALID, lambda: verify(deployment, evidence))


@pytest.mark.parametrize("name", ["grant_id", "authority_id", "node", "grant_digest"])
def test_record_that_says_something_else(deployment: Deployment, name: str) -> None:
    """A record that misstates its grant refuses: the auditor reads the record."""
    envelope = deployment.approved()
    grant = deployment.sign_grant(deployment.grant(envelope))
    record = deployment.record(grant, **{name: "another"})
    proof = deployment.prove(deployment.append(record), record)
    evidence = Evidence(authority=envelope, grant=grant, proof=proof)
    refused(Reason.LOG_PROOF_INVALID, lambda: verify(deployment, evidence))


def prove_with(deployment: Deployment, checkpoint: Callable[[], bytes]) -> Evidence:
    """Log an honest grant and prove it under another checkpoint of the same tree."""
    envelope = deployment.approved()
    grant = deployment.sign_grant(deployment.grant(envelope))
    record = deployment.record(grant)
    index = deployment.append(record)
    proof = deployment.prove(index, record, checkpoint())
    return Evidence(authority=envelope, grant=grant, proof=proof)


def test_stale_checkpoint(deployment: Deployment) -> None:
    """A checkpoint cosigned longer ago than the policy allows refuses."""
    long_ago = deployment.now - deployment.policy.checkpoint_max_age - timedelta(seconds=1)
    evidence = prove_with(deployment, lambda: deployment.checkpoint(at=long_ago))
    refused(Reason.CHECKPOINT_STALE, lambda: verify(deployment, evidence))


def test_missing_quorum(deployment: Deployment) -> None:
    """A checkpoint that only the log signed refuses."""
    evidence = prove_with(deployment, lambda: deployment.checkpoint(witnesses=()))
    refused(Reason.WITNESS_QUORUM_MISSING, lambda: verify(deployment, evidence))


def test_short_quorum(deployment: Deployment) -> None:
    """Where the policy asks for two witnesses, one is not enough."""
    second = vkey("second.callguard.test", 4, Ed25519PrivateKey.generate())
    first = vkey(WITNESS_NAME, 4, deployment.witness_key)
    deployment.adopt(log=log_policy(deployment.policy.log.vkey, [first, second], 2))
    evidence = deployment.evidence(deployment.approved())
    refused(Reason.WITNESS_QUORUM_MISSING, lambda: verify(deployment, evidence))


def test_strange_witness(deployment: Deployment) -> None:
    """A cosignature by a witness that the policy does not name counts for nothing."""
    stranger = Ed25519PrivateKey.generate()
    evidence = prove_with(deployment, lambda: deployment.checkpoint(witnesses=(stranger,)))
    refused(Reason.WITNESS_QUORUM_MISSING, lambda: verify(deployment, evidence))


def test_strange_log(deployment: Deployment) -> None:
    """A checkpoint that another key signed in the log's name refuses."""
    honest = deployment.log_key
    deployment.log_key = Ed25519PrivateKey.generate()
    evidence = prove_with(deployment, deployment.checkpoint)
    deployment.log_key = honest
    refused(Reason.CHECKPOINT_UNTRUSTED, lambda: verify(deployment, evidence))


# --- (6) the end --------------------------------------------------------------------------------


def test_replayed_grant(deployment: Deployment) -> None:
    """A grant that ended on this node does not begin again."""
    envelope = deployment.approved()
    grant = deployment.grant(envelope)
    evidence = deployment.evidence(envelope, grant)
    refused(Reason.REPLAYED, lambda: verify(deployment, evidence, ended={grant.id}))


@pytest.mark.parametrize("which", ["id", "authority_id"])
def test_revoked(deployment: Deployment, which: str) -> None:
    """A revocation of the authority or of the grant is obeyed, whatever else verifies."""
    envelope = deployment.approved()
    grant = deployment.grant(envelope)
    evidence = deployment.evidence(envelope, grant)
    revoked = {getattr(grant, which)}
    refused(Reason.REVOKED, lambda: verify(deployment, evidence, revoked=revoked))


# --- (7) the sentry -----------------------------------------------------------------------------


@pytest.mark.parametrize("demanded", Enforcement)
@pytest.mark.parametrize("enforced", Enforcement)
def test_what_is_demanded_of_the_node(
    deployment: Deployment, demanded: Enforcement, enforced: Enforcement
) -> None:
    """The node's own proof must bear it out: as much or more passes, less refuses."""
    evidence = deployment.evidence(deployment.approved(enforcement=demanded))
    if enforced.rank >= demanded.rank:
        assert verify(deployment, evidence, enforced=enforced).authority.enforcement is demanded
    else:
        refused(Reason.NODE_NOT_ENFORCING, lambda: verify(deployment, evidence, enforced=enforced))


def test_a_demand_taken_out(deployment: Deployment) -> None:
    """Who holds the guard cannot lower what people signed: the text is another's then."""
    authority = deployment.authority(enforcement=Enforcement.PREVENT)
    signed = deployment.approved(authority)
    for lower in (None, Enforcement.DETECT, Enforcement.KILL):
        parsed = dsse.parse(signed, dsse.Kind.AUTHORITY)
        payload = encode_authority(replace(authority, enforcement=lower))
        forged = dsse.encode(replace(parsed, payload=payload))
        evidence = forced(deployment, replace(authority, enforcement=lower), forged)
        refused(
            Reason.SIGNATURE_INVALID,
            lambda given=evidence: verify(deployment, given, enforced=Enforcement.KILL),
        )


# --- (8) the subjects ---------------------------------------------------------------------------


def sealed_anew(deployment: Deployment, plaintext: bytes, **changes: Any) -> Evidence:
    """Make honest evidence of an authority whose sealed subjects hold these bytes."""
    openers = [deployment.nodes["node-1"].recipient]
    fields: dict[str, Any] = {
        "sealed_subjects": seal(plaintext, openers),
        "subjects_commitment": commitment(plaintext),
    }
    instrument = changes.pop("instrument", Instrument.TICKET)
    return deployment.evidence(deployment.approved(instrument, **(fields | changes)))


def test_wrong_commitment(deployment: Deployment) -> None:
    """Subjects other than those committed to refuse."""
    other = commitment(encode_subjects(os.urandom(32), [subject("+4989000111")]))
    evidence = deployment.evidence(deployment.approved(subjects_commitment=other))
    refused(Reason.SUBJECTS_MISMATCH, lambda: verify(deployment, evidence))


def test_sealed_to_another_node(deployment: Deployment) -> None:
    """Subjects that do not open with this node's key refuse."""
    evidence = deployment.evidence(deployment.approved())
    stranger = pyrage.x25519.Identity.generate()
    for identities in ([stranger], []):
        refused(
            Reason.SUBJECTS_UNREADABLE,
            lambda given=identities: verify(deployment, evidence, identities=given),
        )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("telephone", "*"),
        ("telephone", "+4989*"),
        ("sip_uri", "*@example.com"),
        ("sip_uri", "example.com"),
        ("call_id", "*"),
        ("peer_address", "0.0.0.0"),
        ("peer_address", "192.0.2.0/24"),
        ("telephone", "0891234567"),
        ("telephone", "+49 89 123456"),
    ],
)
def test_wildcard_subject(deployment: Deployment, kind: str, value: str) -> None:
    """A wildcard, or any subject not in its one spelling, refuses."""
    salt, entry = "ab" * 32, {"kind": kind, "value": value}
    plaintext = json.dumps(
        {"salt": salt, "subjects": [entry]}, sort_keys=True, separators=(",", ":")
    ).encode()
    evidence = sealed_anew(deployment, plaintext)
    refused(Reason.SUBJECT_NOT_PERMITTED, lambda: verify(deployment, evidence))


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"not json",
        b'{"salt":"' + b"ab" * 32 + b'","subjects":[]}',
        b'{"salt":"ab","subjects":[{"kind":"telephone","value":"+498912345"}]}',
        b'{"salt":"' + b"ab" * 32 + b'","subjects":[{"kind":"anybody","value":"+498912345"}]}',
        b'{"salt":"' + b"ab" * 32 + b'", "subjects":[{"kind":"telephone","value":"+498912345"}]}',
    ],
)
def test_malformed_subjects(deployment: Deployment, plaintext: bytes) -> None:
    """A sealed list that is no list of subjects refuses; an empty one never means everybody."""
    evidence = sealed_anew(deployment, plaintext)
    refused(Reason.DOCUMENT_MALFORMED, lambda: verify(deployment, evidence))


@pytest.mark.parametrize("instrument", [i for i in DEFAULTS if i != Instrument.TICKET])
def test_peer_address_outside_a_ticket(deployment: Deployment, instrument: Instrument) -> None:
    """Only a ticket may name a peer address."""
    peer = subject("192.0.2.7:5060", SubjectKind.PEER_ADDRESS)
    evidence = deployment.evidence(deployment.approved(instrument, subjects=[peer]))
    refused(Reason.SUBJECT_NOT_PERMITTED, lambda: verify(deployment, evidence))


def test_peer_address_in_a_ticket(deployment: Deployment) -> None:
    """A ticket may name a peer address."""
    peer = subject("192.0.2.7:5060", SubjectKind.PEER_ADDRESS)
    evidence = deployment.evidence(deployment.approved(Instrument.TICKET, subjects=[peer]))
    assert verify(deployment, evidence).subjects == (peer,)


@pytest.mark.parametrize("level", Level)
def test_test_of_somebody_off_the_list(deployment: Deployment, level: Level) -> None:
    """A test names nobody but test subjects, at any level, not even one among others."""
    subjects = [subject(TEST_SUBJECT), subject()]
    evidence = deployment.evidence(
        deployment.approved(Instrument.TEST, subjects=subjects, level=level)
    )
    refused(Reason.SUBJECT_NOT_ON_TEST_LIST, lambda: verify(deployment, evidence))


def test_empty_test_list(deployment: Deployment) -> None:
    """An empty test list means nobody."""
    evidence = deployment.evidence(deployment.approved(Instrument.TEST))
    deployment.adopt(test_subjects=())
    refused(Reason.SUBJECT_NOT_ON_TEST_LIST, lambda: verify(deployment, evidence))


def test_a_node_as_recipient(deployment: Deployment) -> None:
    """An authority whose captures a node could open refuses."""
    authority = deployment.authority(recipients=(deployment.nodes["node-2"].recipient,))
    envelope = deployment.approved(authority)
    refused(
        Reason.RECIPIENT_NOT_PERMITTED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


# --- the documents themselves -------------------------------------------------------------------


def rewritten(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    changed = change(data)
    assert changed != data
    return changed


_SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "a blank": lambda data: data.replace(b'":', b'": ', 1),
    "a final newline": lambda data: data + b"\n",
    "another order": lambda data: b"{" + data[1:-1].split(b",", 1)[1] + b"}",
    "an escape": lambda data: data.replace(b'"payload"', b'"p\\u0061yload"', 1),
    "a duplicate field": lambda data: b'{"payload":"",' + data[1:],
    "an unknown field": lambda data: data[:-1] + b',"zeal":1}',
    "a byte-order mark": lambda data: b"\xef\xbb\xbf" + data,
    "not UTF-8": lambda data: data[:-1] + b',"\xff":1}',
    "another kind": lambda data: data.replace(b"callguard.", b"callgourd.", 1),
    "cut short": lambda data: data[:-1],
    "oversized": lambda data: data[:-1] + b',"z":"' + b"z" * 300_000 + b'"}',
}


@pytest.mark.parametrize("part", ["authority", "grant"])
@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_another_spelling_of_an_envelope(deployment: Deployment, part: str, spelling: str) -> None:
    """An envelope spelled in any other way refuses, though its signatures would verify."""
    evidence = deployment.evidence(deployment.approved())
    changed = rewritten(getattr(evidence, part), _SPELLINGS[spelling])
    refused(
        Reason.DOCUMENT_MALFORMED,
        lambda: verify(deployment, replace(evidence, **{part: changed})),
    )


_PAYLOADS: dict[str, Callable[[bytes], bytes]] = {
    "a blank": lambda data: data.replace(b'":', b'": ', 1),
    "an unknown field": lambda data: data[:-1] + b',"zeal":1}',
    "a duplicate field": lambda data: data.replace(b'"id":', b'"id":"","id":', 1),
    "a float": lambda data: data[:-1] + b',"zeal":1.0}',
    "a missing field": lambda data: data.replace(b'"level":"media_headers",', b"", 1),
    "an unknown level": lambda data: data.replace(b'"media_headers"', b'"everything"', 1),
    "a time with an offset": lambda data: data.replace(b':00Z"', b':00+00:00"', 1),
    "a list": lambda data: b"[" + data + b"]",
    "nothing": lambda _data: b"",
}


@pytest.mark.parametrize("spelling", _PAYLOADS)
def test_another_spelling_of_an_authority(deployment: Deployment, spelling: str) -> None:
    """A payload that is not canonical refuses, even if the people themselves signed it so."""
    authority = deployment.authority()
    payload = rewritten(encode_authority(authority), _PAYLOADS[spelling])
    signers = [deployment.people[name].signer for name in ("operator-1", "lead-1")]
    envelope = sign(payload, Kind.AUTHORITY, signers)
    refused(
        Reason.DOCUMENT_MALFORMED,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


@pytest.mark.parametrize("spelling", _PAYLOADS)
def test_another_spelling_of_a_grant(deployment: Deployment, spelling: str) -> None:
    """A grant that is not canonical refuses, even if the guard signed it so."""
    evidence = deployment.evidence(deployment.approved())
    payload = dsse.parse(evidence.grant, Kind.GRANT).payload
    changed = sign(rewritten(payload, _PAYLOADS[spelling]), Kind.GRANT, [deployment.guard.signer])
    refused(Reason.DOCUMENT_MALFORMED, lambda: verify(deployment, replace(evidence, grant=changed)))


@pytest.mark.parametrize("part", ["authority", "grant", "proof"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\x00" * 100, b"z" * 1_000_000], ids=len)
def test_something_else(deployment: Deployment, part: str, data: bytes) -> None:
    """Anything that is not the document at all refuses as malformed, however large."""
    evidence = replace(deployment.evidence(deployment.approved()), **{part: data})
    refused(Reason.DOCUMENT_MALFORMED, lambda: verify(deployment, evidence))


def test_parts_swapped(deployment: Deployment) -> None:
    """An authority's envelope in the grant's place refuses, and the other way round."""
    evidence = deployment.evidence(deployment.approved())
    for swapped in (
        replace(evidence, grant=evidence.authority),
        replace(evidence, authority=evidence.grant),
    ):
        refused(Reason.DOCUMENT_MALFORMED, lambda made=swapped: verify(deployment, made))


def test_a_grant_is_not_an_authoritys_signature(deployment: Deployment) -> None:
    """A signature over one kind of document does not verify on another with the same payload."""
    authority = deployment.authority()
    signers = [deployment.people[name].signer for name in ("operator-1", "lead-1")]
    as_grant = sign(encode_authority(authority), Kind.GRANT, signers)
    envelope = dsse.encode(replace(dsse.parse(as_grant, Kind.GRANT), kind=Kind.AUTHORITY))
    refused(
        Reason.SIGNATURE_INVALID,
        lambda: verify(deployment, forced(deployment, authority, envelope)),
    )


def test_inspection_agrees(deployment: Deployment) -> None:
    """What the verifier calls approved, the guard's inspection calls complete."""
    envelope = deployment.approved()
    assert not inspect(envelope, deployment.policy, now=deployment.now).missing


# --- the order ----------------------------------------------------------------------------------


def test_the_rules_come_in_their_order(deployment: Deployment) -> None:
    """Evidence that breaks every rule is refused for the first; each one mended, for the next."""
    now, late = deployment.now, deployment.policy.expires_at
    over = other_window(deployment, -HOUR, timedelta(0))
    wrong = commitment(encode_subjects(os.urandom(32), [subject("+4989000111")]))
    signers = [deployment.people[name].signer for name in ("operator-1", "lead-1")]

    def evidence(**mended: Any) -> Evidence:
        made = {"signers": signers[:1], "window": over, "by": None, "at": now - HOUR} | mended
        authority = deployment.authority(
            window=made["window"], subjects_commitment=wrong, enforcement=Enforcement.KILL
        )
        envelope = sign(encode_authority(authority), Kind.AUTHORITY, made["signers"])
        grant = deployment.sign_grant(grant_for(deployment, authority, envelope), made["by"])
        record = deployment.record(grant)
        index = deployment.append(record)
        proof = deployment.prove(index, record, deployment.checkpoint(at=made["at"]))
        return Evidence(authority=envelope, grant=grant, proof=proof)

    def attempt(made: Evidence, at: Any = now, **known: Any) -> Callable[[], object]:
        revoked = known.pop("revoked", EVERYTHING)
        where = context(deployment, **({"guard_time": at, "revoked": revoked} | known))
        return lambda: verify_evidence(made, deployment.trusted, where, now=at)

    stranger = new_keys("stranger").signer
    refused(Reason.CLOCK_IN_DOUBT, attempt(evidence(by=stranger), late, guard_time=now))
    refused(Reason.TRUST_POLICY_EXPIRED, attempt(evidence(by=stranger), late))
    refused(Reason.APPROVALS_MISSING, attempt(evidence(by=stranger)))
    signed: dict[str, Any] = {"signers": signers}
    refused(Reason.EXPIRED, attempt(evidence(by=stranger, **signed)))
    signed["window"] = other_window(deployment, -HOUR, HOUR)
    refused(Reason.GRANT_UNTRUSTED, attempt(evidence(by=stranger, **signed)))
    refused(Reason.CHECKPOINT_STALE, attempt(evidence(**signed)))
    signed["at"] = now
    refused(Reason.REVOKED, attempt(evidence(**signed)))
    known: dict[str, Any] = {"revoked": frozenset()}
    refused(Reason.NODE_NOT_ENFORCING, attempt(evidence(**signed), **known))
    known["enforced"] = Enforcement.KILL
    refused(Reason.SUBJECTS_MISMATCH, attempt(evidence(**signed), **known))


class _Everything:
    """A set that holds every id: everything is revoked."""

    def __contains__(self, _: object) -> bool:
        return True


EVERYTHING = _Everything()


def test_over_comes_before_the_grant(deployment: Deployment) -> None:
    """An authority that is over refuses as over, whatever grant comes with it."""
    authority = deployment.authority(window=other_window(deployment, -HOUR, timedelta(0)))
    envelope = deployment.approved(authority)
    grant = replace(grant_for(deployment, authority, envelope), node="node-2")
    refused(Reason.EXPIRED, lambda: verify(deployment, logged(deployment, envelope, grant)))
