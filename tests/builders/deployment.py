"""A whole deployment in memory, with every private key at hand: what honest and forging tests need.

``Deployment()`` has two-of-three roots; the people legal-1, legal-2, operator-1, lead-1 (approver)
and auditor-1; the nodes node-1 and node-2; guard-1; a log, a witness; and a signed trust policy.
``deployment.now`` is the moment at which everything it makes is in force.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer

from guard.core import envelope as dsse
from guard.core.approval import require_approved
from guard.core.authority import Authority, encode_authority
from guard.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from guard.core.decision import Permit
from guard.core.enforcement import SentryMode
from guard.core.envelope import Kind
from guard.core.evidence import Evidence
from guard.core.grant import Grant, encode_grant, make_grant, parse_grant
from guard.core.instruments import DEFAULTS, WARRANTS, Instrument, requester
from guard.core.level import Level
from guard.core.logpolicy import LogPolicy, parse_log_policy, policy_text
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import parse_note, with_signatures
from guard.core.proof import LogProof, encode_proof
from guard.core.record import Record, RecordKind, encode_opening, leaf
from guard.core.subjects import Subject, SubjectKind, commitment, encode_subjects, parse_subject
from guard.core.trust import (
    GuardIdentity,
    NodeIdentity,
    PinnedRoots,
    Principal,
    Role,
    Roots,
    SigningKey,
    TrustedPolicy,
    TrustPolicy,
    advance,
    encode_policy,
)
from guard.core.window import Window

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
SUBJECT = "+4989123456"
TEST_SUBJECT = "+4989999000"
LOG_NAME = "log.callguard.test"
WITNESS_NAME = "witness.callguard.test"
_SPIFFE = "spiffe://callguard.test"
_ROLES = {
    "legal-1": Role.LEGAL,
    "legal-2": Role.LEGAL,
    "operator-1": Role.OPERATOR,
    "lead-1": Role.APPROVER,
    "auditor-1": Role.AUDITOR,
}
_APPROVER = {"legal-1": "legal-2", "legal-2": "legal-1", "operator-1": "lead-1"}
_LEVELS = {
    Instrument.PEN_REGISTER: Level.SIGNALLING,
    Instrument.TICKET: Level.MEDIA_HEADERS,
}


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The private side of a person, node or guard: signing key and age identity."""

    name: str
    signer: CryptoSigner
    identity: pyrage.x25519.Identity

    @property
    def recipient(self) -> str:
        return str(self.identity.to_public())

    @property
    def spiffe_id(self) -> str:
        return f"{_SPIFFE}/{self.name}"


class Source:
    """Where keys, ids and salts come from: fresh ones here, fixed ones for golden vectors."""

    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.generate()

    def identity(self) -> pyrage.x25519.Identity:
        return pyrage.x25519.Identity.generate()

    def salt(self) -> bytes:
        return os.urandom(32)

    def id(self) -> str:
        return str(uuid.uuid4())


FRESH = Source()


def new_keys(name: str, source: Source = FRESH) -> Keys:
    """Make keys under a name."""
    return Keys(name=name, signer=CryptoSigner(source.key()), identity=source.identity())


def new_id() -> str:
    return FRESH.id()


def vkey(name: str, kind: int, key: Ed25519PrivateKey) -> str:
    """Write a C2SP vkey: kind 1 is a log's Ed25519 key, kind 4 a witness's."""
    data = bytes([kind]) + key.public_key().public_bytes_raw()
    keyid = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex()
    return f"{name}+{keyid}+{b64encode(data).decode()}"


def log_policy(log: str, witnesses: Sequence[str], quorum: int = 1) -> LogPolicy:
    """Make the policy of a log of which so many of these witnesses must cosign."""
    return parse_log_policy(policy_text(log, witnesses, quorum))


def subject(text: str = SUBJECT, kind: SubjectKind = SubjectKind.TELEPHONE) -> Subject:
    return parse_subject(kind, text)


def seal(plaintext: bytes, recipients: Iterable[str]) -> bytes:
    """Seal bytes to age recipients."""
    keys = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
    sealed: bytes = pyrage.encrypt(plaintext, keys)
    return sealed


