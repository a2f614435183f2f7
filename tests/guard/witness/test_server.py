"""The witness, spoken to over real sockets as C2SP tlog-witness says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.core.checkpoint import (
    Checkpoint,
    cosign,
    cosigner_key,
    sign_checkpoint,
    verify_cosignature,
)
from guard.core.merkle import EMPTY_ROOT, Tree, leaf_hash
from guard.core.note import (
    KeyType,
    encode_vkey,
    parse_note,
    parse_signature_lines,
    verifier_key,
    with_signatures,
)
from guard.core.witnessing import encode_add_checkpoint
from guard.witness.config import WitnessConfig, WitnessConfigError, load_witness_config
from guard.witness.state import WitnessUnusable
from tests.builders.witnesses import RunningWitness, SetClock

ROOT = Path(__file__).resolve().parents[3]
ORIGIN = "guard.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
LOG = verifier_key(ORIGIN, KeyType.NOTE, KEY.public_key())
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
WITNESS = verifier_key("witness.example/w1", KeyType.COSIGNATURE, WITNESS_KEY.public_key())
NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)


def tree_of(size: int, prefix: str = "leaf") -> Tree:
    tree = Tree()
    for number in range(size):
        tree.append(leaf_hash(f"{prefix} {number}".encode()))
    return tree


TREE = tree_of(100)
FORK = tree_of(100, "fork")


def checkpoint(size: int, *, tree: Tree = TREE, origin: str = ORIGIN, key=KEY) -> bytes:
    head = Checkpoint(origin=origin, size=size, root=tree.root(size))
    return sign_checkpoint(head, origin, key)


def request(old: int, new: int, *, tree: Tree = TREE) -> bytes:
    return encode_add_checkpoint(old, tree.consistency(old, new), checkpoint(new, tree=tree))


def config(folder: Path) -> WitnessConfig:
    return WitnessConfig(
        host="127.0.0.1",
        port=0,
        name=WITNESS.name,
        key_file=folder / "witness.pem",
        state_dir=folder / "state",
        logs=(LOG,),
    )


class Running(RunningWitness):
    """The witness of this module's log, with ways to speak to it."""

    def __init__(self, folder: Path, **settings) -> None:
        self.clock = SetClock(NOW)
        super().__init__(
            folder, name=WITNESS.name, key=WITNESS_KEY, logs=(LOG,), clock=self.clock, **settings
        )

    def raw(self, *pieces: bytes) -> bytes:
        """Send these bytes and return all that comes back until the connection ends."""

        async def converse() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(10):
                data = await reader.read()
            writer.close()
            return data

        return asyncio.run(converse())

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, str, bytes]:
        head = f"{method} {target} HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n"
        answer = self.raw(head.encode() + b"Connection: close\r\n\r\n" + body)
        top, _, rest = answer.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        kind = next(line for line in lines if line.startswith("Content-Type: "))
        return int(lines[0].split()[1]), kind.removeprefix("Content-Type: "), rest

    def add(self, body: bytes) -> tuple[int, str, bytes]:
        return self.ask("POST", "/add-checkpoint", body)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.stop()


def test_a_consistent_log_is_cosigned_step_by_step(witness):
    """Each continuation gets a cosignature of the witness's key, dated by its clock."""
    for old, new in ((0, 1), (1, 1), (1, 5), (5, 64), (64, 100)):
        status, _, body = witness.add(request(old, new))
        assert status == 200
        (line,) = parse_signature_lines(body)
        note = parse_note(checkpoint(new))
        assert line in with_signatures(note, [line]).by(WITNESS)
        assert verify_cosignature(note, line, WITNESS) == NOW


def test_an_unknown_log_is_404(witness):
    """A log that the witness was not configured for gets no cosignature."""
    body = encode_add_checkpoint(0, [], checkpoint(3, origin="other.example/log"))
    assert witness.add(body)[0] == 404


