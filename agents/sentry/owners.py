"""Finds who owns a table of nftables in which a rule copies packets.

A table with the flag `owner` is its maker's alone as long as that process keeps its socket: nobody
else can take a rule out of it. Once the process has ended the kernel removes the table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from agents.core.judgement import KEEPS_RULES
from agents.sentry.copies import found_in
from agents.sentry.netlink import Message, ask, attributes, open_socket, text

__all__ = ["owned", "owners"]

_NETFILTER = 12
_TABLES, _RULES = (10 << 8) | 1, (10 << 8) | 7  # NFT_MSG_GETTABLE, NFT_MSG_GETRULE
_GENERIC: Final = struct.Struct("=BBH")
_NAME, _OWNER = 1, 7
_PORT_OCTETS: Final = 4

_Table = tuple[int, str]


def owners() -> list[tuple[str, int]]:
    """Return "nft_owner NAME" and its owner's port for each such table; raises NetlinkError.

    It asks in the calling thread's namespace.
    """
    everything = _GENERIC.pack(0, 0, 0)
    with open_socket(_NETFILTER) as kernel:
        ports = owned(ask(kernel, _TABLES, everything))
        if not ports:
            return []
        copying = _copying(ask(kernel, _RULES, everything))
    return [
        (f"{KEEPS_RULES} {table[1]}", port) for table, port in ports.items() if table in copying
    ]


def owned(tables: Iterable[Message]) -> dict[_Table, int]:
    """Return the tables that have an owner, by family and name, with their owner's port."""
    found: dict[_Table, int] = {}
    for _, payload in tables:
        if len(payload) >= _GENERIC.size:
            told = attributes(payload, _GENERIC.size)
            port = int.from_bytes(told.get(_OWNER, b"")[:_PORT_OCTETS], "big")
            if port:
                found[payload[0], text(told.get(_NAME))] = port
    return found


def _copying(rules: Iterable[Message]) -> set[_Table]:
    places = (dict(finding.where) for finding in found_in(rules))
    return {(int(where["family"]), str(where["table"])) for where in places}
