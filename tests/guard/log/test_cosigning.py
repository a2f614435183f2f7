"""Collecting cosignatures from real witnesses, and from peers that misbehave."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from guard.app.ports import LedgerUnavailable, Plan, Store
from guard.core.checkpoint import cosign, cosigner_key, parse_checkpoint, verify_checkpoint
from guard.core.note import KeyType, encode_vkey, parse_note, parse_vkey, verifier_key
from guard.core.record import Record, RecordKind
from guard.core.tiles import TileLog
from guard.core.trust import TrustPolicy
from guard.log import cosigning as module
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.log.witnessclient import WitnessClient, WitnessFailed
from guard.store.memory import MemoryStore
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import LOG_NAME, NOW, Deployment, log_policy
from tests.builders.witnesses import RunningWitness, SetClock

DEPLOYMENT = Deployment()
LOG = parse_vkey(DEPLOYMENT.policy.log.vkey)
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (11, 12, 13)]
NAMES = [f"w{n}.example" for n in range(3)]
VKEYS = tuple(
    encode_vkey(verifier_key(name, KeyType.COSIGNATURE, key.public_key()))
    for name, key in zip(NAMES, KEYS, strict=True)
)


def policy_of(quorum: int, count: int = 3) -> TrustPolicy:
    log = log_policy(DEPLOYMENT.policy.log.vkey, VKEYS[:count], quorum)
    return replace(DEPLOYMENT.policy, log=log)


def adding(view, index):
    record = Record(kind=RecordKind.CAPTURE_DENIED, time=NOW, body={}, salt=os.urandom(32))
    return Plan(result=index, records=[record])


class House:
    """A log, up to three witnesses, and a cosigner between them."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        quorum: int,
        up: int = 3,
        store: Store | None = None,
    ) -> None:
        self.clock = SetClock(NOW)
        self.folder = folder
        self.policy = policy_of(quorum)
        self.store = store or MemoryStore()
        self.ledger = Sequencer(self.store, origin=LOG_NAME, key=DEPLOYMENT.log_key)
        self.log_dir = folder / "log"
        self.log_dir.mkdir(exist_ok=True)
        self.public = PublicLog(self.log_dir, log=LOG)
        stack.callback(self.close)
        self.witnesses = [self.witness(n) for n in range(up)]
        stack.callback(lambda: [witness.stop() for witness in self.witnesses])
        self.announced: list[bytes] = []
        self.news = asyncio.Event()

    def close(self) -> None:
        """Close what is the log's now."""
        self.ledger.close()
        self.public.close()

    def witness(self, number: int, port: int = 0) -> RunningWitness:
        return RunningWitness(
            self.folder / NAMES[number],
            name=NAMES[number],
            key=KEYS[number],
            logs=(LOG,),
            clock=self.clock,
            port=port,
        )

    def cosigner(self, *extra: WitnessEndpoint) -> Cosigner:
        endpoints = [
            WitnessEndpoint(name=name, url=witness.url)
            for name, witness in zip(NAMES, self.witnesses, strict=False)
        ]
        return Cosigner(
            self.ledger,
            [*endpoints, *extra],
            policy=lambda: self.policy,
            public=self.public,
            clock=self.clock,
            announce=self.announce,
        )

    def announce(self, note: bytes) -> None:
        self.announced.append(note)
        self.news.set()

    async def next_news(self) -> bytes:
        async with asyncio.timeout(20):
            await self.news.wait()
        self.news.clear()
        return self.announced[-1]

    def cosigned(self) -> bytes | None:
        with self.ledger.reads() as view:
            return view.cosigned_checkpoint()

    def trusted(self, note: bytes):
        return verify_checkpoint(
            note,
            policy=self.policy.log,
            now=self.clock.now(),
            max_age=self.policy.checkpoint_max_age,
        )


@pytest.fixture
def house(tmp_path: Path):
    with ExitStack() as stack:
        yield lambda **settings: House(tmp_path, stack, **settings)


