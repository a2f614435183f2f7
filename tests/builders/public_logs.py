"""Public logs on disk: an honest one with a history, and whatever its own keys can be made to sign.

``history`` runs the guard's use cases; ``PublicFolder`` writes entries as the guard publishes them,
true or not, for tests that need a log whose operator lies or whose files were tampered with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.ports import Plan
from guard.cli.record_source import write_entries
from guard.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import parse_note, with_signatures
from guard.core.record import Entry, Record, RecordKind
from guard.core.tiles import WIDTH, bundle_path, encode_bundle, tiles
from guard.core.trust import encode_roots
from tests.builders.deployment import LOG_NAME, Deployment, log_policy, vkey
from tests.builders.house import House, NodeHand

WITNESSES = ("witness-a.test", "witness-b.test")


@dataclass
class PublicFolder:
    """A folder with a log in it, signed and cosigned with the true keys."""

    folder: Path
    site: Deployment
    witnesses: dict[str, Ed25519PrivateKey]

    def note(
        self,
        entries: Sequence[Entry],
        at: datetime,
        *,
        by: dict[str, Ed25519PrivateKey] | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> bytes:
        """Sign the tree over these entries, cosigned by the witnesses or by others."""
        tree = tree_of(entries)
        head = Checkpoint(origin=LOG_NAME, size=tree.size, root=tree.root())
        note = parse_note(sign_checkpoint(head, LOG_NAME, key or self.site.log_key))
        hands = self.witnesses if by is None else by
        lines = [cosign(note, name, hand, at) for name, hand in hands.items()]
        return with_signatures(note, lines).encode()

    def publish(self, entries: Sequence[Entry], at: datetime) -> None:
        """Write tiles, bundles, policy and checkpoint."""
        self.write_tiles(entries)
        self.write("policy", self.site.policy.log.text.encode())
        self.write("checkpoint", self.note(entries, at))

    def write_tiles(self, entries: Sequence[Entry], *, bundles: bool = True) -> None:
        """Write the tiles of these entries, and their bundles."""
        tree, leaves = tree_of(entries), [each.leaf() for each in entries]
        for tile in tiles(len(entries)):
            start = tile.index * WIDTH
            self.write(tile.path, tree.nodes(8 * tile.level, start, start + tile.width))
            if tile.level == 0 and bundles:
                name = bundle_path(tile.index, tile.width)
                self.write(name, encode_bundle(leaves[start : start + tile.width]))

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def export(self, entries: Sequence[Entry], name: str = "records.jsonl") -> Path:
        """Keep records as `log entries --out` does."""
        path = self.folder.parent / name
        path.unlink(missing_ok=True)
        write_entries(path, enumerate(entries), progress=lambda _: None)
        return path

    def roots(self) -> Path:
        """Write the pinned roots."""
        path = self.folder.parent / "roots.json"
        path.write_bytes(encode_roots(self.site.pinned))
        return path


def tree_of(entries: Sequence[Entry]) -> Tree:
    tree = Tree()
    for each in entries:
        tree.append(leaf_hash(each.leaf()))
    return tree


def two_witnesses(site: Deployment) -> dict[str, Ed25519PrivateKey]:
    """Put two witnesses into a deployment's policy, both of whom must cosign; return their keys."""
    keys = {name: Ed25519PrivateKey.generate() for name in WITNESSES}
    vkeys = [vkey(name, 4, key) for name, key in keys.items()]
    site.adopt(log=log_policy(vkey(LOG_NAME, 1, site.log_key), vkeys, 2))
    return keys


async def history(site: Deployment, folder: Path, *, fill: int) -> list[Entry]:
    """Return the records of a capture on node-1, of heartbeats of two nodes, and of denials."""
    async with House(folder, site=site) as house:
        first, second = NodeHand(site), NodeHand(site, "node-2")
        await house.receipts.take(first.heartbeat(), first.identity)
        await house.receipts.take(second.heartbeat(), second.identity)
        view = await house.capture(await house.approved())
        grant = view.row.id
        for made in (first.receipt(grant), first.heartbeat(grant)):
            await house.receipts.take(made, first.identity)
        for start in range(0, fill, 100):
            house.clock.move(seconds=10)
            wanted = [denial(site, house.clock.now(), n) for n in range(start, start + 100)]
            await house.ledger.execute(
                lambda _view, _index, wanted=wanted: Plan(result=None, records=wanted)
            )
            await house.receipts.take(second.heartbeat(), second.identity)
        await house.receipts.take(first.heartbeat(grant), first.identity)
        with house.ledger.reads() as reads:
            return reads.entries(0, reads.size())


def denial(site: Deployment, time: datetime, number: int) -> Record:
    body = {
        "method": "request_capture",
        "principal": "operator-1",
        "reason": "authority_unknown",
        "sentence": f"there is no authority {number}",
    }
    return Record(
        kind=RecordKind.CAPTURE_DENIED,
        time=time + timedelta(milliseconds=number % 100),
        body=body,
        salt=os.urandom(32),
    )