class Deployment:
    """See the module's docstring."""

    def __init__(self, now: datetime = NOW, source: Source = FRESH) -> None:
        self.now = now
        self.source = source
        self.roots = [CryptoSigner(source.key()) for _ in range(3)]
        self.people = {name: new_keys(name, source) for name in _ROLES}
        self.nodes = {name: new_keys(name, source) for name in ("node-1", "node-2")}
        self.guard = new_keys("guard-1", source)
        self.log_key = source.key()
        self.witness_key = source.key()
        self.tree = Tree()
        for number in range(1000):
            self.tree.append(leaf_hash(b"%d" % number))
        self.pinned = PinnedRoots(threshold=2, keys=tuple(each.public_key for each in self.roots))
        self.policy = self._first_policy()
        self.policy_envelope = self.sign_policy(self.policy)
        self.trusted = self.trust(self.policy_envelope)

    # --- the trust policy ---------------------------------------------------------------------

    def principal(self, name: str) -> Principal:
        found = self.policy.principal(name)
        assert found is not None, name
        return found

    def sign_policy(self, policy: TrustPolicy, signers: Sequence[Signer] | None = None) -> bytes:
        """Sign a policy with two roots, or with the signers given."""
        return sign(encode_policy(policy), Kind.TRUST_POLICY, signers or self.roots[:2])

    def trust(self, *envelopes: bytes, now: datetime | None = None) -> TrustedPolicy:
        """Follow envelopes from the pinned roots."""
        return advance(self.pinned, envelopes, now=now or self.now)

    def adopt(self, **changes: Any) -> TrustedPolicy:
        """Change the policy in place, as version 1 anew: every later document is made under it."""
        self.policy = replace(self.policy, **changes)
        self.policy_envelope = self.sign_policy(self.policy)
        self.trusted = self.trust(self.policy_envelope)
        return self.trusted

    def _first_policy(self) -> TrustPolicy:
        always = Window(
            not_before=self.now - timedelta(days=30), not_after=self.now + timedelta(days=300)
        )
        return TrustPolicy(
            version=1,
            issued_at=self.now - timedelta(days=1),
            expires_at=self.now + timedelta(days=90),
            roots=Roots(threshold=2, keys=self.pinned.keys),
            principals=tuple(
                Principal(
                    name=name,
                    spiffe_id=keys.spiffe_id,
                    roles=frozenset({_ROLES[name]}),
                    signing_keys=(SigningKey(key=keys.signer.public_key, valid=always),),
                    recipient=keys.recipient,
                )
                for name, keys in self.people.items()
            ),
            nodes=tuple(
                NodeIdentity(
                    name=name,
                    spiffe_id=keys.spiffe_id,
                    key=keys.signer.public_key,
                    recipient=keys.recipient,
                    sentry=SentryMode.OBSERVE,
                )
                for name, keys in self.nodes.items()
            ),
            guards=(
                GuardIdentity(
                    name="guard-1",
                    spiffe_id=self.guard.spiffe_id,
                    key=self.guard.signer.public_key,
                ),
            ),
            log=log_policy(
                vkey(LOG_NAME, 1, self.log_key), [vkey(WITNESS_NAME, 4, self.witness_key)]
            ),
            instruments=dict(DEFAULTS),
            test_subjects=(subject(TEST_SUBJECT),),
            checkpoint_max_age=timedelta(minutes=5),
            clock_tolerance=timedelta(seconds=5),
        )

    # --- authorities --------------------------------------------------------------------------

    def authority(
        self,
        instrument: Instrument = Instrument.TICKET,
        subjects: Sequence[Subject] | None = None,
        **changes: Any,
    ) -> Authority:
        """Make an authority of the instrument that every rule admits, then change its fields.

        It runs from one hour before ``now`` to one hour after it, on node-1, its subjects sealed to
        the nodes it names and to the people who may register or approve it.
        """
        named = self._subjects(instrument) if subjects is None else subjects
        plaintext = encode_subjects(self.source.salt(), named)
        nodes = tuple(changes.get("nodes", ("node-1",)))
        openers = [keys.recipient for name, keys in self.nodes.items() if name in nodes]
        rule = DEFAULTS[instrument]
        openers += [
            keys.recipient
            for name, keys in self.people.items()
            if _ROLES[name] in {rule.registrant, rule.approver}
        ]
        registrant = "operator-1" if requester(instrument) is Role.OPERATOR else "legal-1"
        fields: dict[str, Any] = {
            "id": self.source.id(),
            "instrument": instrument,
            "reference": "CASE-2026-0042",
            "registrant": registrant,
            "level": _LEVELS.get(instrument, Level.CONTENT),
            "nodes": nodes,
            "window": Window(
                not_before=self.now - timedelta(hours=1), not_after=self.now + timedelta(hours=1)
            ),
            "recipients": (self.people[registrant].recipient,),
            "sealed_subjects": seal(plaintext, openers),
            "subjects_commitment": commitment(plaintext),
        }
        return Authority(**(fields | _texts(instrument) | changes))

    def register(self, authority: Authority, by: str | None = None) -> bytes:
        """Sign an authority as its registrant, or as somebody else."""
        signer = self.people[by or authority.registrant].signer
        return sign(encode_authority(authority), Kind.AUTHORITY, [signer])

    def approve(self, envelope: bytes, by: str | Signer) -> bytes:
        """Add a signature to an authority's envelope, by name or by key."""
        signer = self.people[by].signer if isinstance(by, str) else by
        return countersign(envelope, Kind.AUTHORITY, signer)

    def approved(self, authority: Authority | Instrument = Instrument.TICKET, **made: Any) -> bytes:
        """Register an authority and have the right second person approve it."""
        if isinstance(authority, Instrument):
            authority = self.authority(authority, **made)
        return self.approve(self.register(authority), _APPROVER[authority.registrant])

    @staticmethod
    def _subjects(instrument: Instrument) -> Sequence[Subject]:
        return (subject(TEST_SUBJECT if instrument is Instrument.TEST else SUBJECT),)

    # --- grants and evidence ------------------------------------------------------------------

    def grant(self, envelope: bytes, *, node: str = "node-1", **changes: Any) -> Grant:
        """Make the grant of an approved authority, then change its fields."""
        approved = require_approved(envelope, self.policy, now=self.now)
        permit = Permit(
            authority=approved,
            node=node,
            level=approved.authority.level,
            window=approved.window,
            lease=self.policy.rule(approved.authority.instrument).lease,
        )
        return replace(make_grant(permit, grant_id=self.source.id(), now=self.now), **changes)

    def sign_grant(self, grant: Grant, signer: Signer | None = None) -> bytes:
        """Sign a grant as the guard, or with another key."""
        return sign(encode_grant(grant), Kind.GRANT, [signer or self.guard.signer])

    def record(self, grant_envelope: bytes, **changes: Any) -> Record:
        """Make the log's record of a grant, then change its body."""
        grant = parse_grant(dsse.parse(grant_envelope, Kind.GRANT).payload)
        body = {
            "authority_id": grant.authority_id,
            "grant_digest": dsse.digest(grant_envelope),
            "grant_id": grant.id,
            "node": grant.node,
            "principal": "operator-1",
        }
        return Record(
            kind=RecordKind.CAPTURE_GRANTED,
            time=self.now,
            body=body | changes,
            salt=self.source.salt(),
        )

    def append(self, record: Record) -> int:
        """Put a record into the log's tree and return its index."""
        return self.tree.append(leaf_hash(leaf(record)))

    def checkpoint(
        self, *, at: datetime | None = None, witnesses: Sequence[Ed25519PrivateKey] | None = None
    ) -> bytes:
        """Sign the tree as it is, cosigned by the witness (or by others) at a time."""
        size = self.tree.size
        head = Checkpoint(origin=LOG_NAME, size=size, root=self.tree.root(size))
        note = parse_note(sign_checkpoint(head, LOG_NAME, self.log_key))
        keys = (self.witness_key,) if witnesses is None else witnesses
        lines = [cosign(note, WITNESS_NAME, key, at or self.now) for key in keys]
        return with_signatures(note, lines).encode()

    def prove(self, index: int, record: Record, checkpoint: bytes | None = None) -> bytes:
        """Prove that the record is at the index, under a checkpoint of the tree as it is."""
        return encode_proof(
            LogProof(
                index=index,
                hashes=tuple(self.tree.inclusion(index, self.tree.size)),
                checkpoint=checkpoint or self.checkpoint(),
                extra=encode_opening(record),
            )
        )

    def evidence(self, authority: bytes, grant: Grant | bytes | None = None) -> Evidence:
        """Grant an approved authority, log the grant among other records, and prove it."""
        if not isinstance(grant, bytes):
            grant = self.sign_grant(grant or self.grant(authority))
        record = self.record(grant)
        index = self.append(record)
        for _ in range(3):
            self.tree.append(leaf_hash(self.source.salt()))
        return Evidence(authority=authority, grant=grant, proof=self.prove(index, record))


def sign(payload: bytes, kind: Kind, signers: Sequence[Signer]) -> bytes:
    """Put a payload into an envelope with these signatures."""
    envelope = dsse.Envelope(payload=payload, kind=kind, signatures=())
    for signer in signers:
        envelope = dsse.add_signature(envelope, signer)
    return dsse.encode(envelope)


def countersign(envelope: bytes, kind: Kind, signer: Signer) -> bytes:
    """Add a signature to an encoded envelope."""
    return dsse.encode(dsse.add_signature(dsse.parse(envelope, kind), signer))


def _texts(instrument: Instrument) -> dict[str, str]:
    if instrument not in WARRANTS:
        return {"reason": "Customer hears no audio after a transfer"}
    return {
        "legal_basis": "18 U.S.C. § 2518",
        "issuing_authority": "District Court, Eastern District",
        "issuing_signer": "Judge R. Alvarez",
        "presenting_officer": "Special Agent K. Lindqvist",
        "presenting_agency": "Federal Bureau",
        "order_sha256": hashlib.sha256(b"the scanned order").hexdigest(),
    }
