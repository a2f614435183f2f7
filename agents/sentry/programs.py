"""The BPF programs, maps and links that the kernel holds, by their numbers: bpf(2).

1. A link is what keeps a program where it was attached; one that was attached without a link is
   known by what it is attached to alone (`attached_to`).
2. What has gone between its listing and its reading is left out.
3. Which of them are ours is told by our own descriptors: /proc/self/fdinfo.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.core.health import Program
from agents.core.programs import MapSeen, ProgramSeen
from agents.kernel.bpf import buffer, call, pointer
from agents.kernel.errors import refused

__all__ = [
    "NETNS_LINK",
    "XDP_LINK",
    "Attached",
    "Link",
    "attached_to",
    "described",
    "detach",
    "detach_from",
    "link_ids",
    "links",
    "map_entries",
    "map_id",
    "own",
    "program",
    "program_ids",
    "seen",
]

_PROGRAM_DETACH, _NEXT_PROGRAM, _PROGRAM_BY_ID, _MAP_BY_ID = 9, 11, 13, 14
_INFO, _QUERY = 15, 16
_LINK_BY_ID, _NEXT_LINK, _LINK_DETACH = 30, 31, 34
_LINK_INFO: Final = struct.Struct("<IIIxxxxII")
_PROGRAM_INFO: Final = struct.Struct("<II8sII16xQIIQ16s")
_MAP_INFO: Final = struct.Struct("<IIIIII")
_QUERIED: Final = struct.Struct("<IIIIQIIQQQQ")
_COUNTED: Final = 24
_MOST = 64  # programs at one place; the kernel's own bound for tcx
_MAPS = 64
_OWN: Final = re.compile(r"^prog_id:\t(\d+)$", re.MULTILINE)
NETNS_LINK, XDP_LINK = 5, 6


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the kernel's; ``place`` is an interface or a namespace, by its kind."""

    id: int
    kind: int
    program: int
    place: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A program at a place; ``link`` is 0 where no link holds it."""

    program: int
    link: int


def program(identity: int) -> int:
    """Return a descriptor of the program with this number; raises OSError."""
    return call(_PROGRAM_BY_ID, struct.pack("<III", identity, 0, 0))


def map_id(descriptor: int) -> int:
    """Return the number of a map; raises KernelError."""
    return _map_info(descriptor)[1]


def map_entries(descriptor: int) -> int:
    """Return how many entries a map may have, a ring buffer octets; raises KernelError."""
    return _map_info(descriptor)[4]


def _map_info(descriptor: int) -> tuple[int, ...]:
    try:
        told = _info(descriptor, bytes(_MAP_INFO.size))
    except OSError as error:
        raise refused("reading about a map", error) from error
    return _MAP_INFO.unpack(told)


def described(descriptor: int) -> Program:
    """Return the name, the number and the tag (a digest of its instructions) of a program."""
    try:
        told = _info(descriptor, bytes(_PROGRAM_INFO.size))
    except OSError as error:
        raise refused("reading about a program", error) from error
    _, identity, tag, *_, name = _PROGRAM_INFO.unpack(told)
    return name.partition(b"\0")[0].decode("ascii", "replace"), identity, tag.hex()


def program_ids() -> frozenset[int]:
    """Return the numbers of all programs that are loaded. Raises KernelError."""
    return frozenset(_identities(_NEXT_PROGRAM))


def link_ids() -> frozenset[int]:
    """Return the numbers of all links. Raises KernelError."""
    return frozenset(_identities(_NEXT_LINK))


def links() -> Iterator[Link]:
    """Return every link that stands (rule 2). Raises KernelError."""
    for identity in _identities(_NEXT_LINK):
        if (told := _told(_LINK_BY_ID, identity, bytes(_LINK_INFO.size))) is not None:
            kind, _, attached, place, _ = _LINK_INFO.unpack(told)
            yield Link(identity, kind, attached, place)


def seen(identity: int) -> ProgramSeen | None:
    """Say what a program is (rule 2). Raises KernelError."""
    maps = buffer(bytes(4 * _MAPS))
    asked = _PROGRAM_INFO.pack(0, 0, b"", 0, 0, 0, 0, _MAPS, pointer(maps), b"")
    told = _told(_PROGRAM_BY_ID, identity, asked)
    if told is None:
        return None
    kind, _, tag, _, _, _, uid, count, _, name = _PROGRAM_INFO.unpack(told)
    used = struct.unpack_from(f"<{min(count, _MAPS)}I", maps)
    return ProgramSeen(
        id=identity,
        kind=kind,
        tag=tag.hex(),
        uid=uid,
        name=name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace"),
        maps=tuple(each for each in map(_map, used) if each is not None),
    )


def own() -> frozenset[int]:
    """Return the numbers of the programs that this process holds (rule 3)."""
    found: set[int] = set()
    for each in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):  # The folder's own descriptor is closed by now.
            found |= {int(number) for number in _OWN.findall(each.read_text("ascii", "replace"))}
    return frozenset(found)


def attached_to(target: int, place: int, *, linked: bool) -> list[Attached]:
    """Return what is attached at a place, in its order; raises OSError.

    ``target`` is an interface of the calling thread's namespace or a descriptor, ``place`` a number
    of the kernel's enum bpf_attach_type; ``linked`` says whether links are told there.
    """
    programs, held = buffer(bytes(4 * _MOST)), buffer(bytes(4 * _MOST))
    told = pointer(held) if linked else 0  # Older kernels refuse what they do not know.
    asked = buffer(_QUERIED.pack(target, place, 0, 0, pointer(programs), _MOST, 0, 0, told, 0, 0))
    call(_QUERY, asked)
    count = min(struct.unpack_from("<I", asked, _COUNTED)[0], _MOST)
    pairs = zip(*(struct.unpack_from(f"<{count}I", each) for each in (programs, held)), strict=True)
    return [Attached(*pair) for pair in pairs]


def detach(identity: int) -> None:
    """Have a link let go of what it is attached to; it stays, and holds nothing. Raises OSError."""
    held = call(_LINK_BY_ID, struct.pack("<III", identity, 0, 0))
    try:
        call(_LINK_DETACH, struct.pack("<I", held))
    finally:
        os.close(held)


def detach_from(target: int, place: int, identity: int) -> None:
    """Take a program off a place where no link holds it; raises OSError."""
    held = program(identity)
    try:
        call(_PROGRAM_DETACH, struct.pack("<IIII", target, held, place, 0).ljust(64, b"\0"))
    finally:
        os.close(held)


def _map(identity: int) -> MapSeen | None:
    told = _told(_MAP_BY_ID, identity, bytes(_MAP_INFO.size))
    if told is None:
        return None
    kind, _, _, value, entries, flags = _MAP_INFO.unpack(told)
    return MapSeen(kind=kind, value=value, entries=entries, flags=flags)


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


def _told(by_id: int, identity: int, asked: bytes) -> bytes | None:
    """Return what the kernel says of something, in as many octets as asked; None: it is gone."""
    try:
        held = call(by_id, struct.pack("<III", identity, 0, 0))
        try:
            return _info(held, asked)
        finally:
            os.close(held)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused("reading what BPF is loaded", error) from error


def _info(descriptor: int, asked: bytes) -> bytes:
    memory = buffer(asked)
    call(_INFO, struct.pack("<IIQ", descriptor, len(memory), pointer(memory)))
    return memory.raw