def test_a_bad_signature_is_403(witness):
    """A checkpoint that the log did not sign gets no cosignature, whatever it says."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    assert witness.add(encode_add_checkpoint(0, [], checkpoint(3, key=stranger)))[0] == 403
    assert witness.add(request(0, 3).replace(b"\n3\n", b"\n4\n"))[0] == 403


def test_a_stale_size_is_409_with_the_witness_own(witness):
    """A log that guesses wrong learns the witness's size in its own content type."""
    assert witness.add(request(2, 5))[0] == 409
    assert witness.add(request(0, 5))[0] == 200
    for old, new in ((0, 9), (3, 9), (0, 5)):
        assert witness.add(request(old, new)) == (409, "text/x.tlog.size", b"5\n")
    assert witness.add(request(5, 9))[0] == 200


def test_a_rolled_back_log_is_409(witness):
    """A smaller tree than the one cosigned is refused, however it is offered."""
    assert witness.add(request(0, 9))[0] == 200
    assert witness.add(request(0, 5))[0] == 409
    assert witness.add(encode_add_checkpoint(9, [], checkpoint(5)))[0] == 400


def test_another_root_at_the_same_size_is_422(witness):
    """A split view of equal size is refused, and not as a stale guess."""
    assert witness.add(request(0, 9))[0] == 200
    status, kind, _ = witness.add(request(9, 9, tree=FORK))
    assert (status, kind) == (422, "text/plain; charset=utf-8")


def test_a_split_view_is_422(witness):
    """A tree that does not continue the cosigned one is refused, and the true one still goes on."""
    assert witness.add(request(0, 9))[0] == 200
    assert witness.add(request(9, 20, tree=FORK))[0] == 422
    assert witness.add(encode_add_checkpoint(9, [], checkpoint(20)))[0] == 422
    assert witness.add(request(9, 20))[0] == 200


def test_a_proof_for_nothing_is_422(witness):
    """From the empty tree the proof is empty; anything else is refused."""
    body = encode_add_checkpoint(0, [b"x" * 32], checkpoint(3))
    assert witness.add(body)[0] == 422


def test_the_empty_log_can_be_cosigned(witness):
    """A log of no records has the root that RFC 6962 gives it."""
    body = encode_add_checkpoint(0, [], checkpoint(0))
    assert Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT).text().encode() in body
    assert witness.add(body)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"\n\n" + checkpoint(3),
        b"old 00\n\n" + checkpoint(3),
        b"old -1\n\n" + checkpoint(3),
        b"new 0\n\n" + checkpoint(3),
        b"old 0\nAAAA\n\n" + checkpoint(3),
        b"old 0\nnonsense\n\n" + checkpoint(3),
        b"old 0\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * 64 + b"\n" + checkpoint(3),
        b"old 0\n\n" + checkpoint(3)[:-1],
        b"old 0\n\n" + checkpoint(3).partition(b"\n\n")[0] + b"\n",
        b"old \xff\n\n" + checkpoint(3),
        b"old 5\n\n" + checkpoint(3),
    ],
)
def test_malformed_requests_are_400(witness, body):
    """What is not a request of the protocol is refused and changes nothing."""
    assert witness.add(body)[0] == 400
    assert witness.add(request(0, 3))[0] == 200


def test_the_newest_cosigned_checkpoint_can_be_fetched(witness):
    """A monitor gets log's and witness's signatures, and no others that were sent along."""
    path = f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    assert witness.ask("GET", path)[0] == 404
    other = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    note = parse_note(checkpoint(7))
    busy = with_signatures(note, [cosign(note, "other.example", other, NOW)]).encode()
    assert witness.add(encode_add_checkpoint(0, [], busy))[0] == 200
    status, _, body = witness.ask("GET", path)
    found = parse_note(body)
    assert status == 200
    assert [line.name for line in found.signatures] == [ORIGIN, WITNESS.name]
    assert verify_cosignature(found, found.by(WITNESS)[0], WITNESS) == NOW


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/add-checkpoint", 405),
        ("DELETE", "/00/checkpoint", 405),
        ("GET", "/", 404),
        ("POST", "/add-checkpoint/", 404),
        ("GET", "/../state/checkpoint", 404),
        ("GET", "/00/checkpoint", 404),
    ],
)
def test_other_places_and_methods_are_refused(witness, method, target, status):
    """Only the two places exist, each by its method."""
    assert witness.ask(method, target)[0] == status


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /add-checkpoint\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/2\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length : 1\r\n\r\n", 400),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_malformed_http_is_answered_and_ended(witness, head, status):
    """There is one way to read a request; everything else ends the connection."""
    assert witness.raw(head).startswith(b"HTTP/1.1 %d " % status)


