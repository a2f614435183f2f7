"""Run by the other environment's Python: its library, asked one JSON line at a time.

Bytes are hex. A line `{"do": NAME, ...}` is answered with `{"is": VALUE}`, or with `{"raised": CLASS,
"status": NUMBER_OR_NULL, "why": TEXT}` when the library refuses. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import aics_tlog as tlog
from aics_tlog.checkpoint import verify_checkpoint
from aics_witness.feeder import WitnessClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FROM_SEED = Ed25519PrivateKey.from_private_bytes


class Log:
    """A log of theirs: their tree, their checkpoints, their client of a witness."""

    def __init__(self, origin: str, seed: str) -> None:
        self.origin = origin
        self.key = FROM_SEED(bytes.fromhex(seed))
        self.tree = tlog.MerkleTree()
        self.client: WitnessClient | None = None

    def vkey(self) -> str:
        return tlog.format_vkey(tlog.vkey_from_ed25519(self.origin, self.key.public_key()))

    def grow(self, leaves: list[str]) -> int:
        self.tree.extend([bytes.fromhex(leaf) for leaf in leaves])
        return self.tree.size

    def checkpoint(self, size: int) -> str:
        head = tlog.Checkpoint(origin=self.origin, size=size, root=self.tree.root(size))
        return tlog.sign_checkpoint(head, self.key, self.origin).serialise()

    def inclusion(self, index: int, size: int) -> list[str]:
        return [each.hex() for each in self.tree.inclusion_proof(index, size)]

    def consistency(self, old: int, new: int) -> list[str]:
        return [each.hex() for each in self.tree.consistency_proof(old, new)]

    def feed(self, url: str, vkey: str, size: int, old: int | None = None) -> str:
        if self.client is None:
            self.client = WitnessClient(url, vkey, max_attempts=1)
        prove = self.tree.consistency_proof
        return self.client.submit(self.checkpoint(size), prove, old_size=old)


LOGS: dict[str, Log] = {}


def log(name: str, origin: str, seed: str) -> str:
    """Begin a log and return its vkey."""
    LOGS[name] = Log(origin, seed)
    return LOGS[name].vkey()


def of(name: str, what: str, **given: Any) -> Any:
    """Ask a log."""
    return getattr(LOGS[name], what)(**given)


def verified(note: str, log: str, witnesses: list[str], quorum: int, max_age: int) -> Any:
    """Verify a checkpoint with its cosignatures."""
    keys = [tlog.parse_vkey(each) for each in witnesses]
    found = verify_checkpoint(
        tlog.parse_note(note), tlog.parse_vkey(log), keys, quorum, max_age_seconds=max_age
    )
    return {"ok": found.ok, "size": found.size, "names": found.witnesses, "error": found.error}


def included(leaf: str, index: int, size: int, proof: list[str], root: str) -> bool:
    """Verify an inclusion proof of a leaf's data."""
    hashes = [bytes.fromhex(each) for each in proof]
    return tlog.verify_leaf_inclusion(bytes.fromhex(leaf), index, size, hashes, bytes.fromhex(root))


def consistent(old: int, new: int, old_root: str, new_root: str, proof: list[str]) -> bool:
    """Verify a consistency proof."""
    hashes = [bytes.fromhex(each) for each in proof]
    return tlog.verify_consistency(
        old, new, bytes.fromhex(old_root), bytes.fromhex(new_root), hashes
    )


def write_tiles(folder: str, sizes: list[int], leaves: list[str]) -> list[str]:
    """Write a log's tiles, growing through these sizes; return the root of each."""
    writer = tlog.IncrementalTileWriter(tlog.DirectoryTileStore(folder, fsync=False))
    return [
        writer.append([bytes.fromhex(leaf) for leaf in leaves[writer.size : size]]).root.hex()
        for size in sizes
    ]


def audit_tiles(folder: str, size: int, root: str) -> Any:
    """Hold every tile and every bundle of a folder against a root."""
    report = tlog.audit_tiles(tlog.FileSystemTileReader(folder), size, bytes.fromhex(root))
    return {"tiles": report.tiles, "bundles": report.bundles}


def tile_proofs(folder: str, index: int, old: int, size: int) -> Any:
    """Compute an entry and proofs from the tiles of a folder."""
    reader = tlog.FileSystemTileReader(folder)
    inclusion = tlog.inclusion_proof_from_tiles(reader, index, size)
    consistency = tlog.consistency_proof_from_tiles(reader, old, size)
    return {
        "entry": tlog.read_entry(reader, index, size).hex(),
        "root": tlog.tree_root_from_tiles(reader, size).hex(),
        "inclusion": [each.hex() for each in inclusion],
        "consistency": [each.hex() for each in consistency],
    }


ASKED = {
    each.__name__: each
    for each in (log, of, verified, included, consistent, write_tiles, audit_tiles, tile_proofs)
}


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer: Any = {"is": ASKED[question.pop("do")](**question)}
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            status = getattr(error, "status", None)
            answer = {"raised": type(error).__name__, "status": status, "why": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
