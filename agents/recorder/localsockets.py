"""The sockets of this network namespace that are bound to a port: address, owner, inode.

1. The kernel is asked for the one port (sock_diag), so that ten thousand other sockets cost
   nothing worth counting.
2. A kernel without sock_diag is read through /proc, of the calling thread's namespace.
3. A socket that its process has closed has no inode and no owner, and is left out.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["LocalSocket", "bound_to", "read_table"]

_PROTOCOLS: Final = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
_FAMILIES: Final = {4: socket.AF_INET, 16: socket.AF_INET6}
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_PATIENCE = 0.05
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI 2s2s16s16sI8s")
_FOUND = struct.Struct("=BBBB 2s2s16s16sI8s IIIII")
_PORT = struct.Struct("!H")
_LARGEST = 1 << 16
_HIGHEST_PORT = 0xFFFF

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSocket:
    """One socket; ``address`` is unspecified when it is bound to all, and plain IPv4 if mapped."""

    address: Address
    uid: int
    inode: int


def bound_to(protocol: str, port: int) -> list[LocalSocket]:
    """Return the sockets with this local port; raises OSError when the kernel tells nothing."""
    if not 0 < port <= _HIGHEST_PORT:
        return []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(_PATIENCE)
            return [each for size in _FAMILIES for each in _ask(kernel, protocol, port, size)]
    except OSError:
        return _read(protocol, port)  # Rule 2.


def _ask(kernel: socket.socket, protocol: str, port: int, size: int) -> Iterator[LocalSocket]:
    nothing = bytes(16)
    asked = _ASKED.pack(
        _FAMILIES[size], _PROTOCOLS[protocol], 0, 0xFFFF_FFFF,
        _PORT.pack(port), bytes(2), nothing, nothing, 0, b"\xff" * 8,
    )  # fmt: skip
    length = _HEADER.size + len(asked)
    kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, size, 0) + asked)
    while True:
        answer = kernel.recv(_LARGEST)
        while answer:
            length, kind, *_ = _HEADER.unpack_from(answer)
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", answer, _HEADER.size)
                raise OSError(-code, "the kernel has no sock_diag")
            fields = _FOUND.unpack_from(answer, _HEADER.size)
            if fields[4] == _PORT.pack(port) and fields[14]:  # Rule 3.
                address = _address(fields[6][:size])
                yield LocalSocket(address=address, uid=fields[13], inode=fields[14])
            answer = answer[(length + 3) & ~3 :]


def _read(protocol: str, port: int) -> list[LocalSocket]:
    found: list[LocalSocket] = []
    for name in (protocol, f"{protocol}6"):
        path = Path("/proc/thread-self/net") / name
        if path.exists():  # A kernel without IPv6 has only the first.
            found.extend(read_table(path.read_text("ascii"), port))
    return found


def read_table(table: str, port: int) -> list[LocalSocket]:
    """Find a local port in what /proc/net/udp and its kin say."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=10)
        address, _, number = fields[1].partition(":")
        if int(number, 16) == port and fields[9] != "0":
            # Each word of the address is written as the number it would be on this machine.
            words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
            packed = struct.pack(f"={len(words)}I", *words)
            found.append(
                LocalSocket(address=_address(packed), uid=int(fields[7]), inode=int(fields[9]))
            )
    return found


def _address(packed: bytes) -> Address:
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
