"""What a thief can do who holds the guard's machine: its database, its signing key, its log's key.

Everything here uses the guard's own code and the guard's own keys. What the thief lacks is the
keys of the people who must sign.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from agents.core.verifier import NodeContext, verify_evidence
from guard import keys
from guard.app.changes import CaptureRow, PutCapture
from guard.app.ports import Plan, Reads
from guard.core import envelope as dsse
from guard.core.authority import parse_authority
from guard.core.enforcement import Enforcement
from guard.core.evidence import Evidence
from guard.core.fields import format_time
from guard.core.grant import Grant, encode_grant
from guard.core.lifecycle import CaptureState
from guard.core.merkle import Tree, leaf_hash
from guard.core.proof import LogProof, encode_proof
from guard.core.reasons import Refused
from guard.core.record import Entry, Record, RecordKind, encode_opening
from guard.core.trust import TrustedPolicy, advance, parse_roots
from guard.log.sequencer import Sequencer
from guard.store.sqlite import SqliteStore

__all__ = ["forge_approval", "verify_as_node"]

DATABASE = "guard/data/guard.db"


def trusted_policy(folder: Path, now: datetime) -> TrustedPolicy:
    """Read the trust policy in force as a node would."""
    roots = parse_roots((folder / "guard/roots.json").read_bytes())
    return advance(roots, [(folder / "guard/trust.json").read_bytes()], now=now)


def forge_approval(folder: Path, authority_id: str) -> str:
    """Mark an authority approved and grant it on node-1; the guard must be stopped.

    The row is changed by plain SQL. The grant, its record and the checkpoint are signed with the
    guard's and the log's keys. Returns the grant's id.
    """
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        changed = database.execute(
            "UPDATE authorities SET state = 'approved' WHERE id = ?", [authority_id]
        )
        assert changed.rowcount == 1
    return asyncio.run(_grant(folder, authority_id))


@dataclass(frozen=True)
class _Theft:
    """A plan as the guard's own code would make it, but for the decision."""

    folder: Path
    authority_id: str

    def __call__(self, view: Reads, index: int) -> Plan[str]:
        now = datetime.now(UTC).replace(microsecond=0)
        row = view.authority(self.authority_id)
        assert row
        authority = parse_authority(dsse.parse(row.envelope, dsse.Kind.AUTHORITY).payload)
        grant = Grant(
            id=str(uuid4()),
            authority_id=row.id,
            authority_digest=dsse.digest(row.envelope),
            node="node-1",
            level=authority.level,
            window=authority.window,
            lease=timedelta(seconds=30),
            issued_at=now,
        )
        signer = keys.load_signer(self.folder / "guard/signing.key")
        envelope = dsse.encode(dsse.sign(encode_grant(grant), dsse.Kind.GRANT, signer))
        body = {
            "authority_digest": dsse.digest(row.envelope),
            "authority_id": row.id,
            "grant_digest": dsse.digest(envelope),
            "grant_id": grant.id,
            "lease_seconds": 30,
            "level": str(grant.level),
            "node": "node-1",
            "not_after": format_time(grant.window.not_after),
            "not_before": format_time(grant.window.not_before),
            "principal": "legal-1",
            "provisional": False,
            "request_id": grant.id,
            "signers": ["legal-1", "legal-2"],
            "started_by": "guard-1",
        }
        capture = CaptureRow(
            id=grant.id,
            authority_id=row.id,
            node="node-1",
            level=grant.level,
            state=CaptureState.GRANTED,
            why="",
            grant=envelope,
            evidence_index=index,
            not_before=grant.window.not_before,
            not_after=grant.window.not_after,
            lease_seconds=30,
            principal="legal-1",
            request_id=grant.id,
            revision=index,
        )
        record = Record(kind=RecordKind.CAPTURE_GRANTED, time=now, body=body, salt=bytes(32))
        return Plan(result=grant.id, records=(record,), changes=(PutCapture(capture),))


async def _grant(folder: Path, authority_id: str) -> str:
    origin = trusted_policy(folder, datetime.now(UTC)).policy.log.origin
    store = SqliteStore(folder / DATABASE)
    ledger = Sequencer(store, origin=origin, key=keys.load_ed25519(folder / "guard/log.key"))
    try:
        return await ledger.execute(_Theft(folder, authority_id))
    finally:
        ledger.close()
        store.close()


def verify_as_node(folder: Path, grant_id: str) -> str:
    """Verify a grant as node-1 would, from what the guard's database holds; returns the refusal.

    An empty string says that nothing is cosigned yet or, which must not be, that nothing refused.
    """
    now = datetime.now(UTC)
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as database:
        authority, grant, index = database.execute(
            "SELECT a.envelope, c.grant_envelope, c.evidence_index FROM captures c "
            "JOIN authorities a ON a.id = c.authority_id WHERE c.id = ?",
            [grant_id],
        ).fetchone()
        heads = {
            kind: (size, note)
            for kind, size, note in database.execute("SELECT kind, size, checkpoint FROM heads")
        }
    size, checkpoint = next((head for kind, head in heads.items() if "cosigned" in kind), (0, b""))
    if size <= index:
        return ""
    entries = _entries(folder)
    tree = Tree()
    for entry in entries[:size]:
        tree.append(leaf_hash(entry.leaf()))
    proof = LogProof(
        index=index,
        hashes=tuple(tree.inclusion(index, size)),
        checkpoint=checkpoint,
        extra=encode_opening(entries[index].record()),
    )
    identity = keys.load_identity(folder / "nodes/node-1/sealing.key")
    context = NodeContext(
        name="node-1",
        identities=[identity],
        ended=(),
        revoked=(),
        guard_time=now,
        enforced=Enforcement.DETECT,
    )
    try:
        verify_evidence(
            Evidence(authority=authority, grant=grant, proof=encode_proof(proof)),
            trusted_policy(folder, now),
            context,
            now=now,
        )
    except Refused as refused:
        return str(refused.reason)
    return ""


def _entries(folder: Path) -> list[Entry]:
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT kind, time, digest, salt, body FROM entries ORDER BY position"
        ).fetchall()
    return [Entry(*row) for row in rows]
