"""Removes a rule of nftables, one of iptables-nft included (see `undo`).

1. Its table, chain and handle name it. They are asked for and removed under one generation of the
   rules: the kernel refuses when anything changed in between, and then it is looked at anew.
2. A name that is no text is found among all rules, as it stands there.
"""

from __future__ import annotations

import errno
import socket
import struct
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

__all__ = ["remove_rule"]

_NETFILTER = 12
_RULES: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET, _REMOVE, _GET_GENERATION = _RULES | 7, _RULES | 8, _RULES | 16
_BEGIN, _END = 16, 17
_TABLE, _CHAIN, _HANDLE = 1, 2, 3
_GENERATION = _BATCH_GENERATION = 1
_GENERIC: Final = struct.Struct("=BBH")
_TRIES = 5


def remove_rule(finding: Finding) -> bool:
    """Remove the rule that a finding names, in the calling thread's namespace."""
    with open_socket(_NETFILTER) as kernel:
        for _ in range(_TRIES):
            generation = _generation(kernel)
            named = _standing(kernel, finding)
            if named is None:
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


def _standing(kernel: socket.socket, finding: Finding) -> bytes | None:
    """Return what names the rule to the kernel; None when it does not stand any more."""
    try:
        told = _told(kernel, dict(finding.where))
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return None
        raise
    for message in told:
        if finding in found_in([message]):
            _, payload = message
            names = attributes(payload, _GENERIC.size)
            parts = (attribute(each, names[each]) for each in (_TABLE, _CHAIN, _HANDLE))
            return payload[: _GENERIC.size] + b"".join(parts)
    return None


def _told(kernel: socket.socket, where: dict[str, str | int]) -> list[Message]:
    family = _GENERIC.pack(int(where["family"]), 0, 0)
    table, chain = str(where["table"]), str(where["chain"])
    if "\\" in table + chain:  # Rule 2.
        return ask(kernel, _GET, family)
    names = attribute(_TABLE, table.encode() + b"\0") + attribute(_CHAIN, chain.encode() + b"\0")
    handle = attribute(_HANDLE, int(where["handle"]).to_bytes(8, "big"))
    return ask_one(kernel, _GET, family + names + handle)


def _removal(named: bytes, generation: bytes) -> tuple[bytes, bytes, bytes]:
    frame = _GENERIC.pack(0, 0, socket.htons(_RULES >> 8))
    begin = request(_BEGIN, frame + attribute(_BATCH_GENERATION, generation))
    return begin, request(_REMOVE, named, acknowledge=True), request(_END, frame)
