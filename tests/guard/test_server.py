"""The gatekeeper as a whole: how it starts, refuses to start, is killed, and is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.api.v1 import audit_service_pb2 as audit_messages
from guard.api.v1 import authority_service_pb2 as authority_messages
from guard.api.v1 import capture_service_pb2 as capture_messages
from guard.api.v1.audit_service_pb2_grpc import AuditServiceStub
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceStub
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceStub
from guard.clock import SystemClock
from guard.config import load_config
from guard.core import envelope as dsse
from guard.core.checkpoint import parse_checkpoint
from guard.core.envelope import Kind
from guard.core.fields import format_time
from guard.core.merkle import Tree, leaf_hash, verify_consistency
from guard.core.note import parse_vkey
from guard.core.record import Entry
from guard.core.tiles import TileLog
from guard.keys import pem
from guard.log.publishing import PublicLog
from guard.server import StartRefusedError, serve
from tests.builders.deployment import SUBJECT, WITNESS_NAME, Deployment, new_keys
from tests.builders.pki import TestAuthority
from tests.builders.serving import Serving, channel_options, write_site
from tests.builders.witnesses import RunningWitness

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
from guard.clock import SystemClock
from guard.config import load_config
from guard.server import run
run(load_config(Path(sys.argv[1])))
"""


