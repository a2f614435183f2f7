"""Loads a compiled eBPF object: its maps, then its programs with the maps written into them.

The rules of an object that can be loaded here; anything else is refused:

1. It is a 64-bit little-endian ELF file for the BPF machine.
2. Maps are `struct map_definition` in the section "maps" (src/wire.bpf.h): no BTF is needed.
3. Each section "socket/NAME" holds the one function NAME, a socket filter.
4. Functions that are called, or handed to bpf_loop, are in ".text". A program that uses one
   gets the whole of it behind its own instructions.
5. Nothing else is referred to: no global variables, no read-only data.
6. The licence is in the section "license".

The kernel wants type information for a function handed to bpf_loop, but only that the
function has one and is static. It is made up here ("int f(void)") instead of shipped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agents.kernel.bpf import Map, load_btf, load_socket_filter
from agents.kernel.errors import KernelError

_MACHINE: Final = 247
_SYMBOLS, _EMPTY, _RELOCATIONS = 2, 8, 9
_FUNCTION = 2
_LOAD_WIDE, _CALL = 0x18, 0x85
_MAP_FD, _PSEUDO_CALL, _PSEUDO_FUNCTION = 1, 1, 4
_INSTRUCTION = 8
_PROGRAM = "socket/"
_BTF_INT, _BTF_FUNCTION, _BTF_PROTOTYPE = 1 << 24, 12 << 24, 13 << 24
_FIRST_FUNCTION_TYPE = 3


class _Section(NamedTuple):
    name: str
    kind: int
    data: bytes
    target: int


class _Symbol(NamedTuple):
    name: str
    kind: int
    section: int
    value: int


@dataclass(slots=True, kw_only=True)
class Loaded:
    """The maps and programs of one object, in the kernel; `programs` are descriptors by name."""

    maps: dict[str, Map] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Close every descriptor; sockets that the programs are attached to keep them."""
        for program in self.programs.values():
            os.close(program)
        self.programs.clear()
        for each in self.maps.values():
            each.close()


class _Object:
    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18)[0] != _MACHINE:
            raise KernelError(
                "the program is not a little-endian BPF object; rebuild it with `make bpf`"
            )
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
        text = headers[names][4]
        self.sections = [
            _Section(
                _text(data, text + h[0]),
                h[1],
                data[h[4] : h[4] + h[5]] if h[1] != _EMPTY else b"",
                h[7],
            )
            for h in headers
        ]
        self.symbols = self._read_symbols(headers, data)
        self.by_name = {section.name: i for i, section in enumerate(self.sections)}

    @staticmethod
    def _read_symbols(headers: list[tuple[int, ...]], data: bytes) -> list[_Symbol]:
        (header,) = [h for h in headers if h[1] == _SYMBOLS]
        text, found = headers[header[6]][4], []
        for at in range(header[4], header[4] + header[5], 24):
            name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            found.append(_Symbol(_text(data, text + name), info & 15, section, value))
        return found

    def section(self, name: str) -> bytes:
        return self.sections[self.by_name[name]].data if name in self.by_name else b""

    def relocations(self, name: str) -> list[tuple[int, _Symbol]]:
        wanted = self.by_name.get(name, -1)
        found = []
        for section in self.sections:
            if section.kind == _RELOCATIONS and section.target == wanted:
                for offset, info in struct.iter_unpack("<QQ", section.data):
                    found.append((offset, self.symbols[info >> 32]))
        return found

    def functions(self) -> list[_Symbol]:
        here = self.by_name.get(".text", -1)
        found = [s for s in self.symbols if s.section == here and s.kind == _FUNCTION]
        return sorted(found, key=lambda symbol: symbol.value)


