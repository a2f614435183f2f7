"""Reads the tables of legacy iptables as the kernel gives them, and writes them without a rule.

1. A table is one run of entries, each with its match of addresses, further matches, and a target.
   Where a chain begins is told by its first entry: a built-in chain's by the kernel, one of the
   user's own by an entry with the target ERROR that bears its name.
2. Copying are the targets TEE, NFLOG and NFQUEUE.
3. A rule has no number of its own. It is known by its octets, without what the kernel counts in it;
   equal rules of one chain are one finding.
4. What lies about its lengths ends the reading; nothing beyond the octets is read.
5. A table that is written anew has every other entry as it was. A jump leads where it led: its
   number is where an entry is, and moves with it. One to what was left out leads to what follows.

The layouts are those of linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and
netfilter/x_tables.h, for 64 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from agents.core.sentryevents import Finding, What

__all__ = [
    "FAMILIES",
    "INFO",
    "Entry",
    "Layout",
    "Table",
    "copying",
    "entries",
    "read_info",
    "without",
]

_HOOKS: Final = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_LENGTHS: Final = struct.Struct("=HH")
_VERDICT: Final = struct.Struct("=i")
_TARGET_OCTETS: Final = 32  # struct xt_entry_target: a length, a name of 29 octets, a revision
_NAME: Final = slice(2, 31)
_COPYING: Final = frozenset((b"TEE", b"NFLOG", b"NFQUEUE"))
_ERROR: Final = b"ERROR"
_STANDARD: Final = b""
_CHAIN_NAME: Final = 30
_COUNTERS: Final = 16
_DIGEST: Final = 16
INFO: Final = struct.Struct("=32sI5I5III")


class Layout(NamedTuple):
    """Where the members of an entry are; ``level`` is the option level to ask at."""

    family: int
    level: int
    lengths: int
    size: int


FAMILIES: Final = {"ip": Layout(2, 0, 88, 112), "ip6": Layout(10, 41, 140, 168)}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the kernel describes it: how long it is, and where its chains begin and end."""

    name: bytes
    hooks: int
    heads: tuple[int, ...]
    tails: tuple[int, ...]
    count: int
    size: int


class Entry(NamedTuple):
    """A rule, or what begins or ends a chain, and where it, its end and its target are."""

    at: int
    end: int
    target: int
    name: bytes
    chain: str


def read_info(octets: bytes) -> Table:
    """Read the kernel's description of a table (struct ipt_getinfo)."""
    name, hooks, *numbers = INFO.unpack(octets)
    return Table(
        name=name.split(b"\0", 1)[0],
        hooks=hooks,
        heads=tuple(numbers[:5]),
        tails=tuple(numbers[5:10]),
        count=numbers[10],
        size=numbers[11],
    )


def entries(octets: bytes, layout: Layout, table: Table) -> Iterator[Entry]:
    """Take a table apart (rules 1 and 4)."""
    begins = {
        head: name
        for number, (head, name) in enumerate(zip(table.heads, _HOOKS, strict=True))
        if table.hooks & 1 << number
    }
    at, chain = 0, ""
    while at + layout.size <= len(octets):
        target, following = _LENGTHS.unpack_from(octets, at + layout.lengths)
        if not layout.size <= target <= following - _TARGET_OCTETS or at + following > len(octets):
            return
        start, end = at + target, at + following
        name = octets[start + _NAME.start : start + _NAME.stop].partition(b"\0")[0]
        chain = begins.get(at, chain)
        if name == _ERROR:
            start += _TARGET_OCTETS
            chain = _text(octets[start : min(start + _CHAIN_NAME, end)])
        yield Entry(at, end, at + target, name, chain)
        at = end


def copying(octets: bytes, layout: Layout, table: Table) -> Iterator[tuple[Finding, Entry]]:
    """Return the rules that copy, each as a finding (rules 2 and 3)."""
    if not any(each in octets for each in _COPYING):
        return
    for entry in entries(octets, layout, table):
        if entry.name in _COPYING:
            where = (
                ("family", layout.family),
                ("table", _text(table.name)),
                ("chain", entry.chain),
                ("expression", _text(entry.name)),
                ("rule", _digest(octets[entry.at : entry.end], layout)),
            )
            yield Finding(What.XT_COPY, where), entry


def without(
    octets: bytes, layout: Layout, table: Table, gone: AbstractSet[int]
) -> tuple[Table, bytes, list[bool]]:
    """Write a table anew without the entries that are at these places (rule 5).

    Return its description, its octets, and for each entry of the old one whether it was kept.
    """
    there = list(entries(octets, layout, table))
    moved, at = {}, 0
    for entry in there:
        moved[entry.at] = at
        at += 0 if entry.at in gone else entry.end - entry.at
    kept = [entry for entry in there if entry.at not in gone]
    written = b"".join(_moved(octets, entry, moved) for entry in kept)
    heads, tails = (tuple(moved.get(each, each) for each in e) for e in (table.heads, table.tails))
    described = Table(table.name, table.hooks, heads, tails, len(kept), len(written))
    return described, written, [entry.at not in gone for entry in there]


def _moved(octets: bytes, entry: Entry, moved: dict[int, int]) -> bytes:
    """Return an entry with its jump, if it is one, to where that leads now."""
    same = octets[entry.at : entry.end]
    place = entry.target - entry.at + _TARGET_OCTETS
    if entry.name != _STANDARD or len(same) < place + _VERDICT.size:
        return same
    (verdict,) = _VERDICT.unpack_from(same, place)
    if verdict < 0:
        return same
    jump = _VERDICT.pack(moved.get(verdict, verdict))
    return same[:place] + jump + same[place + _VERDICT.size :]


def _digest(rule: bytes, layout: Layout) -> str:
    # Neither its place in the kernel's walk (comefrom) nor its counters are the rule's own.
    own = rule[: layout.lengths + _LENGTHS.size] + rule[layout.size :]
    return sha256(own).hexdigest()[:_DIGEST]


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
