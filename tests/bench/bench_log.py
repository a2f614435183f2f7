"""What the public, witnessed log costs: entries, evidence, verification, size of a proof.

The peer of a rate is bare SQLite with one synced insert each; that of a verification is as many
bare Ed25519 verifications as it needs.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.app.evidence import EvidenceDesk
from guard.clock import SystemClock
from guard.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from guard.core.instruments import Instrument
from guard.core.logged import verify_logged
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import parse_note, parse_vkey, with_signatures
from guard.core.proof import LogProof, encode_proof
from guard.core.record import encode_opening, leaf
from guard.core.tiles import WIDTH, encode_bundle, tiles
from guard.core.window import Window
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from tests.builders.deployment import LOG_NAME, NOW, Deployment, log_policy, vkey
from tests.builders.house import House
from tests.builders.witnesses import RunningWitness

LEAVES = 1_000_000
APPROVALS = 60
ROUNDS = 400
ROUND_MS = 50
ROOT = Path(__file__).resolve().parents[2]


def rows() -> Iterator[dict[str, Any]]:
    """Yield the log's figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        took = asyncio.run(_approvals(folder))
        yield _figure(
            "log: approval of a warrant to usable evidence, two witnesses, p50",
            "ms",
            statistics.median(took) * 1e3,
            most=ROUND_MS + 20,
        )
        yield _figure(
            "log: the same, p99",
            "ms",
            took[int(len(took) * 0.99)] * 1e3,
            most=ROUND_MS + 20,
        )
    yield from _evidence()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield _verify(Path(name))


# --- from an approval to evidence ---------------------------------------------------------------


async def _approvals(folder: Path) -> list[float]:
    """Return seconds from the second signature to evidence that a node would take."""
    site = Deployment(SystemClock().now().replace(microsecond=0))
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    names = [f"witness-{number}.callguard.test" for number in (1, 2)]
    vkeys = [vkey(name, 4, key) for name, key in zip(names, keys, strict=True)]
    site.adopt(log=log_policy(site.policy.log.vkey, vkeys, 2))
    log = parse_vkey(site.policy.log.vkey)
    witnesses = [
        RunningWitness(folder / name, name=name, key=key, logs=(log,), clock=SystemClock())
        for name, key in zip(names, keys, strict=True)
    ]
    async with House(folder, "sqlite", site) as house:
        house.office.clock = SystemClock()
        (folder / "log").mkdir()
        public = PublicLog(folder / "log", log=log)
        news = asyncio.Event()
        cosigner = Cosigner(
            house.ledger,
            [
                WitnessEndpoint(name=name, url=witness.url)
                for name, witness in zip(names, witnesses, strict=True)
            ],
            policy=lambda: site.policy,
            public=public,
            clock=SystemClock(),
            announce=lambda _note: news.set(),
        )
        task = asyncio.ensure_future(cosigner.run())
        await news.wait()
        took = sorted([await _approval(house, news) for _ in range(APPROVALS)])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        public.close()
    for witness in witnesses:
        witness.stop()
    return took


async def _approval(house: House, news: asyncio.Event) -> float:
    desk, now = EvidenceDesk(house.office), SystemClock().now()
    window = Window(not_before=now - timedelta(minutes=1), not_after=now + timedelta(hours=1))
    authority = house.site.authority(Instrument.INTERCEPTION_ORDER, window=window)
    view = await house.register(house.site.register(authority))
    await asyncio.sleep(0.2)  # Its registration's own round is over.
    begin = time.perf_counter()
    await house.sign(view, "legal-2")
    await house.sweep.run()
    while True:
        with house.ledger.reads() as reads:
            (row,) = reads.captures(authority_id=view.row.id, limit=1, before=None)
            if desk.assemble(reads, row, SystemClock().now()) is not None:
                return time.perf_counter() - begin
        news.clear()
        await news.wait()


# --- verifying evidence -------------------------------------------------------------------------


