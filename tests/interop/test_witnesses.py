"""Our log before their witness, their log before ours, honest and not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from guard.app.ports import Plan
from guard.clock import SystemClock
from guard.core.checkpoint import (
    Checkpoint,
    cosigner_key,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from guard.core.logpolicy import parse_log_policy, policy_text
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import (
    encode_vkey,
    parse_note,
    parse_signature_lines,
    parse_vkey,
    with_signatures,
)
from guard.core.record import Record, RecordKind
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.log.witnessclient import WitnessClient, WitnessFailed
from guard.store.memory import MemoryStore
from guard.witness.evidence import read_evidence
from tests.builders.deployment import LOG_NAME, NOW, Deployment
from tests.builders.witnesses import RunningWitness
from tests.guard.witness.test_server import WITNESS_KEY
from tests.interop.peer import Peer, Raised, TheirWitness

DEPLOYMENT = Deployment()
OUR_LOG = DEPLOYMENT.policy.log.key
OURS, THEIRS = "ours.example/w1", "theirs.example/w1"
THEIR_LOG = "log.example/theirs"
SEED = "07" * 32
DAY = timedelta(days=1)
WITNESS = cosigner_key(OURS, WITNESS_KEY)


@pytest.fixture
def their_witness(their_python: Path, tmp_path: Path) -> Iterator[TheirWitness]:
    """Run their witness of our log."""
    folder = tmp_path / "their-witness"
    folder.mkdir()
    witness = TheirWitness(their_python, folder, name=THEIRS, log=OUR_LOG)
    yield witness
    witness.stop()


@pytest.fixture
def our_witness(peer: Peer, tmp_path: Path) -> Iterator[RunningWitness]:
    """Run our witness of their log, whose leaves are numbered; a fork of it has other leaves."""
    vkey = peer.ask("log", name="true", origin=THEIR_LOG, seed=SEED)
    assert peer.ask("log", name="fork", origin=THEIR_LOG, seed=SEED) == vkey
    for name in ("true", "fork"):
        leaves = [f"{name} {number}".encode().hex() for number in range(300)]
        peer.ask("of", name=name, what="grow", leaves=leaves)
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    witness = RunningWitness(
        tmp_path / "our-witness",
        name=OURS,
        key=WITNESS_KEY,
        # Their client knows nothing of a second key, and must not mind its line.
        more_keys=(mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32),),
        logs=(parse_vkey(vkey),),
        clock=SystemClock(),
    )
    yield witness
    witness.stop()


def tree_of(size: int, prefix: str = "leaf") -> Tree:
    tree = Tree()
    for number in range(size):
        tree.append(leaf_hash(f"{prefix} {number}".encode()))
    return tree


TREE, FORK = tree_of(300), tree_of(300, "fork")


def checkpoint(size: int, tree: Tree = TREE) -> bytes:
    head = Checkpoint(origin=LOG_NAME, size=size, root=tree.root(size))
    return sign_checkpoint(head, LOG_NAME, DEPLOYMENT.log_key)


class TestTheirWitness:
    def cosign(self, witness: TheirWitness, size: int, tree: Tree = TREE) -> bytes:
        """Have a checkpoint cosigned as the guard does; return it with the cosignature."""
        client = WitnessClient(THEIRS, witness.url, timeout=5)
        try:
            lines = client.cosign(
                checkpoint(size, tree), [parse_vkey(witness.vkey)], tree.consistency
            )
        finally:
            client.close()
        return with_signatures(parse_note(checkpoint(size, tree)), lines).encode()

    def test_it_cosigns_our_log_step_by_step(self, their_witness, peer):
        """Each size is trusted by our verifier and by theirs, under the same keys."""
        vkeys = {"log": encode_vkey(OUR_LOG), "witnesses": [their_witness.vkey]}
        policy = parse_log_policy(policy_text(vkeys["log"], vkeys["witnesses"], 1))
        for size in (1, 2, 255, 256, 300, 300):
            note = self.cosign(their_witness, size)
            trusted = verify_checkpoint(note, policy=policy, now=SystemClock().now(), max_age=DAY)
            assert (trusted.size, trusted.root) == (size, TREE.root(size))
            found = peer.ask("verified", note=note.decode(), quorum=1, max_age=600, **vkeys)
            assert found == {"ok": True, "size": size, "names": [THEIRS], "error": None}

    def test_it_remembers_our_log_through_a_restart(self, their_witness):
        """A client that knows nothing of it starts from the size that the witness names."""
        self.cosign(their_witness, 9)
        their_witness.stop()
        their_witness.start()
        assert parse_checkpoint(self.cosign(their_witness, 20)).size == 20

    @pytest.mark.parametrize("size", [9, 20])
    def test_it_refuses_our_split_view_for_good(self, their_witness, size):
        """Another root at its size, or a tree that does not continue its own; it keeps evidence."""
        self.cosign(their_witness, 9)
        with pytest.raises(WitnessFailed, match="refuses this view of the log, answered 422"):
            self.cosign(their_witness, size, FORK)
        assert {kept["origin"] for kept in their_witness.evidence()} == {LOG_NAME}
        assert parse_checkpoint(self.cosign(their_witness, 20)).size == 20

    def test_it_refuses_our_rollback(self, their_witness):
        """A log that is shorter than it was gets no cosignature."""
        self.cosign(their_witness, 20)
        with pytest.raises(WitnessFailed, match="knows a log of 20 records, not of 9"):
            self.cosign(their_witness, 9)

    async def test_the_guards_cosigner_takes_it_for_one_of_its_witnesses(
        self, their_witness, tmp_path
    ):
        """A round with theirs and ours, both demanded, is cosigned, published and stored."""
        clock = SystemClock()
        ours = RunningWitness(
            tmp_path / "our-witness", name=OURS, key=WITNESS_KEY, logs=(OUR_LOG,), clock=clock
        )
        ledger = Sequencer(MemoryStore(), origin=LOG_NAME, key=DEPLOYMENT.log_key)
        (tmp_path / "log").mkdir()
        public = PublicLog(tmp_path / "log", log=OUR_LOG)
        text = policy_text(encode_vkey(OUR_LOG), [their_witness.vkey, encode_vkey(WITNESS)], 2)
        policy = replace(DEPLOYMENT.policy, log=parse_log_policy(text))
        announced: list[bytes] = []
        cosigner = Cosigner(
            ledger,
            [
                WitnessEndpoint(name=THEIRS, url=their_witness.url),
                WitnessEndpoint(name=OURS, url=ours.url),
            ],
            policy=lambda: policy,
            public=public,
            clock=clock,
            announce=announced.append,
        )
        try:
            for count in (1, 300):
                await ledger.execute(records(count))
                assert await cosigner.round(), cosigner.problems
                trusted = verify_checkpoint(
                    announced[-1], policy=policy.log, now=clock.now(), max_age=DAY
                )
                assert trusted.size == public.size == ledger.size
        finally:
            ours.stop()
            public.close()
            ledger.close()


def records(count: int):
    body = {"n": 1}
    made = [
        Record(kind=RecordKind.CAPTURE_DENIED, time=NOW, body=body, salt=os.urandom(32))
        for _ in range(count)
    ]
    return lambda _view, _index: Plan(result=None, records=made)


class TestOurWitness:
    def feed(self, peer: Peer, witness: RunningWitness, size: int, **given) -> str:
        vkey = encode_vkey(WITNESS)
        name = given.pop("name", "true")
        return peer.ask(
            "of", name=name, what="feed", url=witness.url, vkey=vkey, size=size, **given
        )

    def test_it_cosigns_their_log_step_by_step(self, our_witness, peer):
        """Their client believes our cosignature, and so do both verifiers."""
        log = peer.ask("of", name="true", what="vkey")
        policy = parse_log_policy(policy_text(log, [encode_vkey(WITNESS)], 1))
        for size in (1, 2, 255, 256, 300, 300):
            lines = parse_signature_lines(self.feed(peer, our_witness, size).encode())
            note = parse_note(peer.ask("of", name="true", what="checkpoint", size=size).encode())
            data = with_signatures(note, lines).encode()
            trusted = verify_checkpoint(data, policy=policy, now=SystemClock().now(), max_age=DAY)
            assert trusted.size == size
            found = peer.ask(
                "verified",
                note=data.decode(),
                log=log,
                witnesses=[encode_vkey(WITNESS)],
                quorum=1,
                max_age=600,
            )
            assert (found["ok"], found["names"]) == (True, [OURS])

    @pytest.mark.parametrize(("size", "conflict"), [(9, "split_view"), (20, "not_continued")])
    def test_it_refuses_their_split_view_for_good(
        self, our_witness, peer, tmp_path, size, conflict
    ):
        """Their client takes our 422 for the end; the evidence is kept; the true log goes on."""
        self.feed(peer, our_witness, 9)
        with pytest.raises(Raised) as caught:
            self.feed(peer, our_witness, size, name="fork", old=9)
        assert (caught.value.kind, caught.value.status) == ("WitnessRejected", 422)
        (kept,) = read_evidence(tmp_path / "our-witness/state")
        assert (kept.conflict, kept.their_size) == (conflict, size)
        self.feed(peer, our_witness, 20)

    def test_it_refuses_their_rollback(self, our_witness, peer, tmp_path):
        """Their client hears of the longer log, and the shorter one is evidence."""
        self.feed(peer, our_witness, 20)
        with pytest.raises(Raised) as caught:
            self.feed(peer, our_witness, 9)
        assert caught.value.kind == "WitnessAhead"
        (kept,) = read_evidence(tmp_path / "our-witness/state")
        assert (kept.conflict, kept.their_size, kept.our_size) == ("rolled_back", 9, 20)
