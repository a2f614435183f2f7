"""A guard as it is served: real TLS sockets, a real store on disk, a real witness.

``Serving`` lays out a folder as a deployment has it and runs witness and guard in the test's event
loop; ``write_site`` alone lays out the folder, for tests that start processes.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from guard.config import Config, load_config
from guard.core.note import parse_vkey
from guard.core.trust import encode_roots
from guard.keys import pem, write_secret
from guard.server import serve
from guard.witness.config import WitnessConfig
from guard.witness.server import serve as serve_witness
from tests.builders.deployment import WITNESS_NAME, Deployment
from tests.builders.pki import Leaf, TestAuthority

__all__ = ["Serving", "ShiftedClock", "channel_options", "write_site"]

channel_options = (("grpc.ssl_target_name_override", "guard"), ("grpc.enable_http_proxy", 0))


class ShiftedClock:
    """The machine's clock, set forward by the test."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift


def write_site(
    folder: Path,
    site: Deployment,
    authority: TestAuthority,
    *,
    listen: str = "127.0.0.1:0",
    witness_port: int = 9,
) -> Path:
    """Lay out a guard's folder and return its configuration file."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    (folder / "log").mkdir(mode=0o755, exist_ok=True)
    leaf = authority.leaf(site.guard.spiffe_id, hosts=["guard", "127.0.0.1"])
    write_secret(folder / "signing.key", pem(site.guard.signer._private_key))
    write_secret(folder / "log.key", pem(site.log_key))
    (folder / "roots.json").write_bytes(encode_roots(site.pinned))
    (folder / "trust.json").write_bytes(site.policy_envelope)
    write_leaf(folder, leaf)
    (folder / "ca.crt").write_bytes(authority.certificate)
    config = folder / "guard.toml"
    config.write_text(
        f"""
        listen = "{listen}"
        data_dir = "data"
        log_dir = "log"
        roots = "roots.json"
        trust_policy = "trust.json"
        signing_key = "signing.key"
        log_key = "log.key"
        [tls]
        certificate = "tls.crt"
        key = "tls.key"
        client_ca = "ca.crt"
        [[witnesses]]
        name = "{WITNESS_NAME}"
        url = "http://127.0.0.1:{witness_port}"
        """
    )
    return config


def write_leaf(folder: Path, leaf: Leaf) -> None:
    """Put the listener's certificate and key in place, each file whole at once."""
    for name, data in (("tls.crt", leaf.certificate), ("tls.key", leaf.key)):
        fresh = folder / f"{name}.new"
        fresh.unlink(missing_ok=True)
        write_secret(fresh, data)
        fresh.rename(folder / name)


class Serving:
    """See the module's docstring."""

    def __init__(self, folder: Path, site: Deployment | None = None) -> None:
        self.folder = folder
        self.site = site or Deployment(datetime.now(UTC).replace(microsecond=0))
        self.authority = TestAuthority()
        self.clock = ShiftedClock()
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        witness_port = await self._start_witness()
        config = load_config(
            write_site(self.folder, self.site, self.authority, witness_port=witness_port)
        )
        await self.start_guard(config)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            await channel.close()
        for task in reversed(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def start_guard(self, config: Config) -> None:
        self.port = await self._start(lambda ready: serve(config, clock=self.clock, ready=ready))

    async def _start_witness(self) -> int:
        state = self.folder / "witness"
        state.mkdir(mode=0o700)
        config = WitnessConfig(
            host="127.0.0.1",
            port=0,
            name=WITNESS_NAME,
            key_file=self.folder / "unused",
            state_dir=state,
            logs=(parse_vkey(self.site.policy.log.vkey),),
        )
        key = self.site.witness_key
        return await self._start(
            lambda ready: serve_witness(config, keys=[key], clock=self.clock, ready=ready)
        )

    async def _start(self, service: Any) -> int:
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(service(port.set_result))
        self._tasks.append(task)
        await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
        if not port.done():
            await task
        return port.result()

    # --- clients ------------------------------------------------------------------------------

    def channel_for(self, leaf: Leaf | None) -> grpc.aio.Channel:
        """Open a new channel with a client certificate, or without one."""
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self.authority.certificate,
            private_key=leaf.key if leaf else None,
            certificate_chain=leaf.certificate if leaf else None,
        )
        return grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}", credentials, options=channel_options
        )

    def channel(self, name: str) -> grpc.aio.Channel:
        """Return the channel of somebody in the trust policy."""
        if name not in self._channels:
            self._channels[name] = self.channel_for(self.leaf(name))
        return self._channels[name]

    def leaf(self, name: str, **options: Any) -> Leaf:
        """Issue a client certificate for somebody in the trust policy."""
        site = self.site
        keys = {"guard-1": site.guard, **site.people, **site.nodes}[name]
        return self.authority.leaf(keys.spiffe_id, **options)
