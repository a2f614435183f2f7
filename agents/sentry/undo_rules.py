"""Removes rules of nftables, those of iptables-nft included (see `undo`).

1. Its table, chain and handle name it. They are asked for and removed under one generation of the
   rules: the kernel refuses when anything changed in between, and then it is looked at anew.
2. One that has a name that is no text, and one of many, is found among all rules, as it stands.
3. All go or none.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from agents.core.sentry import Finding
from agents.sentry.copies import found_in
from agents.sentry.netlink import (
    Message,
    NetlinkError,
    ask,
    ask_one,
    attribute,
    attributes,
    change,
    open_socket,
    request,
)

__all__ = ["remove_rules"]

_NETFILTER = 12
_RULES: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET, _REMOVE, _GET_GENERATION = _RULES | 7, _RULES | 8, _RULES | 16
_BEGIN, _END = 16, 17
_TABLE, _CHAIN, _HANDLE = 1, 2, 3
_GENERATION = _BATCH_GENERATION = 1
_GENERIC: Final = struct.Struct("=BBH")
_TRIES = 5


def remove_rules(findings: Sequence[Finding]) -> bool:
    """Remove the rules that these findings name, in the calling thread's namespace."""
    with open_socket(_NETFILTER) as kernel:
        for _ in range(_TRIES):
            generation = _generation(kernel)
            named = _standing(kernel, findings)
            if not named:
                return True
            try:
                change(kernel, *_removal(named, generation))
            except NetlinkError as error:
                if error.code not in {errno.ERESTART, errno.ENOENT}:
                    raise
    return False


def _generation(kernel: socket.socket) -> bytes:
    ((_, payload),) = ask_one(kernel, _GET_GENERATION, _GENERIC.pack(0, 0, 0))
    return attributes(payload, _GENERIC.size)[_GENERATION]


def _standing(kernel: socket.socket, findings: Sequence[Finding]) -> list[bytes]:
    """Return what names the rules to the kernel, of those that still stand."""
    wanted, found = set(findings), []
    for message in _told(kernel, findings):
        if wanted & found_in([message]):
            _, payload = message
            names = attributes(payload, _GENERIC.size)
            parts = (attribute(each, names[each]) for each in (_TABLE, _CHAIN, _HANDLE))
            found.append(payload[: _GENERIC.size] + b"".join(parts))
    return found


def _told(kernel: socket.socket, findings: Sequence[Finding]) -> list[Message]:
    """Ask for one rule by its names, for others among all (rule 2)."""
    where = dict(findings[0].where)
    table, chain = str(where["table"]), str(where["chain"])
    if len(findings) > 1 or "\\" in table + chain:
        return ask(kernel, _GET, _GENERIC.pack(0, 0, 0))
    names = attribute(_TABLE, table.encode() + b"\0") + attribute(_CHAIN, chain.encode() + b"\0")
    handle = attribute(_HANDLE, int(where["handle"]).to_bytes(8, "big"))
    try:
        return ask_one(kernel, _GET, _GENERIC.pack(int(where["family"]), 0, 0) + names + handle)
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return []
        raise


def _removal(named: Sequence[bytes], generation: bytes) -> Iterator[bytes]:
    frame = _GENERIC.pack(0, 0, socket.htons(_RULES >> 8))
    yield request(_BEGIN, frame + attribute(_BATCH_GENERATION, generation))
    for each in named[:-1]:
        yield request(_REMOVE, each)
    yield request(_REMOVE, named[-1], acknowledge=True)
    yield request(_END, frame)
