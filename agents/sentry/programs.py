"""The BPF programs and links that the kernel holds, by their numbers: bpf(2).

A link is what keeps a program where it was attached; one that was attached without a link is known
by what it is attached to alone.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agents.core.health import Program
from agents.kernel.bpf import buffer, call, pointer
from agents.kernel.errors import refused

__all__ = ["XDP_LINK", "Link", "described", "detach", "links", "program"]

_PROGRAM_BY_ID, _INFO = 13, 15
_LINK_BY_ID, _NEXT_LINK, _LINK_DETACH = 30, 31, 34
_LINK_INFO: Final = struct.Struct("<IIIxxxxII")
_PROGRAM_INFO: Final = struct.Struct("<4xI8s48x16s")
XDP_LINK: Final = 6


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the kernel's; ``interface`` says something only for kinds that have one."""

    id: int
    kind: int
    program: int
    interface: int


def program(identity: int) -> int:
    """Return a descriptor of the program with this number; raises OSError."""
    return call(_PROGRAM_BY_ID, struct.pack("<III", identity, 0, 0))


def described(descriptor: int) -> Program:
    """Return the name, the number and the tag (a digest of its instructions) of a program."""
    try:
        told = _told(descriptor, _PROGRAM_INFO.size)
    except OSError as error:
        raise refused("reading about a program", error) from error
    identity, tag, name = _PROGRAM_INFO.unpack(told)
    return name.partition(b"\0")[0].decode("ascii", "replace"), identity, tag.hex()


def links() -> Iterator[Link]:
    """Return every link that stands. Raises KernelError."""
    for identity in _identities(_NEXT_LINK):
        try:
            held = call(_LINK_BY_ID, struct.pack("<III", identity, 0, 0))
        except FileNotFoundError:
            continue  # It has just gone.
        except OSError as error:
            raise refused("reading a BPF link", error) from error
        try:
            kind, _, attached, interface, _ = _LINK_INFO.unpack(_told(held, _LINK_INFO.size))
        finally:
            os.close(held)
        yield Link(identity, kind, attached, interface)


def detach(identity: int) -> None:
    """Have a link let go of what it is attached to; it stays, and holds nothing. Raises OSError."""
    held = call(_LINK_BY_ID, struct.pack("<III", identity, 0, 0))
    try:
        call(_LINK_DETACH, struct.pack("<I", held))
    finally:
        os.close(held)


def _identities(following: int) -> Iterator[int]:
    at = 0
    while True:
        asked = buffer(struct.pack("<III", at, 0, 0))
        try:
            call(following, asked)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise refused("listing what BPF is loaded", error) from error
        (at,) = struct.unpack_from("<I", asked, 4)
        yield at


def _told(descriptor: int, size: int) -> bytes:
    memory = buffer(bytes(size))
    call(_INFO, struct.pack("<IIQ", descriptor, size, pointer(memory)))
    return memory.raw
