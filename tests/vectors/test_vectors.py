"""The golden vectors: what was written once still reads, and is still what we write."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.core.verifier import NodeContext, verify_evidence
from guard.core import envelope as dsse
from guard.core.approval import require_approved
from guard.core.enforcement import Enforcement
from guard.core.envelope import Kind
from guard.core.evidence import Evidence
from guard.core.reasons import Reason
from guard.core.receipt import parse_receipt
from guard.core.trust import advance, parse_roots
from tests.builders.deployment import NOW, SUBJECT
from tests.guard.core.refusals import refuses
from tests.vectors.generate import generate

HERE = Path(__file__).parent
KEYS = json.loads((HERE / "keys.json").read_bytes())
REFUSED = json.loads((HERE / "refused.json").read_bytes())
ENVELOPES = sorted(HERE.glob("*.dsse.json"))


def read(name: str) -> bytes:
    return (HERE / name).read_bytes()


def test_nothing_has_changed() -> None:
    """Every vector is made again, byte for byte; none is left over."""
    made = generate(read("subjects.age"))
    kept = {path.name for path in HERE.iterdir() if path.is_file()}
    assert kept - {"generate.py", "test_vectors.py", "README.md", ".gitattributes"} == made.keys()
    for name, data in made.items():
        assert data == read(name), name


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.name)
def test_signatures_by_hand(path: Path) -> None:
    """Each signature is Ed25519 over DSSE's encoding, computed here without any of our code."""
    envelope = json.loads(path.read_bytes())
    assert (
        path.read_bytes()
        == json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    private = {each["keyid"]: each["private"] for each in KEYS["signing"].values()}
    assert envelope["signatures"]
    for signature in envelope["signatures"]:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private[signature["keyid"]]))
        key.public_key().verify(base64.b64decode(signature["sig"]), signed)


def test_the_evidence_verifies() -> None:
    """The vectors make an evidence that a node accepts, from the pinned roots on."""
    trusted = advance(parse_roots(read("roots.json")), [read("trust-policy.dsse.json")], now=NOW)
    evidence = Evidence(
        authority=read("authority-ticket.dsse.json"),
        grant=read("grant.dsse.json"),
        proof=read("grant.tlog-proof"),
    )
    context = NodeContext(
        name="node-1",
        identities=[pyrage.x25519.Identity.from_str(KEYS["sealing"]["node-1"])],
        ended=frozenset(),
        revoked=frozenset(),
        guard_time=NOW,
        enforced=Enforcement.DETECT,
    )
    verified = verify_evidence(evidence, trusted, context, now=NOW)
    assert [each.value for each in verified.subjects] == [SUBJECT]


def test_the_commitment_by_hand() -> None:
    """The commitment in the authority is SHA-256 over the plaintext that the age file opens to."""
    identity = pyrage.x25519.Identity.from_str(KEYS["sealing"]["lead-1"])
    plaintext = pyrage.decrypt(read("subjects.age"), [identity])
    assert plaintext == read("subjects.json")
    payload = dsse.parse(read("authority-ticket.dsse.json"), Kind.AUTHORITY).payload
    assert json.loads(payload)["subjects_commitment"] == hashlib.sha256(plaintext).hexdigest()


def test_the_receipt() -> None:
    """The receipt reads, and is the first of its chain."""
    receipt = parse_receipt(dsse.parse(read("receipt.dsse.json"), Kind.RECEIPT).payload)
    assert (receipt.sequence, receipt.details["packets"]) == (1, 20)


def test_the_heartbeat_by_hand() -> None:
    """Its health reads, and the inventory's digest is SHA-256 over its canonical list."""
    payload = dsse.parse(read("heartbeat.dsse.json"), Kind.RECEIPT).payload
    health = parse_receipt(payload).health
    assert health is not None
    inventory = json.dumps(
        {"programs": [["rogue_enter", 17, "aabbccdd00112233"]]}, separators=(",", ":")
    )
    assert health.programs == hashlib.sha256(inventory.encode()).hexdigest()
    assert json.loads(payload)["health"]["doors"] == health.doors
    assert health.enforcement is Enforcement.KILL


def test_the_demand() -> None:
    """The order that demands prevention is approved, and says nothing else than the other."""
    trusted = advance(parse_roots(read("roots.json")), [read("trust-policy.dsse.json")], now=NOW)
    lax, strict = (
        require_approved(read(name), trusted.policy, now=NOW).authority
        for name in ("authority-warrant.dsse.json", "authority-warrant-prevent.dsse.json")
    )
    assert lax.enforcement is None
    assert strict == replace(lax, enforcement=Enforcement.PREVENT)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["case"])
def test_the_refused(case: dict[str, str]) -> None:
    """Each envelope that is to be refused is refused, for the reason beside it."""
    trusted = advance(parse_roots(read("roots.json")), [read("trust-policy.dsse.json")], now=NOW)
    with refuses(Reason(case["reason"])):
        require_approved(case["envelope"].encode(), trusted.policy, now=NOW)


def test_the_public_log_by_hand() -> None:
    """Tile, bundle, leaves, root and sample, computed here with SHA-256 and nothing of ours."""

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    said = json.loads(read("log.json"))
    bundle, leaves = read("log-entries"), []
    while bundle:
        length = int.from_bytes(bundle[:2])
        leaves.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    hashes = [sha(b"\x00" + leaf) for leaf in leaves]
    assert b"".join(hashes) == read("log-tile")
    for leaf, opening in zip(leaves, said["openings"], strict=True):
        opened = json.loads(base64.b64decode(opening))
        salt, body = (base64.b64decode(opened[name]) for name in ("salt", "body"))
        digest = sha(salt + body).hex()
        expected = {"digest": digest, "kind": opened["kind"], "time": opened["time"]}
        assert leaf == json.dumps(expected, separators=(",", ":"), sort_keys=True).encode()

    def root(nodes: list[bytes]) -> bytes:
        if len(nodes) == 1:
            return nodes[0]
        split = 1 << ((len(nodes) - 1).bit_length() - 1)
        return sha(b"\x01" + root(nodes[:split]) + root(nodes[split:]))

    assert root(hashes).hex() == said["root"]
    checkpoint = read("log-checkpoint").decode().split("\n")
    assert checkpoint[1:3] == ["7", base64.b64encode(root(hashes)).decode()]
    nonce = bytes.fromhex(said["nonce"])
    assert sha(nonce).hex() == said["commitment"]
    seed = sha(b"callguard-sample-v1\n" + root(hashes) + nonce)
    ranked = sorted(range(7), key=lambda index: sha(seed + hashes[index]))
    assert sorted(ranked[:2]) == said["sample"]