@contextmanager
def silent_port() -> Iterator[str]:
    """Listen, take connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def answering(status: int, kind: str, make) -> Iterator[str]:
    """Answer every request with a status, a content type and a made body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = make(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_an_empty_log_asks_nobody(house):
    """Without a checkpoint there is nothing to cosign and nothing is announced."""
    home = house(quorum=2)
    assert await home.cosigner().round()
    assert home.announced == []


async def test_a_round_makes_a_checkpoint_trusted(house):
    """After a round the ledger holds a checkpoint that an agent trusts, and it was announced."""
    home = house(quorum=3)
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    assert home.trusted(home.cosigned()).size == 1
    assert home.announced == [home.cosigned()]


async def test_a_grown_log_is_cosigned_again(house):
    """Every growth is proven consistent to every witness, from what that witness knew."""
    home = house(quorum=3)
    cosigner = home.cosigner()
    for size in (1, 2, 5, 12):
        while home_size(home) < size:
            await home.ledger.execute(adding)
        assert await cosigner.round()
        assert home.trusted(home.cosigned()).size == size


def home_size(home: House) -> int:
    with home.ledger.reads() as view:
        return view.size()


async def test_a_new_cosigner_learns_what_the_witnesses_know(house):
    """After a restart the witnesses say their size, and the round succeeds."""
    home = house(quorum=3)
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    assert home.trusted(home.cosigned()).size == 2


async def test_a_quorum_is_enough(house):
    """One witness that is gone or silent does not keep two others from making a quorum of two."""
    home = house(quorum=2, up=2)
    await home.ledger.execute(adding)
    with silent_port() as url:
        cosigner = home.cosigner(WitnessEndpoint(name=NAMES[2], url=url))
        assert await cosigner.round()
        await home.ledger.execute(adding)
        assert await cosigner.round()
    assert home.trusted(home.cosigned()).size == 2


async def test_without_a_quorum_nothing_is_stored(house):
    """Two of three are not three: the ledger keeps the older cosigned checkpoint."""
    home = house(quorum=3)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    assert await cosigner.round()
    before = home.cosigned()
    home.witnesses[2].stop()
    await home.ledger.execute(adding)
    assert not await cosigner.round()
    assert home.cosigned() == before
    assert list(cosigner.problems) == [NAMES[2]]
    home.witnesses[2] = replacement = home.witness(2, home.witnesses[2].port)
    assert await cosigner.round()
    assert home.trusted(home.cosigned()).size == 2
    assert cosigner.problems == {}
    assert replacement.url.endswith(str(replacement.port))


async def test_an_idle_log_stays_fresh(house):
    """When half the allowed age has passed the same checkpoint is cosigned anew, not before."""
    home = house(quorum=3)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    assert await cosigner.round()
    half = home.policy.checkpoint_max_age / 2
    home.clock.time += half - timedelta(seconds=1)
    assert await cosigner.round()
    assert len(home.announced) == 1
    home.clock.time += timedelta(seconds=1)
    assert await cosigner.round()
    assert home.trusted(home.cosigned()).cosigned_at == home.clock.time
    assert len(home.announced) == 2


async def test_a_changed_policy_is_followed(house):
    """A policy that demands more witnesses makes the stored checkpoint insufficient at once."""
    home = house(quorum=1, up=3)
    home.policy = policy_of(1, count=1)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    assert await cosigner.round()
    home.policy = policy_of(3)
    assert await cosigner.round()
    assert home.trusted(home.cosigned()).size == 1


async def test_the_loop_follows_the_log(house):
    """While the loop runs, every new checkpoint is soon cosigned and announced."""
    home = house(quorum=2)
    task = asyncio.ensure_future(home.cosigner().run())
    sizes = []
    for _ in range(5):
        await home.ledger.execute(adding)
        sizes.append(parse_checkpoint(await home.next_news()).size)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert sizes == [1, 2, 3, 4, 5]


async def test_the_loop_catches_up_under_load(house):
    """Under many plans at once the loop ends with the newest checkpoint cosigned."""
    home = house(quorum=3)
    task = asyncio.ensure_future(home.cosigner().run())
    for _ in range(10):
        await asyncio.gather(*(home.ledger.execute(adding) for _ in range(20)))
    while parse_checkpoint(await home.next_news()).size < 200:
        pass
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert home.trusted(home.cosigned()).size == 200


async def test_the_loop_recovers(house, monkeypatch):
    """A loop that finds no quorum tries again until the witnesses are back."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    home = house(quorum=1, up=1)
    home.policy = policy_of(1, count=1)
    port = home.witnesses[0].port
    home.witnesses[0].stop()
    cosigner = home.cosigner()
    task = asyncio.ensure_future(cosigner.run())
    await home.ledger.execute(adding)
    async with asyncio.timeout(10):
        while not cosigner.problems:  # noqa: ASYNC110  # nothing announces a failure
            await asyncio.sleep(0.01)
    home.witnesses[0] = home.witness(0, port)
    assert parse_checkpoint(await home.next_news()).size == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_store_that_cannot_be_read_fails_the_round_only(house, monkeypatch):
    """While the store is out of order rounds fail; they neither end the loop nor announce."""
    home = house(quorum=2)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()

    def broken():
        raise LedgerUnavailable("input/output error")

    with monkeypatch.context() as disorder:
        disorder.setattr(home.store, "read", broken)
        assert not await cosigner.round()
    assert home.announced == []
    assert await cosigner.round()


def published(home: House) -> int:
    """Return the size of what anybody can read, checked whole; 0 before the first checkpoint."""
    try:
        note = (home.log_dir / "checkpoint").read_bytes()
    except FileNotFoundError:
        return 0
    head = home.trusted(note)
    log = TileLog(lambda path: (home.log_dir / path).read_bytes(), head.size)
    assert log.check() == head.root
    return head.size


async def test_what_is_announced_is_published(house):
    """Whenever a checkpoint is announced, the folder holds the log up to it, and it."""
    home = house(quorum=2)
    cosigner = home.cosigner()
    for size in (1, 2, 3):
        await home.ledger.execute(adding)
        assert await cosigner.round()
        assert published(home) == size
        assert (home.log_dir / "checkpoint").read_bytes() == home.cosigned() == home.announced[-1]


async def test_a_log_that_cannot_be_published_is_no_evidence(house):
    """While the folder cannot be written nothing newer is stored or announced; records go on."""
    home = house(quorum=2)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    assert await cosigner.round()
    before = home.cosigned()
    shutil.move(home.log_dir / "tile", home.folder / "moved")
    (home.log_dir / "tile").write_bytes(b"in the way")
    with capture_logs() as logs:
        for _ in range(3):
            await home.ledger.execute(adding)
            assert not await cosigner.round()
        assert (home.cosigned(), home.announced) == (before, [before])
        assert (home.log_dir / "checkpoint").read_bytes() == before
        assert list(cosigner.problems) == ["log_dir"]
        assert "cannot write into" in cosigner.problems["log_dir"]
        (home.log_dir / "tile").unlink()
        shutil.move(home.folder / "moved", home.log_dir / "tile")
        assert await cosigner.round()
    told = [each["event"] for each in logs if "published" in each["event"]]
    assert told == ["log_not_published", "log_published_again"]
    assert cosigner.problems == {}
    assert published(home) == home.trusted(home.cosigned()).size == 4


async def test_a_log_tampered_with_is_no_evidence(house):
    """A published file that was exchanged stays as it is, and nothing is published after it."""
    home = house(quorum=2)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    assert await cosigner.round()
    (home.log_dir / "tile/0/000.p/2").write_bytes(bytes(64))
    await home.ledger.execute(adding)
    assert not await cosigner.round()
    assert "tampered with" in cosigner.problems["log_dir"]
    assert home.trusted(home.cosigned()).size == 1


async def test_a_store_without_its_folder_is_published_at_once(house):
    """A cosigned checkpoint in the store that is not in the folder is published by a round."""
    home = house(quorum=2)
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    home.public.close()
    shutil.rmtree(home.log_dir)
    home.log_dir.mkdir()
    home.public = PublicLog(home.log_dir, log=LOG)
    assert await home.cosigner().round()
    assert published(home) == 1


async def test_a_lost_quorum_comes_back(house, monkeypatch):
    """Without a quorum the folder stays as it was; when it is back, everything is published."""
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)
    home = house(quorum=2, up=2)
    task = asyncio.ensure_future(home.cosigner().run())
    await home.ledger.execute(adding)
    assert parse_checkpoint(await home.next_news()).size == published(home) == 1
    port = home.witnesses[0].port
    home.witnesses[0].stop()
    for _ in range(300):
        await home.ledger.execute(adding)
    assert published(home) == 1
    assert len(home.announced) == 1
    home.witnesses[0] = home.witness(0, port)
    while parse_checkpoint(await home.next_news()).size < 301:
        pass
    assert published(home) == 301
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.privileged
async def test_a_full_disk_under_the_log_is_said_and_overcome(house, tmp_path):
    """On a full file system nothing is handed out; with room again the round succeeds."""
    with small_disk(tmp_path / "log") as disk:
        home = house(quorum=2)
        await home.ledger.execute(adding)
        cosigner = home.cosigner()
        assert await cosigner.round()
        fill(disk)
        await home.ledger.execute(adding)
        assert not await cosigner.round()
        assert "No space left on device" in cosigner.problems["log_dir"]
        assert (published(home), len(home.announced)) == (1, 1)
        (disk / "filler").unlink()
        assert await cosigner.round()
        assert published(home) == 2
        home.public.close()
        home.public = PublicLog(tmp_path, log=LOG)


@pytest.mark.privileged
async def test_a_full_disk_under_the_store_denies_and_loses_nothing(house, tmp_path):
    """On a full file system nothing is recorded, and what is recorded stays cosigned."""
    with small_disk(tmp_path / "data") as disk:
        store = SqliteStore(disk / "guard.db")
        home = house(quorum=2, store=store)
        await home.ledger.execute(adding)
        cosigner = home.cosigner()
        assert await cosigner.round()
        fill(disk)
        with pytest.raises(LedgerUnavailable):
            await asyncio.gather(*(home.ledger.execute(adding) for _ in range(100)))
        size = home_size(home)
        (disk / "filler").unlink()
        assert await home.ledger.execute(adding) == size
        assert await cosigner.round()
        assert published(home) == size + 1
        home.ledger.close()
        store.close()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 512 KiB."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a file system."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


async def test_an_older_copy_of_the_database_is_not_cosigned(house, tmp_path):
    """Even with the folder taken away too, the witnesses refuse a database from before."""
    store = SqliteStore(tmp_path / "guard.db")
    home = house(quorum=2, store=store)
    await home.ledger.execute(adding)
    for name in ("guard.db", "guard.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("guard", "older"))
    await home.ledger.execute(adding)
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    home.close()
    store.close()
    shutil.rmtree(home.log_dir)
    home.log_dir.mkdir()
    home.store = SqliteStore(tmp_path / "older.db")
    home.ledger = Sequencer(home.store, origin=LOG_NAME, key=DEPLOYMENT.log_key)
    home.public = PublicLog(home.log_dir, log=LOG)
    home.public.hold_against(home.ledger)
    try:
        # As old as it was, as long as the witnesses know the log to be, and longer.
        for _ in range(4):
            cosigner = home.cosigner()
            assert not await cosigner.round()
            assert len(cosigner.problems) >= 2
            await home.ledger.execute(adding)
        assert (home.cosigned(), published(home)) == (None, 0)
    finally:
        home.close()
        home.store.close()


async def test_a_rolled_back_store_is_not_cosigned(house):
    """A store put back to an older state gets no cosignature, with or without new records."""
    home = house(quorum=2)
    for _ in range(3):
        await home.ledger.execute(adding)
    assert await home.cosigner().round()
    older = Sequencer(MemoryStore(), origin=LOG_NAME, key=DEPLOYMENT.log_key)
    home.ledger.close()
    true, home.ledger = home.ledger, older
    try:
        for size in range(1, 6):
            await older.execute(adding)
            assert home_size(home) == size
            cosigner = home.cosigner()
            assert not await cosigner.round()
            assert len(cosigner.problems) >= 2
        assert home.cosigned() is None
    finally:
        older.close()
        home.ledger = true


async def asked(url: str, checkpoint: bytes, key: Ed25519PrivateKey = KEYS[0]) -> str:
    """Return why a client got no cosignature."""
    client = WitnessClient(NAMES[0], url, timeout=0.3)
    named = verifier_key(NAMES[0], KeyType.COSIGNATURE, key.public_key())
    try:
        with pytest.raises(WitnessFailed) as caught:
            await asyncio.to_thread(client.cosign, checkpoint, [named], lambda old, new: [])
    finally:
        client.close()
    return str(caught.value)


def line_by(key: Ed25519PrivateKey, name: str = NAMES[0]):
    """Make a peer's answer: a cosignature by a key over what was sent."""

    def make(body: bytes) -> bytes:
        note = parse_note(body.partition(b"\n\n")[2])
        return cosign(note, name, key, NOW).line()

    return make


def other_size(body: bytes) -> bytes:
    """Make a peer's answer: always a size that it was not asked from."""
    return b"1\n" if body.startswith(b"old 0\n") else b"0\n"


@pytest.mark.parametrize(
    ("status", "kind", "make", "why"),
    [
        (200, "text/plain", line_by(KEYS[1]), "no cosignature of its key"),
        (200, "text/plain", line_by(KEYS[0], "x.example"), "no cosignature of its key"),
        (200, "text/plain", lambda body: b"", "does not verify"),
        (200, "text/plain", lambda body: b"\xff" * 100_000, "does not verify"),
        (
            200,
            "text/plain",
            lambda body: line_by(KEYS[0])(body.replace(b"\n1\n", b"\n2\n")),
            "does not verify",
        ),
        (403, "text/plain", lambda body: b"forbidden", "answered 403: 'forbidden'"),
        (409, "text/plain", lambda body: b"1\n", "refuses this view of the log, answered 409"),
        (422, "text/plain", lambda body: b"no", "refuses this view of the log, answered 422: 'no'"),
        (503, "text/plain", lambda body: b"late", "answered 503: 'late'"),
        (409, "text/x.tlog.size", lambda body: b"many\n", "malformed size"),
        (409, "text/x.tlog.size", lambda body: b"\xff\n", "malformed size"),
        (409, "text/x.tlog.size", lambda body: b"7\n", "knows a log of 7 records, not of 1"),
        (409, "text/x.tlog.size", lambda body: b"0\n", "the size that it was asked from"),
        (409, "text/x.tlog.size", other_size, "another size at every try"),
    ],
)
async def test_what_a_witness_says_is_not_believed(house, status, kind, make, why):
    """Strange answers of a witness are named and lead to no cosignature."""
    home = house(quorum=1, up=0)
    await home.ledger.execute(adding)
    with home.ledger.reads() as view:
        checkpoint = view.checkpoint()
    with answering(status, kind, make) as url:
        assert why in await asked(url, checkpoint)


async def test_a_false_size_is_forgotten(house):
    """A witness that once names a size beyond the log cosigns as soon as it is honest again."""
    home = house(quorum=1, up=1)
    await home.ledger.execute(adding)
    with home.ledger.reads() as view:
        checkpoint = view.checkpoint()
    key = verifier_key(NAMES[0], KeyType.COSIGNATURE, KEYS[0].public_key())
    with answering(409, "text/x.tlog.size", lambda body: b"7\n") as url:
        client = WitnessClient(NAMES[0], url, timeout=3)
        port = client._connection.port
        with pytest.raises(WitnessFailed, match="knows a log of 7 records"):
            await asyncio.to_thread(client.cosign, checkpoint, [key], home.ledger.consistency)
        client._connection.close()
    home.witnesses[0].stop()
    home.witnesses[0] = home.witness(0, port)
    (line,) = await asyncio.to_thread(client.cosign, checkpoint, [key], home.ledger.consistency)
    client.close()
    assert line.key_id == key.key_id


async def test_both_keys_of_a_witness_are_taken(house, tmp_path):
    """One answer carries a line by each key that the policy knows; another key's is left out."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    second = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32)
    home = house(quorum=1, up=0)
    await home.ledger.execute(adding)
    with home.ledger.reads() as view:
        checkpoint = view.checkpoint()
    keys = [cosigner_key(NAMES[0], key) for key in (KEYS[0], second)]
    witness = RunningWitness(
        tmp_path / "two",
        name=NAMES[0],
        key=KEYS[0],
        more_keys=(second,),
        logs=(LOG,),
        clock=home.clock,
    )
    client = WitnessClient(NAMES[0], witness.url, timeout=3)
    try:
        for wanted in (keys, keys[:1], keys[1:]):
            lines = await asyncio.to_thread(
                client.cosign, checkpoint, wanted, home.ledger.consistency
            )
            assert [line.key_id for line in lines] == [key.key_id for key in wanted]
    finally:
        client.close()
        witness.stop()


async def test_a_policy_may_name_an_mldsa_key(house, tmp_path):
    """A quorum of one witness that is known by its ML-DSA-44 key alone is collected and trusted."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    second = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32)
    home = house(quorum=1, up=0)
    vkey = encode_vkey(cosigner_key(NAMES[0], second))
    home.policy = replace(home.policy, log=log_policy(DEPLOYMENT.policy.log.vkey, [vkey], 1))
    home.witnesses = [
        RunningWitness(
            tmp_path / "two",
            name=NAMES[0],
            key=KEYS[0],
            more_keys=(second,),
            logs=(LOG,),
            clock=home.clock,
        )
    ]
    await home.ledger.execute(adding)
    assert await home.cosigner().round()
    assert home.trusted(home.announced[-1]).size == 1


async def test_a_witness_that_is_not_there_is_named(house):
    """No listener, and a listener that says nothing, are both out of reach."""
    home = house(quorum=1, up=0)
    await home.ledger.execute(adding)
    with home.ledger.reads() as view:
        checkpoint = view.checkpoint()
    with silent_port() as url:
        assert "cannot be reached" in await asked(url, checkpoint)
    assert "cannot be reached" in await asked(url, checkpoint)


@pytest.mark.parametrize("url", ["ftp://w.example", "w.example", "http://", "unix:/x"])
def test_only_http_urls_are_witnesses(url):
    """Any other scheme is a mistake of the configuration."""
    with pytest.raises(ValueError, match="http or https"):
        WitnessClient("w", url, timeout=1)


async def test_a_closed_connection_is_opened_again(house):
    """A witness that restarts between two rounds costs nothing but a new connection."""
    home = house(quorum=1, up=1)
    home.policy = policy_of(1, count=1)
    cosigner = home.cosigner()
    await home.ledger.execute(adding)
    assert await cosigner.round()
    port = home.witnesses[0].port
    home.witnesses[0].stop()
    home.witnesses[0] = home.witness(0, port)
    await home.ledger.execute(adding)
    assert await cosigner.round()


@asynccontextmanager
async def collecting(cosigner: Cosigner) -> AsyncIterator[None]:
    task = asyncio.ensure_future(cosigner.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_whether_a_quorum_answers_is_found_out_by_asking(house):
    """Two of three: with one down it is reached, with two down it is not, and then it is again."""
    home = house(quorum=2)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    async with collecting(cosigner):
        assert await cosigner.reached()
        home.witnesses[0].stop()
        cosigner._answered = None  # The last answer is too old to count.
        assert await cosigner.reached()
        home.witnesses[1].stop()
        cosigner._answered = None
        assert not await cosigner.reached()
        home.witnesses[1] = home.witness(1, port=home.witnesses[1].port)
        assert await cosigner.reached()


async def test_a_recent_answer_counts_and_many_askers_share_a_round(house):
    """Whoever asks while a round is on its way hears of it; nobody asks twice in a moment."""
    home = house(quorum=3)
    await home.ledger.execute(adding)
    cosigner = home.cosigner()
    async with collecting(cosigner):
        assert all(await asyncio.gather(*(cosigner.reached() for _ in range(20))))
        rounds = len(home.announced)
        assert await cosigner.reached()
        assert len(home.announced) == rounds <= 2


async def test_an_empty_log_reaches_nobody(house):
    """There is nothing to cosign, so nothing is known of the witnesses."""
    home = house(quorum=2)
    cosigner = home.cosigner()
    async with collecting(cosigner):
        assert not await cosigner.reached()
