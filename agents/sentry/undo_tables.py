"""Removes rules of legacy iptables (see `undo`).

1. The kernel has no way to remove a rule: the whole table is written anew without it. It refuses
   if the table has another number of rules by then, and it is looked at anew. Who uses iptables
   meanwhile is kept waiting by their own lock, where that can be had.
2. What the other rules have counted is added again: nobody loses a packet of his counters.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Final

from agents.core.sentryevents import Finding
from agents.sentry.legacy import names, opened, read
from agents.sentry.xtables import FAMILIES, Layout, Table, copying, without

__all__ = ["remove_from_tables"]

_REPLACE, _ADD_COUNTERS = 64, 65
_HEAD: Final = struct.Struct("=32sIII5I5IIQ")  # struct ipt_replace, before its entries
_COUNTERS: Final = struct.Struct("=32sI4x")  # struct xt_counters_info, before its counters
_COUNTER: Final = 16
_LOCK: Final = Path("/run/xtables.lock")
_TRIES: Final = 5
_PROTOCOLS: Final = {layout.family: (name, layout) for name, layout in FAMILIES.items()}


def remove_from_tables(findings: Sequence[Finding]) -> bool:
    """Remove the rules that these findings name, in the calling thread's namespace."""
    tables = {(int(where["family"]), str(where["table"])) for where in map(_where, findings)}
    with _locked():
        return all(_removed(set(findings), *table) for table in tables)


def _where(finding: Finding) -> dict[str, str | int]:
    return dict(finding.where)


def _removed(findings: set[Finding], family: int, table: str) -> bool:
    protocol, layout = _PROTOCOLS[family]
    name = table.encode()
    with opened(layout) as kernel:
        for _ in range(_TRIES):
            if name not in names(protocol):
                return True
            described, octets = read(kernel, layout, name)
            found = copying(octets, layout, described)
            gone = {entry.at for finding, entry in found if finding in findings}
            if not gone:
                return True
            with contextlib.suppress(BlockingIOError):
                _replace(kernel, layout, described, without(octets, layout, described, gone))
    return False


def _replace(
    kernel: socket.socket, layout: Layout, old: Table, new: tuple[Table, bytes, list[bool]]
) -> None:
    """Put a table in the old one's place (rules 1 and 2). Raises OSError."""
    table, octets, kept = new
    counted = ctypes.create_string_buffer(old.count * _COUNTER)
    places = (*table.heads, *table.tails)
    head = _HEAD.pack(
        table.name, table.hooks, table.count, table.size, *places, old.count,
        ctypes.addressof(counted),
    )  # fmt: skip
    kernel.setsockopt(layout.level, _REPLACE, head + octets)
    each = (counted.raw[at : at + _COUNTER] for at in range(0, len(counted), _COUNTER))
    counters = b"".join(compress(each, kept))
    with contextlib.suppress(OSError):  # Somebody has changed it again: counting begins anew.
        asked = _COUNTERS.pack(table.name, table.count) + counters
        kernel.setsockopt(layout.level, _ADD_COUNTERS, asked)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock of iptables(8), if nobody else does."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
