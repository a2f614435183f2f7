"""Takes a copying link out of use, or a program off a link (see `undo`).

1. A link is set down first and removed then. A few, the fallbacks of tunnels, cannot be removed:
   down they carry nothing. Many are put into a group of their own, and the group is removed.
2. A bridge that floods is made to learn again, for five minutes as is usual, or its port to let it.
3. A program is taken off by its own number: the kernel refuses if another one stands there by now.
   One that a BPF link holds is let go of by that link, if it is the only one of its number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import struct
from collections.abc import Sequence
from typing import Final

from agents.core.sentry import Finding
from agents.sentry.copies import found_in
from agents.sentry.netlink import NetlinkError, ask_one, attribute, change, open_socket, request
from agents.sentry.programs import XDP_LINK, detach, links, program

__all__ = ["detach_xdp", "remove_link"]

_ROUTE = 0
_REMOVE, _GET, _SET = 17, 18, 19  # RTM_DELLINK, RTM_GETLINK, RTM_SETLINK
_LINK: Final = struct.Struct("=BxHiII")
_UP: Final = 1
_NEW, _INFO = 16, 18  # RTM_NEWLINK, IFLA_LINKINFO
_USUAL: Final = struct.pack("=I", 300 * 100)  # in hundredths of a second
_BRIDGE: Final = attribute(1, b"bridge\0") + attribute(2, attribute(4, _USUAL))
_PORT: Final = attribute(4, b"bridge\0") + attribute(5, attribute(8, b"\1"))
_NESTED, _GROUP, _XDP = 0x8000, 27, 43
_PROGRAM, _FLAGS, _EXPECTED = 1, 3, 8
_REPLACE: Final = 1 << 4
_MODES: Final = {"generic": 1 << 1, "driver": 1 << 2, "hardware": 1 << 3}


def remove_link(finding: Finding) -> bool:
    """Set the link down that a finding names, and remove it (rule 1)."""
    index = int(dict(finding.where)["interface"])
    with open_socket(_ROUTE) as kernel:
        try:
            told = ask_one(kernel, _GET, _LINK.pack(0, 0, index, 0, 0))
        except NetlinkError as error:
            return error.code == errno.ENODEV
        if finding not in found_in(told):
            return True
        change(kernel, request(_SET, _LINK.pack(0, 0, index, 0, _UP), acknowledge=True))
        with contextlib.suppress(NetlinkError):
            change(kernel, request(_REMOVE, _LINK.pack(0, 0, index, 0, 0), acknowledge=True))
    return True


def remove_links(findings: Sequence[Finding]) -> bool:
    """Remove the links that these findings name, all at once (rule 1)."""
    group = attribute(_GROUP, secrets.token_bytes(4))
    with open_socket(_ROUTE) as kernel:
        for finding in findings:
            index = int(dict(finding.where)["interface"])
            asked = _LINK.pack(0, 0, index, 0, 0)
            with contextlib.suppress(NetlinkError):  # It is gone, or goes by itself meanwhile.
                if finding in found_in(ask_one(kernel, _GET, asked)):
                    change(kernel, request(_SET, asked + group, acknowledge=True))
        change(kernel, request(_REMOVE, _LINK.pack(0, 0, 0, 0, 0) + group, acknowledge=True))
    return True


def learn(finding: Finding) -> bool:
    """Have the bridge or the port that a finding names learn who is where (rule 2)."""
    where = dict(finding.where)
    asked = _LINK.pack(0, 0, int(where["interface"]), 0, 0)
    kind = _BRIDGE if where["kind"] == "bridge" else _PORT
    with open_socket(_ROUTE) as kernel:
        try:
            told = ask_one(kernel, _GET, asked)
        except NetlinkError as error:
            return error.code == errno.ENODEV
        if finding in found_in(told):
            change(kernel, request(_NEW, asked + attribute(_INFO, kind), acknowledge=True))
            return finding not in found_in(ask_one(kernel, _GET, asked))
    return True


def detach_xdp(finding: Finding) -> bool:
    """Take the program that a finding names off its link (rule 3)."""
    where = dict(finding.where)
    index, identity = int(where["interface"]), int(where["program"])
    with open_socket(_ROUTE) as kernel:

        def stands() -> bool:
            try:
                told = ask_one(kernel, _GET, _LINK.pack(0, 0, index, 0, 0))
            except NetlinkError as error:
                return error.code != errno.ENODEV
            return finding in found_in(told)

        if not stands():
            return True
        expected = program(identity)
        try:
            change(kernel, _taken_off(index, _MODES.get(str(where["mode"]), 0), expected))
        except NetlinkError as error:
            if error.code == errno.EBUSY:
                _let_go(index, identity)
        finally:
            os.close(expected)
        return not stands()


def _taken_off(index: int, mode: int, expected: int) -> bytes:
    xdp = (
        attribute(_PROGRAM, struct.pack("=i", -1))
        + attribute(_FLAGS, struct.pack("=I", mode | _REPLACE))
        + attribute(_EXPECTED, struct.pack("=i", expected))
    )
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_NESTED | _XDP, xdp)
    return request(_SET, body, acknowledge=True)


def _let_go(index: int, identity: int) -> None:
    """Detach the BPF link that holds a program there; one of several could be a neighbour's."""
    holding = [
        each.id
        for each in links()
        if (each.kind, each.program, each.place) == (XDP_LINK, identity, index)
    ]
    if len(holding) == 1:
        detach(holding[0])
