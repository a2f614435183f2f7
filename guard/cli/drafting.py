"""Drafting an authority: from what a person wrote to a signed envelope.

1. The subjects are sealed here, on the registrant's machine, to the nodes named, to everybody who
   may approve, and to the registrant. The guard gets the sealed list and its commitment only.
2. The draft is held against the trust policy by the rules that guard and nodes apply, so that what
   is denied later is denied here first, in the same words.
3. A recipient is an ``age1…`` key or the name of a person of the trust policy; people only, since
   who captures must not read.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyrage
from securesystemslib.signer import Signer

from guard.cli.exits import UsageTroubleError
from guard.core.approval import inspect
from guard.core.authority import Authority, encode_authority
from guard.core.enforcement import Enforcement
from guard.core.envelope import Kind, encode, sign
from guard.core.instruments import Instrument, selectable
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.subjects import Subject, commitment, encode_subjects
from guard.core.trust import TrustPolicy
from guard.core.window import Window

__all__ = ["Draft", "Sealed", "digest_of_file", "require_selectable", "sealed_and_signed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the registrant wants; which texts an instrument has is `guard.core.authority`'s rule."""

    instrument: Instrument
    reference: str
    level: Level
    nodes: tuple[str, ...]
    window: Window
    recipients: tuple[str, ...]
    subjects: tuple[Subject, ...] = field(repr=False)
    legal_basis: str | None = None
    issuing_authority: str | None = None
    issuing_signer: str | None = None
    presenting_officer: str | None = None
    presenting_agency: str | None = None
    order_sha256: str | None = None
    reason: str | None = None
    max_calls: int | None = None
    max_bytes: int | None = None
    enforcement: Enforcement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An authority as it will be registered."""

    authority: Authority
    envelope: bytes = field(repr=False)


def sealed_and_signed(
    draft: Draft, policy: TrustPolicy, registrant: str, signer: Signer, *, now: datetime
) -> Sealed:
    """Seal the subjects, make the document, sign it and hold it against the rules.

    Raises ``Refused`` with the reason that the guard or a node would give.
    """
    require_selectable(draft.instrument, draft.level, draft.subjects, policy)
    plaintext = encode_subjects(secrets.token_bytes(32), draft.subjects)
    addressees = _addressees(draft, policy, registrant)
    authority = Authority(
        id=str(uuid.uuid4()),
        instrument=draft.instrument,
        reference=draft.reference,
        registrant=registrant,
        level=draft.level,
        nodes=draft.nodes,
        window=draft.window,
        recipients=_recipients(draft.recipients, policy),
        sealed_subjects=pyrage.encrypt(plaintext, addressees),
        subjects_commitment=commitment(plaintext),
        legal_basis=draft.legal_basis,
        issuing_authority=draft.issuing_authority,
        issuing_signer=draft.issuing_signer,
        presenting_officer=draft.presenting_officer,
        presenting_agency=draft.presenting_agency,
        order_sha256=draft.order_sha256,
        reason=draft.reason,
        max_calls=draft.max_calls,
        max_bytes=draft.max_bytes,
        enforcement=draft.enforcement,
    )
    envelope = encode(sign(encode_authority(authority), Kind.AUTHORITY, signer))
    inspect(envelope, policy, now=now)
    if authority.window.not_after <= now:
        raise Refused(Reason.EXPIRED, "the window is over already")
    return Sealed(authority=authority, envelope=envelope)


def require_selectable(
    instrument: Instrument, level: Level, subjects: Iterable[Subject], policy: TrustPolicy
) -> None:
    """Refuse subjects that no node would accept: of a kind too wide, or not on the test list."""
    kinds = selectable(instrument)
    for subject in subjects:
        if subject.kind not in kinds:
            raise Refused(
                Reason.SUBJECT_NOT_PERMITTED, f"a {instrument} may not name a {subject.kind}"
            )
        tested = instrument is Instrument.TEST or (
            instrument is Instrument.TICKET and level is Level.CONTENT
        )
        if tested and subject not in policy.test_subjects:
            raise Refused(
                Reason.SUBJECT_NOT_ON_TEST_LIST, "a subject is not on the policy's test list"
            )


def _addressees(
    draft: Draft, policy: TrustPolicy, registrant: str
) -> Sequence[pyrage.x25519.Recipient]:
    """Return who may open the subjects (rule 1)."""
    rule = policy.rule(draft.instrument)
    person = policy.principal(registrant)
    if person is None or rule.registrant not in person.roles:
        raise Refused(
            Reason.SIGNER_ROLE_WRONG, f"{registrant} does not hold the role {rule.registrant}"
        )
    found = [person.recipient]
    for name in draft.nodes:
        node = policy.node(name)
        if node is None:
            raise Refused(Reason.NODE_UNKNOWN, f"{name} is not a node of the trust policy")
        found.append(node.recipient)
    approvers = [each for each in policy.principals if rule.approver in each.roles]
    if not any(each.name != registrant for each in approvers):
        raise Refused(
            Reason.APPROVALS_MISSING, f"nobody else holds the role {rule.approver} to approve it"
        )
    found += (each.recipient for each in approvers)
    return [pyrage.x25519.Recipient.from_str(text) for text in dict.fromkeys(found)]


def _recipients(names: Iterable[str], policy: TrustPolicy) -> tuple[str, ...]:
    """Resolve names of people (rule 3)."""
    found = []
    for name in names:
        person = policy.principal(name)
        if person is None and not name.startswith("age1"):
            raise Refused(
                Reason.RECIPIENT_NOT_PERMITTED, f"{name} is neither a person nor an age1… key"
            )
        found.append(person.recipient if person else name)
    return tuple(found)


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a scanned order, in hex; raises UsageTroubleError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageTroubleError(f"cannot read the order {path}: {error.strerror}") from error
