"""Makes the golden vectors beside this file: ``python -m tests.vectors.generate``.

Every key in here is public knowledge. All signatures are Ed25519 and so come out the same each time;
an age file does not, so ``subjects.age`` is made once and kept, and everything else is made from it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from guard.core import envelope as dsse
from guard.core import sampling
from guard.core.authority import Authority, encode_authority
from guard.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.envelope import Kind
from guard.core.filing import Filing, FilingKind, encode_filing
from guard.core.instruments import Instrument
from guard.core.merkle import Tree, leaf_hash
from guard.core.nodehealth import NodeHealth
from guard.core.note import parse_note, with_signatures
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, encode_receipt
from guard.core.record import Record, RecordKind, encode_opening, leaf
from guard.core.subjects import commitment, encode_subjects
from guard.core.tiles import encode_bundle
from guard.core.trust import encode_roots
from guard.core.window import Window
from tests.builders.deployment import (
    LOG_NAME,
    WITNESS_NAME,
    Deployment,
    Source,
    seal,
    sign,
    subject,
)

HERE = Path(__file__).parent
SALT = bytes(range(32))
_ENTRIES = 7
_IDENTITIES = (
    "AGE-SECRET-KEY-1ZKSDVSZGM3Y5VQ7EK573D5C9RWGCLU8N79Y3G56DP5XG0WRPMZXQTHSHUX",
    "AGE-SECRET-KEY-1342LA3AE2ATA0JJMAJF0GNFKEXU67PDAE4PAAXRX24P0CS5TXXCQKG8NAQ",
    "AGE-SECRET-KEY-15EWNVJHR2WGLA4WSPT9WDA406V3SHV6LNH0223YLAHRTHGU5RZ2QCPC8D4",
    "AGE-SECRET-KEY-1PFUJLRZHUSFNVX0D2JAPVVPM5U0WSUFNLMTXXNFAS9RNKYU9WHES8M0R62",
    "AGE-SECRET-KEY-1YK0Y5HF9MS6FXT3USJCHEF5ARDP78DY4R4Q5HYRFSRKJ37G7DMVQSFCKAL",
    "AGE-SECRET-KEY-1GTCFJEHTHFEXTS5X75Z34L76CK4ENWQ945M3SWXGYNWDHW5WUSTQ753TKK",
    "AGE-SECRET-KEY-14XXH3UDA367GHHVYND7680D5GJA42FM4ZYACYUXV4PV3WPJVAZYSW2QTPS",
    "AGE-SECRET-KEY-1E8PWG62HAFAKQMMN9K8DSRZKSFLNDDP3USGCCQ3GGECTJ8TC3WAQM36DE8",
)


class Fixed(Source):
    """Keys, ids and salts that are the same every time."""

    def __init__(self) -> None:
        self._drawn = 0
        self._identities = iter(_IDENTITIES)

    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.salt())

    def identity(self) -> pyrage.x25519.Identity:
        return pyrage.x25519.Identity.from_str(next(self._identities))

    def salt(self) -> bytes:
        self._drawn += 1
        return hashlib.sha256(b"callguard vector %d" % self._drawn).digest()

    def id(self) -> str:
        return str(uuid.UUID(bytes=self.salt()[:16], version=4))


def generate(sealed: bytes | None = None) -> dict[str, bytes]:
    """Make every vector, by file name. ``sealed`` is the ``subjects.age`` that is kept."""
    deployment = Deployment(source=Fixed())
    subjects = encode_subjects(SALT, [subject()])
    if sealed is None:
        people = (keys.recipient for keys in deployment.people.values())
        sealed = seal(subjects, [deployment.nodes["node-1"].recipient, *people])

    def authority(instrument: Instrument) -> Authority:
        return deployment.authority(
            instrument, sealed_subjects=sealed, subjects_commitment=commitment(subjects)
        )

    ticket = authority(Instrument.TICKET)
    approved = deployment.approved(ticket)
    order = authority(Instrument.INTERCEPTION_ORDER)
    warrant = deployment.approved(order)
    prevent = deployment.approved(replace(order, enforcement=Enforcement.PREVENT))
    evidence = deployment.evidence(approved)
    receipt = _receipt(deployment, dsse.digest(evidence.grant))
    return {
        "keys.json": _json(_keys(deployment)),
        "roots.json": encode_roots(deployment.pinned),
        "trust-policy.dsse.json": deployment.policy_envelope,
        "subjects.json": subjects,
        "subjects.age": sealed,
        "authority-ticket.dsse.json": approved,
        "authority-ticket-registered.dsse.json": deployment.register(ticket),
        "authority-warrant.dsse.json": warrant,
        "authority-warrant-prevent.dsse.json": prevent,
        "grant.dsse.json": evidence.grant,
        "grant.tlog-proof": evidence.proof,
        "receipt.dsse.json": receipt,
        "heartbeat.dsse.json": _heartbeat(deployment, dsse.digest(receipt)),
        "review.dsse.json": _review(deployment),
        **_log(deployment),
        "refused.json": _json(list(_refused(deployment, ticket, approved))),
    }


def _receipt(deployment: Deployment, digest: str) -> bytes:
    receipt = Receipt(
        node="node-1",
        sequence=1,
        previous=FIRST_PREVIOUS,
        kind=ReceiptKind.SEALED,
        time=deployment.now,
        grant_id=str(uuid.UUID(digest[:32], version=4)),
        details={
            "number": 1,
            "sha256": digest,
            "size": 4096,
            "packets": 20,
            "bytes": 3440,
            "drops": 0,
            "first": "2026-11-23T21:59:59.600000Z",
            "last": "2026-11-23T22:00:00Z",
        },
    )
    signer = deployment.nodes["node-1"].signer
    return sign(encode_receipt(receipt), Kind.RECEIPT, [signer])


def _heartbeat(deployment: Deployment, previous: str) -> bytes:
    receipt = Receipt(
        node="node-1",
        sequence=2,
        previous=previous,
        kind=ReceiptKind.HEARTBEAT,
        time=deployment.now,
        grant_id=None,
        details={"every": 180, "armed": 0, "part": 1, "parts": 1},
        health=NodeHealth(
            mode=SentryMode.ENFORCE,
            enforcement=Enforcement.KILL,
            doors={"packet_socket": "kill", "raw_socket": "prevent", "xdp_socket": "absent"},
            programs=hashlib.sha256(
                b'{"programs":[["rogue_enter",17,"aabbccdd00112233"]]}'
            ).hexdigest(),
            challenge=hashlib.sha256(b"a challenge").hexdigest(),
        ),
    )
    signer = deployment.nodes["node-1"].signer
    return sign(encode_receipt(receipt), Kind.RECEIPT, [signer])


def _review(deployment: Deployment) -> bytes:
    filing = Filing(
        kind=FilingKind.REVIEW,
        by="auditor-1",
        time=deployment.now,
        document=hashlib.sha256(b"the report").hexdigest(),
        period=Window(
            not_before=deployment.now - timedelta(days=90),
            not_after=deployment.now - timedelta(days=1),
        ),
        result="as ordered",
    )
    return sign(encode_filing(filing), Kind.FILING, [deployment.people["auditor-1"].signer])


def _log(deployment: Deployment) -> dict[str, bytes]:
    """Make a public log of a few entries, and the sample that a nonce draws from it."""
    tree, leaves, openings = Tree(), [], []
    for number in range(_ENTRIES):
        record = Record(
            kind=RecordKind.CAPTURE_DENIED,
            time=deployment.now + timedelta(seconds=number),
            body={"number": number},
            salt=deployment.source.salt(),
        )
        leaves.append(leaf(record))
        openings.append(encode_opening(record))
        tree.append(leaf_hash(leaves[-1]))
    head = Checkpoint(origin=LOG_NAME, size=tree.size, root=tree.root())
    note = parse_note(sign_checkpoint(head, LOG_NAME, deployment.log_key))
    cosigned = cosign(note, WITNESS_NAME, deployment.witness_key, deployment.now)
    hashes = {index: leaf_hash(each) for index, each in enumerate(leaves)}
    nonce = deployment.source.salt()
    return {
        "log-policy": deployment.policy.log.text.encode(),
        "log-checkpoint": with_signatures(note, [cosigned]).encode(),
        "log-tile": tree.nodes(0, 0, _ENTRIES),
        "log-entries": encode_bundle(leaves),
        "log.json": _json(
            {
                "openings": [base64.b64encode(each).decode() for each in openings],
                "nonce": nonce.hex(),
                "commitment": sampling.commitment(nonce),
                "root": head.root.hex(),
                "sample": list(sampling.sample(sampling.seed(head.root, nonce), hashes)),
            }
        ),
    }


def _keys(deployment: Deployment) -> dict[str, Any]:
    holders = {**deployment.people, **deployment.nodes, "guard-1": deployment.guard}
    return {
        "signing": {
            name: {"keyid": signer.public_key.keyid, "private": _private(signer._private_key)}
            for name, signer in (
                *((f"root-{number}", root) for number, root in enumerate(deployment.roots, 1)),
                *((name, keys.signer) for name, keys in holders.items()),
            )
        },
        "sealing": {name: str(keys.identity) for name, keys in holders.items()},
        "log": _private(deployment.log_key),
        "witness": _private(deployment.witness_key),
    }


def _private(key: Any) -> str:
    raw: bytes = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return raw.hex()


def _refused(
    deployment: Deployment, ticket: Authority, approved: bytes
) -> Iterator[dict[str, str]]:
    """Give one envelope per way in which an authority is refused, with the reason."""
    payload = encode_authority(ticket)
    signers = [deployment.people[name].signer for name in ("operator-1", "lead-1")]
    changes: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "a blank": ("document_malformed", lambda p: p.replace(b'":', b'": ', 1)),
        "an unknown field": ("document_malformed", lambda p: p[:-1] + b',"zeal":1}'),
        "a field twice": ("document_malformed", lambda p: p.replace(b'"id"', b'"id":"","id"', 1)),
        "a float": ("document_malformed", lambda p: p[:-1] + b',"zeal":1.5}'),
        "a subpoena": ("stored_data_only", lambda p: p.replace(b'"ticket"', b'"subpoena"', 1)),
        "a whim": ("instrument_unknown", lambda p: p.replace(b'"ticket"', b'"whim"', 1)),
        "content": ("level_not_permitted", lambda p: p.replace(b'"media_headers"', b'"content"')),
        "a day too long": (
            "window_too_long",
            lambda p: p.replace(b"2026-11-23T23", b"2026-11-24T23"),
        ),
        "an unknown demand": (
            "document_malformed",
            lambda p: p.replace(b'"id"', b'"enforcement":"always","id"', 1),
        ),
        "another node": ("node_unknown", lambda p: p.replace(b'"node-1"', b'"node-9"')),
    }
    for name, (reason, change) in changes.items():
        yield _case(name, reason, sign(change(payload), Kind.AUTHORITY, signers))
    yield _case("nobody signed", "approvals_missing", sign(payload, Kind.AUTHORITY, []))
    yield _case("one person signed", "approvals_missing", deployment.register(ticket))
    for name, signer in (
        ("the guard signed", deployment.guard.signer),
        ("a root signed", deployment.roots[0]),
    ):
        yield _case(name, "signature_invalid", deployment.approve(approved, signer))
    wrong = deployment.approve(deployment.register(ticket), "legal-1")
    yield _case("the wrong role signed", "signer_role_wrong", wrong)
    parsed = dsse.parse(approved, Kind.AUTHORITY)
    flipped = replace(parsed.signatures[0], sig=bytes(64))
    forged = replace(parsed, signatures=(flipped, *parsed.signatures[1:]))
    yield _case("a forged signature", "signature_invalid", dsse.encode(forged))


def _case(name: str, reason: str, envelope: bytes) -> dict[str, str]:
    return {"case": name, "reason": reason, "envelope": envelope.decode()}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def main() -> int:
    kept = HERE / "subjects.age"
    for name, data in generate(kept.read_bytes() if kept.exists() else None).items():
        (HERE / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