def test_a_connection_serves_many_requests_in_any_pieces(witness):
    """Two requests on one connection, cut anywhere, get their two answers in order."""
    first, second = request(0, 4), request(4, 9)
    data = b"".join(
        b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), end, body)
        for body, end in ((first, b""), (second, b"Connection: close\r\n"))
    )
    answer = witness.raw(data[:10], data[10:300], data[300:])
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_a_silent_peer_does_not_hold_up_the_end(tmp_path):
    """Stopping does not wait for a peer that keeps its connection open and says nothing."""
    running = Running(tmp_path)
    with socket.create_connection(("127.0.0.1", running.port)) as peer:
        peer.sendall(b"POST")
        assert running.ask("GET", "/")[0] == 404
        running.stop()


def test_a_restarted_witness_remembers(tmp_path):
    """What was cosigned before a restart cannot be unsaid after it."""
    first = Running(tmp_path)
    assert first.add(request(0, 9))[0] == 200
    first.stop()
    again = Running(tmp_path)
    try:
        assert again.add(request(0, 5, tree=FORK)) == (409, "text/x.tlog.size", b"9\n")
        assert again.add(request(9, 20, tree=FORK))[0] == 422
        assert again.add(request(9, 20))[0] == 200
    finally:
        again.stop()


def test_a_checkpoint_that_cannot_be_kept_is_not_cosigned(tmp_path):
    """With the folder gone the witness answers 500 and knows nothing of the new size."""
    running = Running(tmp_path)
    try:
        assert running.add(request(0, 9))[0] == 200
        (tmp_path / "state").rename(tmp_path / "away")
        status, _, body = running.add(request(9, 20))
        assert (status, "witness.example" in body.decode()) == (500, False)
        (tmp_path / "away").rename(tmp_path / "state")
        assert running.add(request(9, 20))[0] == 200
    finally:
        running.stop()


@pytest.mark.parametrize("damage", [b"", b"rubbish", checkpoint(9)])
def test_a_damaged_memory_refuses_the_start(tmp_path, damage):
    """A witness that cannot trust its memory cosigns nothing more; it says which file it is."""
    running = Running(tmp_path)
    assert running.add(request(0, 9))[0] == 200
    running.stop()
    name = sha256(ORIGIN.encode()).hexdigest()
    (tmp_path / "state" / name).write_bytes(damage)
    with pytest.raises(WitnessUnusable, match=name):
        Running(tmp_path)


def test_no_cosignature_is_older_than_the_last(tmp_path):
    """With its clock set back a witness answers 503, after a restart too, until time has passed."""
    running = Running(tmp_path)
    assert running.add(request(0, 9))[0] == 200
    running.clock.time = NOW - timedelta(seconds=1)
    assert running.add(request(9, 20))[0] == 503
    running.stop()
    again = Running(tmp_path)
    try:
        again.clock.time = NOW - timedelta(seconds=1)
        assert again.add(request(9, 20))[0] == 503
        again.clock.time = NOW
        status, _, body = again.add(request(9, 20))
        assert (status, stamp(20, body)) == (200, NOW)
    finally:
        again.stop()