def load(data: bytes, *, entries: Mapping[str, int]) -> Loaded:
    """Load an object; `entries` overrides the size of maps by name.

    Raises KernelError, with everything opened so far closed again.
    """
    parsed, loaded = _Object(data), Loaded()
    try:
        maps = _make_maps(parsed, entries, loaded)
        for section in parsed.sections:
            if section.name.startswith(_PROGRAM):
                name = section.name.removeprefix(_PROGRAM)
                loaded.programs[name] = _load_program(parsed, section.name, maps)
    except BaseException:
        loaded.close()
        raise
    return loaded


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii")


def _make_maps(parsed: _Object, entries: Mapping[str, int], loaded: Loaded) -> dict[int, Map]:
    here, definitions, found = parsed.by_name.get("maps", -1), parsed.section("maps"), {}
    for symbol in parsed.symbols:
        if symbol.section != here or not symbol.name:
            continue
        kind, key, value, size, flags = struct.unpack_from("<IIIII", definitions, symbol.value)
        made = Map(
            name=symbol.name, kind=kind, key=key, value=value,
            entries=entries.get(symbol.name, size), flags=flags,
        )  # fmt: skip
        loaded.maps[symbol.name] = found[symbol.value] = made
    return found


def _load_program(parsed: _Object, section: str, maps: Mapping[int, Map]) -> int:
    code = bytearray(parsed.section(section))
    own = len(code)
    relocations = parsed.relocations(section)
    functions: list[tuple[int, int]] = []
    btf = -1
    if any(parsed.sections[symbol.section].name == ".text" for _, symbol in relocations):
        relocations += [(own + offset, symbol) for offset, symbol in parsed.relocations(".text")]
        code += parsed.section(".text")
        names = [section.removeprefix(_PROGRAM), *(f.name for f in parsed.functions())]
        starts = [0, *((own + f.value) // _INSTRUCTION for f in parsed.functions())]
        functions = [(start, _FIRST_FUNCTION_TYPE + i) for i, start in enumerate(starts)]
        btf = load_btf(_made_up_types(names))
    try:
        for offset, symbol in relocations:
            _relocate(
                code, offset, symbol, parsed.sections[symbol.section].name, own=own, maps=maps
            )
        return load_socket_filter(
            name=section.removeprefix(_PROGRAM), instructions=bytes(code),
            licence=parsed.section("license"), btf=btf, functions=functions,
        )  # fmt: skip
    finally:
        if btf >= 0:
            os.close(btf)


def _relocate(
    code: bytearray,
    offset: int,
    symbol: _Symbol,
    section: str,
    *,
    own: int,
    maps: Mapping[int, Map],
) -> None:
    operation, registers, _, immediate = struct.unpack_from("<BBhi", code, offset)
    if section == "maps" and operation == _LOAD_WIDE:
        kind, value = _MAP_FD, maps[symbol.value + immediate].fd
    elif section == ".text" and operation == _CALL:
        target = (own + symbol.value) // _INSTRUCTION + immediate + 1
        kind, value = _PSEUDO_CALL, target - offset // _INSTRUCTION - 1
    elif section == ".text" and operation == _LOAD_WIDE:
        target = (own + symbol.value + immediate) // _INSTRUCTION
        kind, value = _PSEUDO_FUNCTION, target - offset // _INSTRUCTION - 1
    else:
        raise KernelError(
            f"the program refers to {section}, which the loader does not know; see rule 5"
        )
    struct.pack_into("<BBhi", code, offset, operation, registers & 15 | kind << 4, 0, value)


def _made_up_types(functions: list[str]) -> bytes:
    """Make BTF that says of each function: static, takes nothing, returns int."""
    text, types = b"\0int\0", struct.pack("<IIII", 1, _BTF_INT, 4, 1 << 24 | 32)
    types += struct.pack("<III", 0, _BTF_PROTOTYPE, 1)
    for name in functions:
        types += struct.pack("<III", len(text), _BTF_FUNCTION, 2)
        text += name.encode("ascii") + b"\0"
    return (
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(text))
        + types
        + text
    )
