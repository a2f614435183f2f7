"""Loads a light skeleton: a program that makes maps and loads programs inside the kernel.

It knows by itself where this kernel keeps the members that the programs read (CO-RE), and needs no
library and no compiler on the node. The rules of a file that can be loaded (src/pack.py writes it):

1. One line of JSON says how many octets of data and of instructions follow, and the names of the
   maps and programs in the order of their numbers. Nothing else follows.
2. Read-only data, if there is any, is one structure, and is given by whoever loads.
3. All of a file is loaded or nothing is; but where it says that its programs stand `apart`, those
   that this kernel does not take are left out, and only the maps must be whole.
"""

from __future__ import annotations

import json
import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from agents.kernel.bpf import buffer, call, pointer
from agents.kernel.errors import KernelError, refused

__all__ = ["Skeleton", "attach", "load"]

_MAP_CREATE, _UPDATE, _PROG_LOAD, _TEST_RUN, _RAW_TRACEPOINT_OPEN = 0, 2, 5, 10, 17
_ARRAY, _SYSCALL_PROGRAM, _SLEEPABLE = 2, 31, 1 << 4
_LOADED: Final = ("apart", "data", "instructions", "maps", "programs", "settings")
_CONTEXT: Final = struct.Struct("<IIIIQ")  # struct bpf_loader_ctx
_MAP: Final = struct.Struct("<iIQ")  # struct bpf_map_desc
_PROGRAM: Final = struct.Struct("<i")
_LICENCE: Final = b"Dual BSD/GPL"
_SETTINGS_MAP: Final = "rodata"


@dataclass(slots=True)
class Skeleton:
    """Descriptors of what was loaded, by name. Programs run only once they are attached.

    ``refused``: why the programs that stand apart were not taken, as errno has it.
    """

    maps: dict[str, int] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Close every descriptor that is left here."""
        for group in (self.programs, self.maps):
            while group:
                os.close(group.popitem()[1])


def load(packed: bytes, *, settings: bytes = b"") -> Skeleton:
    """Load a packed skeleton with these octets as its read-only data.

    Raises KernelError, with nothing left loaded, when this kernel does not take it.
    """
    head, data, instructions = _unpacked(packed)
    if len(settings) != head["settings"]:
        raise KernelError("a program's settings have the wrong size; rebuild it with `make bpf`")
    given = buffer(settings)
    context = bytearray(_CONTEXT.size)
    for name in head["maps"]:
        context += _MAP.pack(0, 0, pointer(given) if name == _SETTINGS_MAP else 0)
    context += bytes(_PROGRAM.size * len(head["programs"]))
    _CONTEXT.pack_into(context, 0, len(context), 0, 0, 0, 0)
    try:
        answer = _run(data, instructions, bytes(context))
    except OSError as error:
        raise refused(f"loading the program {', '.join(head['programs'])}", error) from error
    return _descriptors(answer, head)


def attach(program: int) -> int:
    """Attach a tracing program where it says it belongs; return the link's descriptor."""
    try:
        return call(_RAW_TRACEPOINT_OPEN, struct.pack("<QIIQ", 0, program, 0, 0))
    except OSError as error:
        raise refused("attaching a program", error) from error


def _unpacked(packed: bytes) -> tuple[dict, bytes, bytes]:  # type: ignore[type-arg]  # checked here
    line, _, rest = packed.partition(b"\n")
    try:
        head = json.loads(line)
        sizes_fit = len(rest) == head["data"] + head["instructions"]
    except (ValueError, TypeError, KeyError):
        sizes_fit = False
    if not sizes_fit or sorted(head) != sorted(_LOADED):
        raise KernelError("the program is not a packed skeleton; rebuild it with `make bpf`")
    return head, rest[: head["data"]], rest[head["data"] :]


def _run(data: bytes, instructions: bytes, context: bytes) -> bytes:
    """Run the loading program; return its context, with the descriptors in it. Raises OSError."""
    held = _map_of(data)
    try:
        loader = _loader(instructions, held)
    finally:
        os.close(held)
    memory = buffer(context)
    request = buffer(
        struct.pack(
            "<IIIIQQIIIIQQ", loader, 0, 0, 0, 0, 0, 0, 0, len(context), 0, pointer(memory), 0
        )
        + bytes(16)
    )
    try:
        call(_TEST_RUN, request)
    finally:
        os.close(loader)
    (result,) = struct.unpack_from("<i", request.raw, 4)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return memory.raw


def _map_of(data: bytes) -> int:
    made = call(
        _MAP_CREATE,
        struct.pack("<IIIIII16s", _ARRAY, 4, len(data), 1, 0, 0, b"__loader.map") + bytes(28),
    )
    try:
        key, value = buffer(bytes(4)), buffer(data)
        call(_UPDATE, struct.pack("<IIQQQ", made, 0, pointer(key), pointer(value), 0))
    except OSError:
        os.close(made)
        raise
    return made


def _loader(instructions: bytes, data: int) -> int:
    code, licence = buffer(instructions), buffer(_LICENCE + b"\0")
    descriptors = buffer(struct.pack("<i", data))
    attributes = struct.pack(
        "<IIQQIIQII16sIIIIQIIQIIQQ",
        _SYSCALL_PROGRAM, len(instructions) // 8, pointer(code), pointer(licence),
        0, 0, 0, 0, _SLEEPABLE, b"__loader.prog",
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, pointer(descriptors),
    )  # fmt: skip
    return call(_PROG_LOAD, attributes.ljust(144, b"\0"))


def _descriptors(answer: bytes, head: dict) -> Skeleton:  # type: ignore[type-arg]  # as above
    loaded, at = Skeleton(), _CONTEXT.size
    for name in head["maps"]:
        loaded.maps[name] = _MAP.unpack_from(answer, at)[0]
        at += _MAP.size
    for name in head["programs"]:
        (loaded.programs[name],) = _PROGRAM.unpack_from(answer, at)
        at += _PROGRAM.size
    if head["apart"]:  # rule 3
        missing = {name: -each for name, each in loaded.programs.items() if each < 0}
        loaded.refused = missing
        loaded.programs = {k: v for k, v in loaded.programs.items() if k not in missing}
    if min((*loaded.maps.values(), *loaded.programs.values())) <= 0:
        with suppress(OSError):
            loaded.close()
        raise KernelError("the kernel loaded a program only in part; nothing was kept")
    return loaded
