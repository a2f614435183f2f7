"""The processes of ``bench_decisions``: ``guard``, ``witness``, ``echo``, ``client``, each of its own.

``python -m tests.bench.decision_peers ROLE CORE FILE``. FILE is JSON for ``client`` and a folder for
the others. A server prints its port on a line of its own; the client prints its measurements.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from guard.api.v1 import capture_service_pb2 as messages
from guard.clock import SystemClock
from guard.config import load_config
from guard.keys import load_ed25519
from guard.server import configure_logging, serve
from guard.witness.config import load_witness_config
from guard.witness.server import serve as serve_witness
from tests.builders.serving import channel_options

ECHO = "/bench.Echo/Echo"
REQUEST = "/guard.api.v1.CaptureService/RequestCapture"


def say(port: int) -> None:
    print(port, flush=True)  # noqa: T201 - the parent reads it


async def guard(folder: Path) -> None:
    """Run the guard as it is; its log goes to a file beside its data."""
    await serve(load_config(folder / "guard.toml"), ready=say)


async def witness(folder: Path) -> None:
    config = load_witness_config(folder / "witness.toml")
    await serve_witness(
        config, keys=[load_ed25519(config.key_file)], clock=SystemClock(), ready=say
    )


async def echo(folder: Path) -> None:
    """Run a bare grpc.aio server over the same TLS, which answers with the bytes it got."""

    async def answer(request: bytes, _context: object) -> bytes:
        return request

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler})]
    )
    credentials = grpc.ssl_server_credentials(
        [((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())],
        (folder / "ca.crt").read_bytes(),
        require_client_auth=True,
    )
    say(server.add_secure_port("127.0.0.1:0", credentials))
    await server.start()
    await server.wait_for_termination()


async def client(file: Path) -> None:
    """Send every request once over the connections, as fast as the answers come."""
    job = json.loads(file.read_text())  # noqa: ASYNC240 - before anything runs
    channels = [_channel(job) for _ in range(job["connections"])]
    calls = [channel.unary_unary(job["method"]) for channel in channels]
    requests = [bytes.fromhex(each) for each in job["requests"]]
    warm, rest = requests[: len(calls)], requests[len(calls) :]
    await asyncio.gather(*(call(each) for call, each in zip(calls, warm, strict=True)))
    waiting, seconds = iter(rest), []

    async def work(call: Any) -> None:
        for request in waiting:
            started = time.perf_counter()
            await call(request)
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(work(call) for call in calls))
    elapsed = time.perf_counter() - started
    seconds.sort()
    result = {"rate": len(seconds) / elapsed, "p99": seconds[int(len(seconds) * 0.99)]}
    print(json.dumps(result), flush=True)  # noqa: T201 - the parent reads it
    for channel in channels:
        await channel.close()


def _channel(job: dict[str, Any]) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        job["ca"].encode(), job["key"].encode(), job["certificate"].encode()
    )
    options = (*channel_options, ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(f"127.0.0.1:{job['port']}", credentials, options=options)


def request(request_id: str, authority_id: str, node: str) -> bytes:
    """Encode one request for a capture."""
    return messages.RequestCaptureRequest(
        request_id=request_id, authority_id=authority_id, node=node
    ).SerializeToString()


if __name__ == "__main__":
    role, core, place = sys.argv[1:]
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    configure_logging()
    asyncio.run(
        {"guard": guard, "witness": witness, "echo": echo, "client": client}[role](Path(place))
    )