def test_a_witness_with_two_keys_cosigns_with_both(tmp_path):
    """Both lines are of the same time, and the kept checkpoint has both; a restart takes either."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    second = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32)
    keys = (WITNESS, cosigner_key(WITNESS.name, second))
    before = Running(tmp_path)
    assert before.add(request(0, 4))[0] == 200
    before.stop()
    running = Running(tmp_path, more_keys=(second,))
    status, _, body = running.add(request(4, 9))
    note = with_signatures(parse_note(checkpoint(9)), parse_signature_lines(body))
    assert status == 200
    assert [verify_cosignature(note, *note.by(key), key) for key in keys] == [NOW, NOW]
    _, _, kept = running.ask("GET", f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint")
    assert parse_note(kept).signatures == note.signatures
    running.stop()
    again = Running(tmp_path)
    assert again.add(request(9, 20))[0] == 200
    again.stop()


def stamp(size: int, body: bytes) -> datetime:
    (line,) = parse_signature_lines(body)
    return verify_cosignature(parse_note(checkpoint(size)), line, WITNESS)


def test_one_process_has_the_memory(witness, tmp_path):
    """A second witness on the same folder refuses to start."""
    with pytest.raises(WitnessUnusable, match="another witness"):
        Running(tmp_path)


CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
sys.path.insert(0, {here!r})
import test_server as t
from guard.witness.server import run
run(t.config(Path({folder!r})), keys=[t.WITNESS_KEY], clock=t.SetClock(t.NOW),
    ready=lambda port: print("port:", port, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_witness_remembers_what_it_answered(tmp_path, number):
    """After SIGKILL the cosigned size is on the disk; after SIGTERM the end is orderly."""
    code = CHILD.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = iter(process.stdout.readline, b"")
    port = next(int(line.split()[1]) for line in lines if line.startswith(b"port:"))
    client = Running.__new__(Running)
    client.port = port
    assert client.add(request(0, 9))[0] == 200
    process.send_signal(number)
    assert process.wait(10) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    process.stdout.close()
    again = Running(tmp_path)
    try:
        assert again.add(request(0, 12, tree=FORK))[:1] == (409,)
        assert again.add(request(9, 20))[0] == 200
    finally:
        again.stop()


TOML = f"""
listen = "127.0.0.1:7480"
name = "witness.example/w1"
key_file = "witness.pem"
state_dir = "state"
[[logs]]
vkey = "{encode_vkey(LOG)}"
"""


def test_the_configuration_is_read(tmp_path):
    """Every key is read, and files are relative to the configuration's folder."""
    path = tmp_path / "witness.toml"
    path.write_text(TOML)
    found = load_witness_config(path)
    assert (found.host, found.port, found.name) == ("127.0.0.1", 7480, "witness.example/w1")
    assert (found.key_file, found.state_dir) == (tmp_path / "witness.pem", tmp_path / "state")
    assert (found.logs, found.mldsa_key_file) == ((LOG,), None)
    path.write_text('mldsa_key_file = "mldsa.pem"\n' + TOML)
    assert load_witness_config(path).mldsa_key_file == tmp_path / "mldsa.pem"


def test_the_example_is_a_configuration():
    """`config/witness.toml` is read as it stands."""
    found = load_witness_config(ROOT / "config/witness.toml")
    assert (found.port, found.name, found.logs[0].name) == (7480, "witness-1", "log.example")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name", "nome"),
        ("[[logs]]", "extra = 1\n[[logs]]"),
        ('"127.0.0.1:7480"', '"7480"'),
        ('"127.0.0.1:7480"', '"127.0.0.1:70000"'),
        ('"127.0.0.1:7480"', "7480"),
        ('"witness.example/w1"', '""'),
        ("vkey = ", "weight = 1\nvkey = "),
        (encode_vkey(LOG), "nonsense"),
        (encode_vkey(LOG), encode_vkey(WITNESS)),
        (f'[[logs]]\nvkey = "{encode_vkey(LOG)}"', "logs = []"),
        (f'[[logs]]\nvkey = "{encode_vkey(LOG)}"', 'logs = ["x"]'),
        (
            f'vkey = "{encode_vkey(LOG)}"',
            f'vkey = "{encode_vkey(LOG)}"\n[[logs]]\nvkey = "{encode_vkey(LOG)}"',
        ),
        ("listen", "listen ="),
        ("listen", "mldsa_key_file = 1\nlisten"),
        ('name = "', f'mldsa_key_file = "m.pem"\nname = "{"n" * 256}'),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, old, new):
    """Nothing in the configuration is guessed or ignored."""
    path = tmp_path / "witness.toml"
    assert old in TOML
    path.write_text(TOML.replace(old, new))
    with pytest.raises(WitnessConfigError, match=r"witness\.toml"):
        load_witness_config(path)


def test_a_missing_configuration_is_named(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(WitnessConfigError, match="nowhere"):
        load_witness_config(tmp_path / "nowhere.toml")
