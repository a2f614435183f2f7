"""Checkpoints, proofs and tiles of one implementation, verified by the other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guard.app.ports import Plan
from guard.core.checkpoint import Checkpoint, sign_checkpoint, verify_log_signature
from guard.core.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from guard.core.note import encode_vkey, parse_note, parse_vkey
from guard.core.record import Record, RecordKind
from guard.core.tiles import TileLog, tiles
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.store.memory import MemoryStore
from tests.builders.deployment import LOG_NAME, NOW, Deployment
from tests.interop.peer import Peer, Raised

DEPLOYMENT = Deployment()
OUR_LOG = DEPLOYMENT.policy.log.key
LEAVES = [f"leaf {number}".encode() for number in range(70)]
PAIRS = [(old, new) for new in (1, 2, 3, 8, 33, 64, 70) for old in range(1, new + 1)]
SIZES = [1, 200, 256, 257, 512, 700]


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree


TREE = tree_of(LEAVES)


def as_hex(hashes: list[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


def as_bytes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in texts]


@pytest.fixture
def their_log(peer: Peer) -> str:
    """Begin a log of theirs with the same leaves; return its vkey."""
    vkey = peer.ask("log", name="log", origin="log.example/theirs", seed="07" * 32)
    peer.ask("of", name="log", what="grow", leaves=as_hex(LEAVES))
    return str(vkey)


def test_their_checkpoints_are_ours(peer, their_log):
    """Signature, origin, size and root are read as they were meant; their key has one text."""
    assert encode_vkey(parse_vkey(their_log)) == their_log
    for size in range(len(LEAVES) + 1):
        note = peer.ask("of", name="log", what="checkpoint", size=size).encode()
        head = verify_log_signature(parse_note(note), parse_vkey(their_log))
        assert (head.size, head.root) == (size, TREE.root(size))


def test_our_checkpoints_are_theirs(peer):
    """Every size from the empty tree on, and none of them with an altered size."""
    log = encode_vkey(OUR_LOG)
    for size in range(len(LEAVES) + 1):
        head = Checkpoint(origin=LOG_NAME, size=size, root=TREE.root(size))
        note = sign_checkpoint(head, LOG_NAME, DEPLOYMENT.log_key).decode()
        asked = {"log": log, "witnesses": [], "quorum": 0, "max_age": 60}
        assert peer.ask("verified", note=note, **asked)["ok"]
        false = note.replace(f"\n{size}\n", f"\n{size + 1}\n", 1)
        assert not peer.ask("verified", note=false, **asked)["ok"]


def test_inclusion_proofs_verify_both_ways(peer, their_log):
    """Each side makes the same proof, and each verifies the other's."""
    for index, size in ((old - 1, new) for old, new in PAIRS):
        ours = as_hex(TREE.inclusion(index, size))
        theirs = peer.ask("of", name="log", what="inclusion", index=index, size=size)
        assert ours == theirs
        verify_inclusion(
            leaf_hash(LEAVES[index]),
            index=index,
            size=size,
            proof=as_bytes(theirs),
            root=TREE.root(size),
        )
        asked = {"index": index, "size": size, "proof": ours, "root": TREE.root(size).hex()}
        assert peer.ask("included", leaf=LEAVES[index].hex(), **asked)
        assert not peer.ask("included", leaf=b"other".hex(), **asked)


def test_consistency_proofs_verify_both_ways(peer, their_log):
    """Each side makes the same proof, and each verifies the other's."""
    for old, new in PAIRS:
        ours = as_hex(TREE.consistency(old, new))
        theirs = peer.ask("of", name="log", what="consistency", old=old, new=new)
        assert ours == theirs
        verify_consistency(
            old_size=old,
            old_root=TREE.root(old),
            new_size=new,
            new_root=TREE.root(new),
            proof=as_bytes(theirs),
        )
        asked = {"old": old, "new": new, "proof": ours, "new_root": TREE.root(new).hex()}
        assert peer.ask("consistent", old_root=TREE.root(old).hex(), **asked)
        assert not peer.ask("consistent", old_root=(b"\x05" * 32).hex(), **asked)


