"""Two namespaces with a wire between them, and one more wire that nothing should come out of.

    a: v0 10.77.0.1 ──── v1 10.77.0.2 :b          a: t0 10.78.0.1 ──── t1 (:b, no address)

`copied` sends one datagram each way over the first wire and one to everybody, and says whether
any of them came out of the end of the second (or of another link): that is what a mirror does.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from agents.kernel.bpf import buffer, call, pointer
from agents.sentry.namespaces import Namespace, Namespaces
from agents.sentry.netlink import attribute, change, open_socket, request
from agents.sentry.netwatch import NetWatch
from agents.sentry.place import enter

__all__ = [
    "Wires",
    "bpf_program",
    "index_of",
    "inside",
    "instruction",
    "redirecting",
    "set_xdp",
]

_EVERYTHING = 3
_SECONDS = 0.6


def inside(name: str, work: Callable[[], Any]) -> Any:
    """Do this in a namespace, in a thread of its own."""
    answer: list[Any] = []

    def there() -> None:
        with Path("/run/netns", name).open() as namespace:
            enter(namespace.fileno())
        answer.append(work())

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    return answer[0]


def _hearing(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    opened.bind((interface, _EVERYTHING))
    opened.settimeout(_SECONDS)
    return opened


def _sending(address: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    opened.bind((address, 0))
    return opened


@dataclass
class Wires:
    """Use it as a context manager."""

    a: str = field(default_factory=lambda: f"cgm-{secrets.token_hex(4)}")
    undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self.b = f"{self.a}b"
        with self.undo as undo:
            for name in (self.a, self.b):
                subprocess.run(["ip", "netns", "add", name], check=True)
                undo.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
                self.run("ip", "link", "set", "lo", "up", at=name)
            for one, other in (("v0", "v1"), ("t0", "t1")):
                peer = ("peer", "name", other, "netns", self.b)
                self.run("ip", "link", "add", one, "type", "veth", *peer)
                self.run("ip", "link", "set", one, "up")
                self.run("ip", "link", "set", other, "up", at=self.b)
            self.run("ip", "address", "add", "10.77.0.1/24", "dev", "v0")
            self.run("ip", "address", "add", "10.77.0.2/24", "dev", "v1", at=self.b)
            self.run("ip", "address", "add", "10.78.0.1/24", "dev", "t0")
            self.run("ip", "neigh", "add", "10.78.0.2", "lladdr", "02:00:00:00:00:02", "dev", "t0")
            self.senders = [
                (undo.enter_context(inside(self.a, lambda: _sending("10.77.0.1"))), "10.77.0.2"),
                (undo.enter_context(inside(self.b, lambda: _sending("10.77.0.2"))), "10.77.0.1"),
                (undo.enter_context(inside(self.b, lambda: _sending("10.77.0.2"))), "10.77.0.255"),
            ]
            ((self.namespace,), _) = Namespaces((self.a,)).refresh()
            self.watch = NetWatch(self.namespace)
            undo.callback(self.watch.close)
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.undo.close()

    namespace: Namespace = field(init=False)

    def run(self, *words: str, at: str | None = None) -> str:
        command = ["ip", "netns", "exec", at or self.a, *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def standing(self, what: str) -> list[Any]:
        """Return the findings of a kind that stand, in their order."""
        found = self.watch.look().standing
        return sorted((each for each in found if each.what == what), key=repr)

    def found(self, what: str) -> Any:
        (finding,) = self.standing(what)
        return finding

    def send(self, *, broadcast: bool = True) -> bytes:
        token = secrets.token_hex(16).encode()
        for opened, to in self.senders if broadcast else self.senders[:2]:
            opened.sendto(token, (to, 9))
        return token

    def copied(self, *, at: str = "", interface: str = "t1", broadcast: bool = True) -> bool:
        """Say whether what is sent comes out of a link that it was not sent to."""
        with inside(at or self.b, lambda: _hearing(interface)) as hearing:
            return self._heard(hearing, self.send(broadcast=broadcast))

    @staticmethod
    def _heard(hearing: socket.socket, token: bytes) -> bool:
        until = time.monotonic() + _SECONDS
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < until:
                if token in hearing.recv(4096):
                    return True
        return False

    def logged(self, group: int) -> bool:
        """Say whether what is sent is handed to a listener of this group of NFLOG."""
        with inside(self.a, lambda: _listening(group)) as hearing:
            return self._heard(hearing, self.send())


def _listening(group: int) -> socket.socket:
    """Listen to a group of NFLOG, whole packets, one by one."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    opened.bind((0, 0))
    opened.settimeout(_SECONDS)
    everything = struct.pack("=HH", 10, 2) + struct.pack(">IBx", 0xFFFF, 2) + bytes(2)
    at_once = struct.pack("=HHI", 8, 5, socket.htonl(1))  # NFULA_CFG_QTHRESH
    for body in (struct.pack("=HHB3x", 5, 1, 1), everything, at_once):
        head = struct.pack("=IHHII", 20 + len(body), (4 << 8) | 1, 5, 1, 0)
        opened.send(head + struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + body)
        assert struct.unpack_from("=i", opened.recv(4096), 16)[0] == 0
    return opened


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, value)


def bpf_program(kind: int, *instructions: bytes, name: str = "ours", attach: int = 0) -> int:
    """Load a program and return its descriptor."""
    code, licence = buffer(b"".join(instructions)), buffer(b"GPL\0")
    log = buffer(bytes(65536))
    asked = struct.pack(
        "<IIQQIIQII16sII",
        kind, len(code) // 8, pointer(code), pointer(licence), 1, len(log), pointer(log), 0, 0,
        name.encode(), 0, attach,
    )  # fmt: skip
    try:
        return call(5, asked.ljust(144, b"\0"))
    except OSError as error:
        raise AssertionError(log.value.decode()) from error


def index_of(wires: Wires, name: str) -> int:
    return int(wires.run("cat", f"/sys/class/net/{name}/ifindex"))


def redirecting(wires: Wires) -> int:
    """Load a program of XDP that sends all there is out of t0."""
    return bpf_program(
        6,
        instruction(0xB7, 1, value=index_of(wires, "t0")),
        instruction(0xB7, 2),
        instruction(0x85, value=23),  # bpf_redirect
        instruction(0x95),
        name="redirecting",
    )


def set_xdp(wires: Wires, descriptor: int, *, link: str = "v0", mode: int = 2) -> None:
    """Put a program in front of a link; the mode 2 is generic, 4 the driver's."""
    xdp = attribute(1, struct.pack("=i", descriptor)) + attribute(3, struct.pack("=I", mode))
    body = struct.pack("=BxHiII", 0, 0, index_of(wires, link), 0, 0) + attribute(0x8000 | 43, xdp)

    def set_it() -> bool:
        with open_socket(0) as kernel:
            change(kernel, request(19, body, acknowledge=True))
        return True

    inside(wires.a, set_it)