class Process:
    """A guard in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.site = Deployment(datetime.now(UTC).replace(microsecond=0))
        self.authority = TestAuthority()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        address = f"127.0.0.1:{self.port}"
        self.witness = RunningWitness(
            folder / "witness",
            name=WITNESS_NAME,
            key=self.site.witness_key,
            logs=(parse_vkey(self.site.policy.log.vkey),),
            clock=SystemClock(),
        )
        self.config = write_site(
            folder,
            self.site,
            self.authority,
            listen=address,
            witness_port=self.witness.port,
        )
        self.log = folder / "guard.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(self.config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def channel(self, name: str) -> grpc.aio.Channel:
        leaf = self.authority.leaf(self.site.people[name].spiffe_id)
        credentials = grpc.ssl_channel_credentials(
            self.authority.certificate, leaf.key, leaf.certificate
        )
        address = f"127.0.0.1:{self.port}"
        return grpc.aio.secure_channel(address, credentials, options=channel_options)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    made.witness.stop()
    if made.process is not None and made.process.poll() is None:
        made.end(signal.SIGKILL)


async def approved_ticket(process: Process, stub_by: dict[str, grpc.aio.Channel]) -> str:
    site = process.site
    operator = AuthorityServiceStub(stub_by["operator-1"])
    request = authority_messages.OpenTicketRequest(
        envelope=site.register(site.authority(nodes=("node-1", "node-2")))
    )
    opened = (await operator.OpenTicket(request, wait_for_ready=True, timeout=20)).authority
    envelope = dsse.parse(opened.envelope, Kind.AUTHORITY)
    made = site.people["lead-1"].signer.sign(dsse.pae(envelope))
    await AuthorityServiceStub(stub_by["lead-1"]).AddSignature(
        authority_messages.AddSignatureRequest(
            authority_id=opened.id, key_id=made.keyid, signature=bytes.fromhex(made.signature)
        )
    )
    return opened.id


def wish(authority_id: str, node: str) -> capture_messages.RequestCaptureRequest:
    return capture_messages.RequestCaptureRequest(
        request_id=str(uuid.uuid4()), authority_id=authority_id, node=node
    )


async def test_kill_9_loses_no_record_and_duplicates_no_grant(process: Process) -> None:
    """Killed amid requests and asked again: one grant per request, and one unbroken log."""
    process.start()
    names = ("operator-1", "lead-1", "auditor-1")
    channels = {name: process.channel(name) for name in names}
    captures = CaptureServiceStub(channels["operator-1"])
    audit = AuditServiceStub(channels["auditor-1"])
    wishes = []
    for _ in range(12):
        authority_id = await approved_ticket(process, channels)
        wishes += [wish(authority_id, node) for node in ("node-1", "node-2")]
    before = (await audit.GetCheckpoint(audit_messages.GetCheckpointRequest())).checkpoint
    answered: dict[str, str] = {}

    async def ask(request: capture_messages.RequestCaptureRequest) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await captures.RequestCapture(request, timeout=10)
            answered[request.request_id] = answer.capture.id

    asking = [asyncio.ensure_future(ask(each)) for each in wishes]
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(process.end, signal.SIGKILL)
    await asyncio.gather(*asking)
    process.start()
    for request in wishes:
        answer = await captures.RequestCapture(request, wait_for_ready=True, timeout=20)
        assert answered.setdefault(request.request_id, answer.capture.id) == answer.capture.id

    request = audit_messages.ReadRecordsRequest(purpose="test")
    listed = [each async for page in audit.ReadRecords(request) for each in page.records]
    granted = [
        json.loads(each.body)["grant_id"] for each in listed if each.kind == "capture_granted"
    ]
    assert sorted(granted) == sorted(answered.values())
    await assert_one_log(audit, before, listed)
    for channel in channels.values():
        await channel.close()


async def assert_one_log(
    audit: AuditServiceStub, before: bytes, listed: list[audit_messages.LogRecord]
) -> None:
    """Hold the records against the newest checkpoint, and that against the older one."""
    tree = Tree()
    for each in listed:
        time = format_time(each.time.ToDatetime(UTC))
        entry = Entry(each.kind, time, each.digest, each.salt, each.body)
        tree.append(leaf_hash(entry.leaf()))
    after = (await audit.GetCheckpoint(audit_messages.GetCheckpointRequest())).checkpoint
    old, new = parse_checkpoint(before), parse_checkpoint(after)
    # The reading itself came after what it read.
    assert (new.size, old.size <= tree.size) == (tree.size + 1, True)
    for size, root in ((old.size, old.root), (tree.size, tree.root())):
        request = audit_messages.GetConsistencyProofRequest(old_size=size, new_size=new.size)
        proof = (await audit.GetConsistencyProof(request)).hashes
        verify_consistency(
            old_size=size, new_size=new.size, proof=proof, old_root=root, new_root=new.root
        )


async def test_sigterm_ends_it_in_order_and_the_log_names_no_subject(process: Process) -> None:
    """It exits with 0 in seconds, with a watcher connected; every line of its log is JSON."""
    process.start()
    names = ("operator-1", "lead-1")
    channels = {name: process.channel(name) for name in names}
    authority_id = await approved_ticket(process, channels)
    captures = CaptureServiceStub(channels["operator-1"])
    answer = await captures.RequestCapture(wish(authority_id, "node-1"))
    request = capture_messages.WatchCaptureRequest(capture_id=answer.capture.id)
    watching = captures.WatchCapture(request)
    await watching.read()
    assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
    for channel in channels.values():
        await channel.close()
    text = process.log.read_text()
    assert SUBJECT not in text
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert events[-1] == "stopped"


def refusal(folder: Path, **changes: object) -> str:
    """Start with one thing wrong and return what it says."""
    site = Deployment(datetime.now(UTC).replace(microsecond=0))
    config = load_config(write_site(folder, site, TestAuthority()))
    for name, data in changes.pop("files", {}).items():  # type: ignore[attr-defined]
        (folder / name).write_bytes(data(site) if callable(data) else data)
    with pytest.raises(StartRefusedError) as refused:
        asyncio.run(serve(replace(config, **changes)))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    return str(refused.value)


def other_pem(_site: Deployment) -> bytes:
    return pem(Ed25519PrivateKey.generate())


def forged_policy(site: Deployment) -> bytes:
    return site.sign_policy(site.policy, signers=[new_keys("thief").signer] * 1)


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("signing.key", other_pem, "names no guard with this signing key"),
        ("log.key", other_pem, "is not the log's key"),
        ("log.key", b"nothing", "does not hold"),
        ("trust.json", forged_policy, "no trust policy to start with"),
        ("trust.json", b"{}", "no trust policy to start with"),
        ("roots.json", b"{}", "roots.json"),
        ("tls.crt", b"nothing", "holds no certificate"),
        ("tls.key", other_pem, "is not the certificate of"),
        ("ca.crt", b"", "holds no certificate"),
    ],
)
def test_a_wrong_file_is_no_start(tmp_path: Path, name: str, data: object, complaint: str) -> None:
    """Every file that does not fit the trust policy refuses the start, by name or by what it is."""
    assert complaint in refusal(tmp_path, files={name: data})


def test_no_start_without_witnesses_of_the_policy(tmp_path: Path) -> None:
    """Witnesses that the trust policy does not name make no quorum."""
    assert "have to cosign" in refusal(tmp_path, witnesses=())


def test_no_start_in_a_folder_that_others_can_read(tmp_path: Path) -> None:
    """The data's folder belongs to the guard alone."""
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    loose.chmod(0o755)
    assert "chmod 700" in refusal(tmp_path, data_dir=loose)