def _evidence() -> Iterator[dict[str, Any]]:
    """Verify a grant's proof in a large tree, with three cosignatures, and weigh it."""
    home = Deployment()
    keys = [Ed25519PrivateKey.generate() for _ in range(3)]
    names = [f"witness-{number}.callguard.test" for number in (1, 2, 3)]
    vkeys = [vkey(name, 4, key) for name, key in zip(names, keys, strict=True)]
    policy = replace(home.policy, log=log_policy(home.policy.log.vkey, vkeys, 3))
    grant = home.sign_grant(home.grant(home.approved()))
    record = home.record(grant)
    tree = Tree()
    for number in range(LEAVES):
        mine = number == LEAVES // 3
        tree.append(leaf_hash(leaf(record)) if mine else leaf_hash(number.to_bytes(8)))
    head = Checkpoint(origin=LOG_NAME, size=LEAVES, root=tree.root())
    note = parse_note(sign_checkpoint(head, LOG_NAME, home.log_key))
    lines = [cosign(note, name, key, NOW) for name, key in zip(names, keys, strict=True)]
    proof = encode_proof(
        LogProof(
            index=LEAVES // 3,
            hashes=tuple(tree.inclusion(LEAVES // 3, LEAVES)),
            checkpoint=with_signatures(note, lines).encode(),
            extra=encode_opening(record),
        )
    )
    signature, public, message = keys[0].sign(note.text.encode()), keys[0].public_key(), note.text
    ours, peer = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        verify_logged(proof, policy, grant_envelope=grant, now=NOW)
        middle = time.perf_counter()
        for _ in range(4):
            public.verify(signature, message.encode())
        ours.append(middle - begin)
        peer.append(time.perf_counter() - middle)
    mine, theirs = statistics.median(ours) * 1e3, statistics.median(peer) * 1e3
    yield {
        "name": "log: a proof with three cosignatures in 1,000,000 leaves; peer: 4 bare Ed25519",
        "unit": "ms",
        "ours": mine,
        "peer": theirs,
        "ratio": round(mine / theirs, 2),
        "budget": "<= 2 ms",
        "met": mine <= 2,
    }
    yield {"name": "log: size of that proof", "unit": "bytes", "ours": len(proof), "met": True}


# --- verifying the whole log --------------------------------------------------------------------


def _verify(folder: Path) -> dict[str, Any]:
    """Time `callguard log verify` over a public log of a million entries."""
    home = Deployment(SystemClock().now().replace(microsecond=0))
    _publish(folder, home)
    command = [sys.executable, "-m", "guard", "log", "verify", "--log", str(folder)]
    begin = time.perf_counter()
    subprocess.run(
        [*command, "--policy", str(folder / "policy")], cwd=ROOT, check=True, capture_output=True
    )
    return _figure(
        "log: verify 1,000,000 entries from the tiles", "s", time.perf_counter() - begin, most=30
    )


def _publish(folder: Path, home: Deployment) -> None:
    """Write a log of a million entries as the guard publishes it."""
    tree, digest = Tree(), "ab" * 32
    stamp = f"{home.now:%Y-%m-%dT%H:%M:%S}"
    leaves = [
        f'{{"digest":"{digest}","kind":"capture_denied","time":"{stamp}.{n % 1_000_000:06}Z"}}'
        for n in range(1, LEAVES + 1)
    ]
    leaves[-1] = leaves[-2]
    data = [each.encode() for each in leaves]
    for each in data:
        tree.append(leaf_hash(each))
    for tile in tiles(LEAVES):
        start = tile.index * WIDTH
        _write(folder / tile.path, tree.nodes(tile.level * 8, start, start + tile.width))
        if tile.level == 0:
            name = tile.path.replace("tile/0/", "tile/entries/")
            _write(folder / name, encode_bundle(data[start : start + tile.width]))
    head = Checkpoint(origin=LOG_NAME, size=LEAVES, root=tree.root())
    note = parse_note(sign_checkpoint(head, LOG_NAME, home.log_key))
    (witness,) = home.policy.log.witnesses
    line = cosign(note, witness.key.name, home.witness_key, home.now + timedelta(seconds=2))
    _write(folder / "checkpoint", with_signatures(note, [line]).encode())
    _write(folder / "policy", home.policy.log.text.encode())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _figure(name: str, unit: str, ours: float, *, most: float) -> dict[str, Any]:
    return {"name": name, "unit": unit, "ours": ours, "budget": f"<= {most}", "met": ours <= most}
