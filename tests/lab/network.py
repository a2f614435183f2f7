"""A small telephone network made of network namespaces, removed whatever happens.

::

    caller ──────── node ──────── callee        two voice networks, the node routes between them
                     │
                   guard                        the management network

Rules:

1. Nothing of it touches the host's own interfaces: every link joins two namespaces made here.
2. Names carry a random token, so that networks can live side by side.
3. Leaving the ``with`` block ends the processes started here, by their ids, and removes every
   namespace, also after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from pyroute2 import AsyncIPRoute, netns

from tests.lab.slice import Slice

__all__ = ["Network", "missing_privilege"]

PLACES = ("caller", "node", "callee", "guard")
# (place, interface, place, interface, IPv4 prefix, IPv6 prefix); the node holds address 1, the
# other end address 2.
LINKS = (
    ("node", "voice-a", "caller", "eth0", "10.77.1.", "fd77:1::"),
    ("node", "voice-b", "callee", "eth0", "10.77.2.", "fd77:2::"),
    ("node", "manage", "guard", "eth0", "10.77.9.", "fd77:9::"),
)


def missing_privilege() -> str:
    """Say in one line what this machine lacks for the lab; an empty string when nothing."""
    if os.geteuid() != 0:
        return "the lab needs root: it makes network namespaces and loads eBPF programs"
    for program, package in (("sipp", "sip-tester"), ("ip", "iproute2"), ("tshark", "tshark")):
        if not any((Path(d) / program).exists() for d in os.get_exec_path()):
            return f"the lab needs {program}: install Debian's package {package} (make deps)"
    token = f"cg-probe-{secrets.token_hex(3)}"
    try:
        netns.create(token)
        netns.remove(token)
    except OSError as error:
        return f"the lab cannot make network namespaces here: {error.strerror}"
    return ""


@dataclass
class Network:
    """The namespaces and what runs in them; use it as a context manager."""

    token: str = field(default_factory=lambda: secrets.token_hex(3))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    slice: Slice | None = None
    """Where what runs on the node belongs, by the service's name; None: wherever we are."""

    def __enter__(self) -> Self:
        try:
            for place in PLACES:
                netns.create(self.name(place))
            asyncio.run(self._connect())
            for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                self.run("node", "sysctl", "-qw", f"{key}=1")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def name(self, place: str) -> str:
        """Name the namespace of ``place``."""
        return f"cg-{self.token}-{place}"

    def inside(self, place: str, *command: str, unit: str = "lab.service") -> list[str]:
        """Return a command that runs in ``place``; on the node, inside of the slice if there is one.

        There /sys must stay as it is, with the control groups in it; `ip netns exec` mounts another.
        """
        if self.slice and place == "node":
            network = f"--net=/run/netns/{self.name(place)}"
            return [*self.slice.unit(unit), "nsenter", network, *command]
        return ["ip", "netns", "exec", self.name(place), *command]

    def run(
        self, place: str, *command: str, timeout: float = 60, check: bool = True, **options: object
    ) -> str:
        """Run a command in ``place`` to its end and return its standard output."""
        done = subprocess.run(
            self.inside(place, *command),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,  # type: ignore[call-overload]
        )
        if check and done.returncode != 0:
            raise RuntimeError(
                f"{command[0]} in {place} ended with {done.returncode}: {done.stderr.strip()[-600:]}"
            )
        return str(done.stdout)

    def start(
        self,
        place: str,
        *command: str,
        output: IO[bytes] | int = subprocess.DEVNULL,
        unit: str = "lab.service",
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """Start a command in ``place``; it is ended with the network at the latest."""
        process = subprocess.Popen(
            self.inside(place, *command, unit=unit),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,  # type: ignore[call-overload]
        )
        self.processes.append(process)
        return process

    def add_address(self, place: str, address: str) -> None:
        """Give the voice interface of ``place`` one more address (with its prefix length)."""
        nodad = ("nodad",) if ":" in address else ()
        self.run(place, "ip", "addr", "replace", address, "dev", "eth0", *nodad)

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Cut the management network between node and guard for the time of the block."""
        self.run("node", "ip", "link", "set", "manage", "down")
        try:
            yield
        finally:
            self.run("node", "ip", "link", "set", "manage", "up")
            self.run(
                "node", "ip", "-6", "addr", "replace", "fd77:9::1/64", "dev", "manage", "nodad"
            )

    def close(self) -> None:
        """End the processes and remove the namespaces (rule 3)."""
        for process in reversed(self.processes):
            end(process)
        self.processes.clear()
        for place in PLACES:
            with contextlib.suppress(OSError):
                netns.remove(self.name(place))

    async def _connect(self) -> None:
        for near, near_if, far, far_if, v4, v6 in LINKS:
            async with (
                AsyncIPRoute(netns=self.name(near)) as near_ip,
                AsyncIPRoute(netns=self.name(far)) as far_ip,
            ):
                peer = {"ifname": far_if, "net_ns_fd": self.name(far)}
                await near_ip.link("add", ifname=near_if, kind="veth", peer=peer)
                await self._address(near_ip, near_if, (f"{v4}1", f"{v6}1"))
                await self._address(far_ip, far_if, (f"{v4}2", f"{v6}2"))
                if far != "guard":
                    await far_ip.route("add", dst="default", gateway=f"{v4}1")
                    await far_ip.route("add", dst="default", gateway=f"{v6}1", family=10)

    @staticmethod
    async def _address(ip: AsyncIPRoute, name: str, addresses: Sequence[str]) -> None:
        for loose in ("lo", name):
            (index,) = await ip.link_lookup(ifname=loose)
            await ip.link("set", index=index, state="up")
        for address in addresses:
            if ":" in address:  # no duplicate address detection: the address works at once
                await ip.addr("add", index=index, address=address, prefixlen=64, ifa_flags=0x02)
            else:
                await ip.addr("add", index=index, address=address, prefixlen=24)


def end(process: subprocess.Popen[bytes], patience: float = 5) -> int:
    """End one process started here: politely, then for good."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return int(process.returncode)
