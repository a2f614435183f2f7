"""Removes a filter of traffic control, known by all of its numbers (see `undo`)."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from agents.core.sentry import Finding
from agents.sentry.copies import found_in
from agents.sentry.netlink import NetlinkError, ask_one, attribute, change, open_socket, request

__all__ = ["remove_filter"]

_ROUTE = 0
_REMOVE, _GET = 45, 46  # RTM_DELTFILTER, RTM_GETTFILTER
_FILTER: Final = struct.Struct("=BxxxiIII")
_KIND, _CHAIN = 1, 11
_GONE: Final = frozenset((errno.ENOENT, errno.ENODEV, errno.EINVAL))  # the last: no such qdisc


def remove_filter(finding: Finding) -> bool:
    """Remove the filter that a finding names, in the calling thread's namespace."""
    body = _named(dict(finding.where))
    with open_socket(_ROUTE) as kernel:
        try:
            told = ask_one(kernel, _GET, body)
        except NetlinkError as error:
            return error.code in _GONE
        if finding in found_in(told):
            change(kernel, request(_REMOVE, body, acknowledge=True))
    return True


def _named(where: dict[str, str | int]) -> bytes:
    major, _, minor = str(where["parent"]).partition(":")
    parent = int(major, 16) << 16 | int(minor, 16)
    info = int(where["preference"]) << 16 | socket.htons(int(where["protocol"]))
    head = _FILTER.pack(0, int(where["interface"]), int(where["handle"]), parent, info)
    chain = struct.pack("=I", int(where["chain"]))
    return head + attribute(_KIND, str(where["kind"]).encode() + b"\0") + attribute(_CHAIN, chain)
