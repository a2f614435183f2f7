"""Decisions on capture requests, durable and in the log, beside a bare grpc.aio echo over mTLS.

The guard runs whole, with SQLite on disk, its log lines and a real witness; each request is for
another authority and node and is granted, so each costs a decision, a signature, a record and its
share of a commit. Client, guard, echo and witness are processes of their own; client and server
keep to a core each, the witness shares the client's. Rounds alternate and the median counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from guard.api.v1 import authority_service_pb2 as messages
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceStub
from guard.core import envelope as dsse
from guard.core.enforcement import SentryMode
from guard.core.envelope import Kind
from guard.core.trust import NodeIdentity
from guard.keys import pem, write_secret
from tests.bench import decision_peers as peers
from tests.builders.deployment import WITNESS_NAME, Deployment, new_keys
from tests.builders.pki import TestAuthority
from tests.builders.serving import channel_options, write_site

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 32
ROUNDS = 3
REQUESTS = 4000
NODES = 16


def rows() -> Iterator[dict[str, Any]]:
    """Yield the rate beside the echo's, and the time that 99 of 100 decisions took."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        ours, bare = measure(Path(name))
    rate = statistics.median(each["rate"] for each in ours)
    echo = statistics.median(each["rate"] for each in bare)
    yield {
        "name": "capture requests decided, durable and logged, 32 connections",
        "unit": "decisions/s",
        "ours": rate,
        "peer": echo,
        "ratio": rate / echo,
        "budget": 0.5,
        "met": rate / echo >= 0.5,
    }
    slow = statistics.median(each["p99"] for each in ours) * 1000
    slow_echo = statistics.median(each["p99"] for each in bare) * 1000
    yield {
        "name": "the same, 99th percentile",
        "unit": "ms",
        "ours": slow,
        "peer": slow_echo,
        "ratio": slow / slow_echo,
        "budget": 100.0,
        "met": slow <= 100,
    }


def measure(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Run guard, witness and echo, and the client against each in turn."""
    site, authority = crowded_site(), TestAuthority()
    cores = sorted(os.sched_getaffinity(0))
    server, other = (str(cores[0]), str(cores[1])) if len(cores) > 1 else ("any", "any")
    with ExitStack() as running:
        write_witness(folder, site)
        witness_port = running.enter_context(started("witness", other, folder / "witness"))
        write_site(folder / "guard", site, authority, witness_port=witness_port)
        guard_port = running.enter_context(started("guard", server, folder / "guard"))
        echo_port = running.enter_context(started("echo", server, folder / "guard"))
        ids = asyncio.run(register(site, authority, guard_port, -(-ROUNDS * REQUESTS // NODES)))
        wishes = [
            peers.request(str(uuid.uuid4()), each, node) for each in ids for node in site.nodes
        ]
        ours, bare = [], []
        for number in range(ROUNDS):
            batch = wishes[number * REQUESTS : (number + 1) * REQUESTS]
            for port, method, into in (
                (echo_port, peers.ECHO, bare),
                (guard_port, peers.REQUEST, ours),
            ):
                job = write_job(folder, site, authority, port, method, batch)
                into.append(run_client(other, job))
    return ours, bare


def crowded_site() -> Deployment:
    """Make a deployment with as many nodes as an authority may name."""
    site = Deployment(datetime.now(UTC).replace(microsecond=0))
    site.nodes = {f"node-{number}": new_keys(f"node-{number}") for number in range(NODES)}
    site.adopt(
        nodes=tuple(
            NodeIdentity(
                name=name,
                spiffe_id=keys.spiffe_id,
                key=keys.signer.public_key,
                recipient=keys.recipient,
                sentry=SentryMode.OBSERVE,
            )
            for name, keys in site.nodes.items()
        )
    )
    return site


def write_witness(folder: Path, site: Deployment) -> None:
    place = folder / "witness"
    (place / "state").mkdir(mode=0o700, parents=True)
    write_secret(place / "witness.key", pem(site.witness_key))
    (place / "witness.toml").write_text(
        f'listen = "127.0.0.1:0"\nname = "{WITNESS_NAME}"\nkey_file = "witness.key"\n'
        f'state_dir = "state"\n[[logs]]\nvkey = "{site.policy.log.vkey}"\n'
    )


async def register(site: Deployment, authority: TestAuthority, port: int, count: int) -> list[str]:
    """Open and approve tickets that name every node; return their ids."""
    ids = []
    channels = {
        name: grpc.aio.secure_channel(
            f"127.0.0.1:{port}",
            grpc.ssl_channel_credentials(authority.certificate, leaf.key, leaf.certificate),
            options=channel_options,
        )
        for name in ("operator-1", "lead-1")
        if (leaf := authority.leaf(site.people[name].spiffe_id))
    }
    for _ in range(count):
        envelope = site.register(site.authority(nodes=tuple(site.nodes)))
        request = messages.OpenTicketRequest(envelope=envelope)
        opened = await AuthorityServiceStub(channels["operator-1"]).OpenTicket(request)
        pae = dsse.pae(dsse.parse(envelope, Kind.AUTHORITY))
        made = site.people["lead-1"].signer.sign(pae)
        await AuthorityServiceStub(channels["lead-1"]).AddSignature(
            messages.AddSignatureRequest(
                authority_id=opened.authority.id,
                key_id=made.keyid,
                signature=bytes.fromhex(made.signature),
            )
        )
        ids.append(opened.authority.id)
    for channel in channels.values():
        await channel.close()
    return ids


@contextmanager
def started(role: str, core: str, folder: Path) -> Iterator[int]:
    """Run a server and yield its port."""
    with (folder.parent / f"{role}.log").open("wb") as log:
        process = subprocess.Popen(
            command(role, core, folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=20)


def command(role: str, core: str, place: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.decision_peers", role, core, str(place)]


def write_job(
    folder: Path,
    site: Deployment,
    authority: TestAuthority,
    port: int,
    method: str,
    batch: list[bytes],
) -> Path:
    leaf = authority.leaf(site.people["operator-1"].spiffe_id)
    job = {
        "ca": authority.certificate.decode(),
        "certificate": leaf.certificate.decode(),
        "key": leaf.key.decode(),
        "port": port,
        "method": method,
        "connections": CONNECTIONS,
        "requests": [each.hex() for each in batch],
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def run_client(core: str, job: Path) -> dict[str, float]:
    done = subprocess.run(
        command("client", core, job), cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
