"""Packs a light skeleton, as bpftool writes it in C, into the file that the agent loads.

The file: one line of JSON (`maps` and `programs` by name in the order of their numbers, `settings`:
octets of read-only data, `data` and `instructions`: octets of what follows), the data, the
instructions of the loading program.
"""

import json
import re
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


def main() -> None:
    """Read the header named first, write the file named second."""
    text = Path(sys.argv[1]).read_text(encoding="ascii")
    data, code = (
        _octets(text, r"opts\.data = \(void \*\)"),
        _octets(text, r"opts\.insns = \(void \*\)"),
    )
    settings = re.search(r"rodata", text)
    head = {
        "data": len(data),
        "instructions": len(code),
        "maps": _names(text, "maps"),
        "programs": _names(text, "progs"),
        "settings": len(_octets(text, r"skel_prep_map_data\(\(void \*\)")) if settings else 0,
    }
    line = json.dumps(head, sort_keys=True).encode() + b"\n"
    Path(sys.argv[2]).write_bytes(line + data + code)


main()
