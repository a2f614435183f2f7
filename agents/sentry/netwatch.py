"""Watches one network namespace for what copies its packets.

1. The kernel announces links and traffic control (rtnetlink), and rules (nftables, group 7): each
   announcement is read, and then everything is asked for anew. So what stands is known whatever
   was lost or stood before, and what passed in between is told too.
2. BPF programs of tcx and their like (`attached`) are announced by nobody, nor are the rules of
   legacy iptables: they are asked for at every sweep.
3. What the kernel does not tell is named in `blind`, in one word each.
4. What is declared as the operator's own (`mirrors`) is a finding of that kind.
5. Filters are asked for at every discipline that has a number, and at its classes, of which an
   interface may have `_CLASSES` that are asked for.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from agents.core.mirrors import declared
from agents.core.sentry import Finding, NetworkChanged, What
from agents.sentry.attached import Programs
from agents.sentry.copies import found_in, interfaces, passed
from agents.sentry.legacy import copies
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import Message, NetlinkError, announced, ask, attributes, open_socket

__all__ = ["NetWatch"]

_ROUTE, _NETFILTER = 0, 12
_LINK_AND_TC: Final = (1 << 0) | (1 << 3)  # RTNLGRP_LINK, RTNLGRP_TC
_RULES: Final = 1 << 6  # NFNLGRP_NFTABLES
_GET_LINK, _GET_QDISC, _GET_CLASS, _GET_FILTER = 18, 38, 42, 46
_GET_RULE: Final = (10 << 8) | 7
_LINK_ASKED: Final = struct.Struct("=BxHiII")
_TC: Final = struct.Struct("=BxxxiIII")
_RULE_ASKED: Final = struct.Struct("=BBH")
_KIND = 1
_CLASSES = 1024
_CLSACT: Final = {b"ingress\0": (0xFFFF_FFF2,), b"clsact\0": (0xFFFF_FFF2, 0xFFFF_FFF3)}


class NetWatch:
    """One namespace's monitor; raises OSError when it cannot be set up."""

    def __init__(self, namespace: Namespace, mirrors: frozenset[str] = frozenset()) -> None:
        self.namespace = namespace
        self._mirrors = mirrors
        self._programs = Programs(namespace.descriptor)
        self.blind: tuple[str, ...] = ()
        self._network: frozenset[Finding] = frozenset()
        with ExitStack() as stack, namespace.entered():
            self._route = stack.enter_context(open_socket(_ROUTE, _LINK_AND_TC))
            self._rules = stack.enter_context(open_socket(_NETFILTER, _RULES))
            self._ask_route = stack.enter_context(open_socket(_ROUTE))
            self._ask_rules = stack.enter_context(open_socket(_NETFILTER))
            self._stack = stack.pop_all()

    @property
    def filenos(self) -> tuple[int, int]:
        """What is readable when something was announced."""
        return self._route.fileno(), self._rules.fileno()

    def look(self) -> NetworkChanged:
        """Read what was announced, then what stands (rule 1)."""
        news: list[Message] = []
        for kernel in (self._route, self._rules):
            news += announced(kernel)[0]  # What was lost may stand: everything is asked for.
        blind: list[str] = []
        told = _told(self._links, "links", blind)
        links = interfaces(told)
        called = {each: link.name for each, link in (interfaces(news) | links).items()}
        told += _told(self._filters, "traffic_control", blind)
        told += _told(self._asked_rules, "nftables", blind)
        self.blind = tuple(blind)
        with self.namespace.entered():
            self._programs.look_at(links)
        self._network = self._judged(found_in(told), called)
        self._network |= frozenset(map(_not_seen, blind))
        return NetworkChanged(
            netns=self.namespace.inode,
            standing=self._network | self._unannounced(),
            passed=self._judged(passed(news), called),
        )

    def poll(self) -> NetworkChanged:
        """Read what is announced by nobody (rule 2)."""
        standing = self._network | self._unannounced()
        return NetworkChanged(netns=self.namespace.inode, standing=standing)

    def close(self) -> None:
        """Close the sockets, and let go of the namespace."""
        self._stack.close()
        self.namespace.close()

    def _judged(self, found: frozenset[Finding], called: dict[int, str]) -> frozenset[Finding]:
        """Rule 4."""
        return frozenset(declared(each, called, self._mirrors) for each in found)

    def _links(self) -> list[Message]:
        return ask(self._ask_route, _GET_LINK, _LINK_ASKED.pack(0, 0, 0, 0, 0))

    def _filters(self) -> list[Message]:
        """Rule 5."""
        found: list[Message] = []
        for index, parent in self._parents():
            body = _TC.pack(0, index, 0, parent, 0)
            with contextlib.suppress(NetlinkError):  # A discipline or class that takes no filters.
                found += ask(self._ask_route, _GET_FILTER, body)
        return found

    def _parents(self) -> Iterator[tuple[int, int]]:
        classful: set[int] = set()
        for _, qdisc in ask(self._ask_route, _GET_QDISC, _TC.pack(0, 0, 0, 0, 0)):
            _, index, handle, _, _ = _TC.unpack_from(qdisc)
            kind = attributes(qdisc, _TC.size).get(_KIND, b"")
            yield from (
                (index, parent) for parent in _CLSACT.get(kind, (handle,) if handle else ())
            )
            classful |= {index} if handle and kind not in _CLSACT else set()
        for index in sorted(classful):
            with contextlib.suppress(NetlinkError):  # The interface has just gone.
                told = ask(self._ask_route, _GET_CLASS, _TC.pack(0, index, 0, 0, 0))
                yield from ((index, _TC.unpack_from(each)[2]) for _, each in told[:_CLASSES])

    def _asked_rules(self) -> list[Message]:
        # The answers are announcements' messages with another header, NFT_MSG_NEWRULE both.
        return ask(self._ask_rules, _GET_RULE, _RULE_ASKED.pack(0, 0, 0))

    def _unannounced(self) -> frozenset[Finding]:
        """Rule 2."""
        with self.namespace.entered():
            self._programs.look()
            found = _legacy()
        return found | self._judged(self._programs.standing, {})


def _legacy() -> frozenset[Finding]:
    try:
        return copies()
    except OSError:
        return frozenset((_not_seen("iptables"),))


def _not_seen(what: str) -> Finding:
    return Finding(What.SENTRY_BLIND, (("missing", what),))


def _told(tell: Callable[[], list[Message]], name: str, blind: list[str]) -> list[Message]:
    try:
        return tell()
    except NetlinkError:
        blind.append(name)
        return []
