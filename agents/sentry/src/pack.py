"""Packs a light skeleton, as bpftool writes it in C, into the file that the agent loads.

The file: one line of JSON (`maps` and `programs` by name in the order of their numbers, `settings`:
octets of read-only data, `data` and `instructions`: octets of what follows, `apart`: whether a
program may be missing), the data, the instructions of the loading program.

With `--apart` a program that this kernel refuses, or whose place it does not have, is left out and
the others are loaded. bpftool's loading program would give up: after it has looked for a program's
place, and after it has loaded one, it jumps to its end if the result in r7 is negative. These two
jumps are taken out, so that it writes down the negative result in the descriptor's place.
"""

import json
import re
import struct
import sys
from pathlib import Path

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|(0)|\n)")


def _octets(text: str, pattern: str) -> bytes:
    found = re.search(pattern + r'"(.*?)"[;,]', text, re.DOTALL)
    if found is None:
        raise SystemExit(f"pack.py: the skeleton has no {pattern}")
    escapes = _ESCAPE.finditer(found.group(1))
    return bytes.fromhex("".join(each[1] or (each[2] and "00") or "" for each in escapes))


def _names(text: str, part: str) -> list[str]:
    block = re.search(r"struct \{\n([^{}]*)\} " + part + ";", text)
    return re.findall(r"(?:struct bpf_\w+_desc) (\w+);", block.group(1)) if block else []


_STEP = struct.Struct("<BBhi")
_GIVE_UP, _STORE, _CALL, _GO_ON = (0xC5, 7), (0x63, 0x7A), 0x85, _STEP.pack(0x05, 0, 0, 0)
_FIND_PLACE = 167  # bpf_btf_find_by_name_kind
_FIRST_PROGRAM = -128  # where the descriptors of programs are in the stack (struct loader_stack)


def _apart(code: bytes, programs: int) -> bytes:
    steps = [_STEP.unpack_from(code, at) for at in range(0, len(code), _STEP.size)]
    made, changed = bytearray(code), 0
    for at, step in enumerate(steps[2:-1], 2):
        after, before = steps[at + 1], steps[at - 2]
        loaded = after[:2] == _STORE and after[2] >= _FIRST_PROGRAM
        looked = before[0] == _CALL and before[3] == _FIND_PLACE
        if step[:2] == _GIVE_UP and (loaded or looked):
            made[at * _STEP.size : (at + 1) * _STEP.size] = _GO_ON
            changed += 1
    if changed != 2 * programs:
        raise SystemExit("pack.py: this bpftool's loading program is not the one that is known")
    return bytes(made)


def main() -> None:
    """Read the header named first, write the file named second."""
    text = Path(sys.argv[1]).read_text(encoding="ascii")
    data, code = (
        _octets(text, r"opts\.data = \(void \*\)"),
        _octets(text, r"opts\.insns = \(void \*\)"),
    )
    settings = re.search(r"rodata", text)
    programs, apart = _names(text, "progs"), "--apart" in sys.argv[3:]
    code = _apart(code, len(programs)) if apart else code
    head = {
        "apart": apart,
        "data": len(data),
        "instructions": len(code),
        "maps": _names(text, "maps"),
        "programs": programs,
        "settings": len(_octets(text, r"skel_prep_map_data\(\(void \*\)")) if settings else 0,
    }
    line = json.dumps(head, sort_keys=True).encode() + b"\n"
    Path(sys.argv[2]).write_bytes(line + data + code)


main()