def test_no_start_on_another_database(tmp_path: Path) -> None:
    """A database that this release cannot use is said so, without its password."""
    said = refusal(tmp_path, database="postgresql://guard:secret@db/guard")
    assert "sqlite" in said
    assert "secret" not in said


async def test_two_guards_never_share_a_store(process: Process) -> None:
    """The second one on the same data does not start."""
    process.start()
    channel = process.channel("auditor-1")
    request = audit_messages.GetCheckpointRequest()
    await AuditServiceStub(channel).GetCheckpoint(request, wait_for_ready=True, timeout=20)
    await channel.close()
    with pytest.raises(StartRefusedError, match="another guard"):
        await serve(load_config(process.config))


def test_no_start_where_another_guard_publishes(tmp_path: Path) -> None:
    """The published log's folder belongs to one guard, and must be there."""
    site = Deployment()
    taken = tmp_path / "taken"
    taken.mkdir()
    first = PublicLog(taken, log=parse_vkey(site.policy.log.vkey))
    try:
        assert "another guard publishes" in refusal(tmp_path / "a", log_dir=taken)
    finally:
        first.close()
    assert "No such file" in refusal(tmp_path / "b", log_dir=tmp_path / "none")


async def test_no_start_on_a_database_older_than_the_published_log(tmp_path: Path) -> None:
    """A database put back to before what was published is said so."""
    async with Serving(tmp_path):
        await published(tmp_path / "log")
    older = tmp_path / "older"
    older.mkdir(mode=0o700)
    config = replace(
        load_config(tmp_path / "guard.toml"),
        data_dir=older,
        database=f"sqlite:///{older}/guard.db",
    )
    with pytest.raises(StartRefusedError, match="the database is older than the log in"):
        await serve(config)


async def published(folder: Path) -> TileLog:
    """Wait for the published log and read it as anybody may, checked whole."""
    async with asyncio.timeout(20):
        while not (folder / "checkpoint").exists():  # noqa: ASYNC110  # nothing announces a file
            await asyncio.sleep(0.01)
    head = parse_checkpoint((folder / "checkpoint").read_bytes())
    log = TileLog(lambda path: (folder / path).read_bytes(), head.size)
    assert log.check() == head.root
    return log


async def test_the_log_is_published(tmp_path: Path) -> None:
    """A guard that has just started has published its first record, and who may cosign it."""
    async with Serving(tmp_path):
        log = await published(tmp_path / "log")
        assert [json.loads(leaf)["kind"] for leaf in log.leaves(0, 1)] == ["trust_policy_changed"]
        assert (tmp_path / "log" / "policy").read_text().startswith("log ")


async def test_a_taken_address_is_no_start(process: Process) -> None:
    """A port in use refuses the start."""
    config = load_config(process.config)
    taken = socket.create_server(("127.0.0.1", process.port))
    with taken, pytest.raises(StartRefusedError, match="cannot listen"):
        await serve(config)