async def test_our_public_folder_is_their_tile_log(peer, tmp_path):
    """What the guard publishes is audited by their reader, and its proofs from tiles verify here."""
    ledger = Sequencer(MemoryStore(), origin=LOG_NAME, key=DEPLOYMENT.log_key)
    public = PublicLog(tmp_path, log=OUR_LOG)
    try:
        for size in SIZES:
            count = size - ledger.size
            made = [
                Record(kind=RecordKind.CAPTURE_DENIED, time=NOW, body={}, salt=os.urandom(32))
                for _ in range(count)
            ]
            await ledger.execute(lambda _view, _index, made=made: Plan(result=None, records=made))
            with ledger.reads() as view:
                public.publish(view.checkpoint(), ledger, DEPLOYMENT.policy)
            found = peer.ask(
                "audit_tiles", folder=str(tmp_path), size=size, root=ledger.root(size).hex()
            )
            every = list(tiles(size))
            bundles = sum(tile.level == 0 for tile in every)
            assert found == {"tiles": len(every), "bundles": bundles}
        proven(peer, tmp_path, size, ledger.root)
    finally:
        public.close()
        ledger.close()


def proven(peer: Peer, folder: Path, size: int, root) -> None:
    """Have them compute an entry and proofs from our files, and verify them by our rules."""
    for index, old in ((0, 1), (255, 256), (256, 257), (699, 700)):
        found = peer.ask("tile_proofs", folder=str(folder), index=index, old=old, size=size)
        assert found["root"] == root(size).hex()
        verify_inclusion(
            leaf_hash(bytes.fromhex(found["entry"])),
            index=index,
            size=size,
            proof=as_bytes(found["inclusion"]),
            root=root(size),
        )
        verify_consistency(
            old_size=old,
            old_root=root(old),
            new_size=size,
            new_root=root(size),
            proof=as_bytes(found["consistency"]),
        )


async def test_they_notice_what_is_wrong_in_our_folder(peer, tmp_path):
    """A changed bundle is found by their audit as it is by ours."""
    ledger = Sequencer(MemoryStore(), origin=LOG_NAME, key=DEPLOYMENT.log_key)
    public = PublicLog(tmp_path, log=OUR_LOG)
    record = Record(kind=RecordKind.CAPTURE_DENIED, time=NOW, body={}, salt=b"\x01" * 32)
    try:
        await ledger.execute(lambda _view, _index: Plan(result=None, records=[record]))
        with ledger.reads() as view:
            public.publish(view.checkpoint(), ledger, DEPLOYMENT.policy)
        (bundle,) = (tmp_path / "tile/entries").rglob("1")
        bundle.write_bytes(bundle.read_bytes()[:-1] + b"!")
        with pytest.raises(Raised):
            peer.ask("audit_tiles", folder=str(tmp_path), size=1, root=ledger.root(1).hex())
    finally:
        public.close()
        ledger.close()


def test_their_tiles_are_our_tile_log(peer, tmp_path):
    """Grown through the same sizes by their writer, every file is read and held against the root."""
    leaves = [f"entry {number}".encode() for number in range(SIZES[-1])]
    roots = peer.ask("write_tiles", folder=str(tmp_path), sizes=SIZES, leaves=as_hex(leaves))
    tree = tree_of(leaves)
    assert as_bytes(roots) == [tree.root(size) for size in SIZES]
    for size in SIZES:
        log = TileLog(lambda path: (tmp_path / path).read_bytes(), size)
        assert log.check() == log.root() == tree.root(size)
        assert list(log.leaves(0, size)) == leaves[:size]
        for index in {0, size // 2, size - 1}:
            assert log.inclusion(index, size) == tree.inclusion(index, size)
            assert log.consistency(index + 1, size) == tree.consistency(index + 1, size)
