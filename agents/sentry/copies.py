"""What in a network copies packets: read from the kernel's messages, without asking anything.

1. Links: a kind that exists to copy packets or to carry them elsewhere, while the link is up (the
   kernel makes some such links by itself, and they are down); promiscuity that no bridge, bond or
   switch explains; a bridge that hands every packet to all its ports; a program of XDP.
2. Traffic control: an action that mirrors, redirects or samples, wherever in a filter it stands; a
   filter or an action that is a BPF program.
3. nftables: `dup`, `fwd`, `queue` (as an expression or as a verdict), `log` to a group, and the
   same as targets of iptables-nft. A
   `log` without a group writes addresses to the kernel's log and no content.
4. Octets that are no such message are no finding and no error.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from agents.core.sentry import Finding, What
from agents.sentry.netlink import Message, attributes, listed, number, text

__all__ = ["RULE_ADDED", "Interface", "found_in", "interfaces", "passed"]

_NEW_LINK, _NEW_FILTER = 16, 44
RULE_ADDED: Final = (10 << 8) | 6  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE

_LINK: Final = struct.Struct("=BxHiII")
_FILTER: Final = struct.Struct("=BxxxiIII")
_UP: Final = 1
_IFNAME, _MASTER, _LINKINFO, _PROMISCUITY, _XDP = 3, 10, 18, 30, 43
_INFO_KIND, _INFO_DATA, _INFO_PORT_KIND, _INFO_PORT = 1, 2, 4, 5
_AGEING = 4  # IFLA_BR_AGEING_TIME
_LEARNING, _FLOOD = 8, 9  # IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD
_XDP_ATTACHED, _XDP_PROGRAM = 2, 4
_XDP_OF_MODES: Final = (5, 6, 7)  # IFLA_XDP_DRV_PROG_ID, _SKB_, _HW_
_MODES: Final = {1: "driver", 2: "generic", 3: "hardware"}
_SEVERAL = 4
_KIND, _OPTIONS = 1, 2  # of traffic control, for filters and actions alike
_BPF_NAME, _BPF_ID = 7, 11
_TC_CHAIN = 11
_INGRESS, _INGRESS_SIDE = 0xFFFF_0000, 0xFFFF_FFF2  # as announced, and as listed: one place
_SHARED_BLOCK = -1
_PARMS = 2
_MIRRED: Final = struct.Struct("=20xiI")
_SAMPLE_GROUP = 5
_ACTION_NAME, _ACTION_ID = 6, 9  # of a BPF program as an action
_WAYS: Final = {1: "redirect", 2: "mirror", 3: "redirect_in", 4: "mirror_in"}
_DEEPEST: Final = 6
_COPYING: Final = frozenset(
    (
        "macvlan", "macvtap", "ipvlan", "ipvtap", "ifb", "nlmon", "vsockmon",
        "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan",
        "vxlan", "geneve", "gtp", "bareudp", "ipip", "ip6tnl", "sit",
    )
)  # fmt: skip

_Action = tuple[What, tuple[tuple[str, str | int], ...]]

_GENERIC = 4  # struct nfgenmsg
_TABLE, _CHAIN, _HANDLE, _EXPRESSIONS = 1, 2, 3, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_LOG_GROUP = _TARGET_NAME = 1
_IMMEDIATE, _VERDICT, _CODE = 2, 2, 1
_QUEUE = 3  # NF_QUEUE; the queue's number is in the upper half
_TARGETS: Final = frozenset(("TEE", "NFLOG", "NFQUEUE"))


class Interface(NamedTuple):
    """A link; ``kind`` is "" for one that is hardware."""

    name: str
    kind: str


def found_in(messages: Iterable[Message]) -> frozenset[Finding]:
    """Return what these messages show."""
    return frozenset(finding for kind, payload in messages for finding in _shown(kind, payload))


def passed(messages: Iterable[Message]) -> frozenset[Finding]:
    """Return what these announcements show that may be gone by now.

    Of promiscuity an announcement says nothing: a bridge that takes a link in makes it promiscuous
    first and its own afterwards, and both are announced.
    """
    return frozenset(each for each in found_in(messages) if each.what is not What.PROMISCUOUS)


def interfaces(messages: Iterable[Message]) -> dict[int, Interface]:
    """Return the links of these messages by their numbers."""
    found: dict[int, Interface] = {}
    for kind, payload in messages:
        if kind == _NEW_LINK and len(payload) >= _LINK.size:
            told = attributes(payload, _LINK.size)
            made = text(attributes(told.get(_LINKINFO, b"")).get(_INFO_KIND))
            found[_LINK.unpack_from(payload)[2]] = Interface(text(told.get(_IFNAME)), made)
    return found


def _shown(kind: int, payload: bytes) -> Iterable[Finding]:
    if kind == _NEW_LINK and len(payload) >= _LINK.size:
        return _link(payload)
    if kind == _NEW_FILTER and len(payload) >= _FILTER.size:
        return _filter(payload)
    if kind == RULE_ADDED and len(payload) >= _GENERIC:
        return _rule(payload)
    return ()


def _link(payload: bytes) -> Iterator[Finding]:
    """Rule 1."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    told = attributes(payload, _LINK.size)
    where = (("interface", index), ("name", text(told.get(_IFNAME))))
    info = attributes(told.get(_LINKINFO, b""))
    kind = text(info.get(_INFO_KIND))
    if kind in _COPYING and flags & _UP:
        yield Finding(What.MIRROR_LINK, (*where, ("kind", kind)))
    if flags & _UP and _floods(kind, info):
        yield Finding(What.FLOODING, (*where, ("kind", kind)))
    if number(told.get(_PROMISCUITY)) and not number(told.get(_MASTER)):
        yield Finding(What.PROMISCUOUS, where)
    for mode, program in _programs(attributes(told.get(_XDP, b""))):
        yield Finding(What.XDP, (*where, ("mode", mode), ("program", program)))


def _floods(kind: str, info: dict[int, bytes]) -> bool:
    """Say whether a bridge forgets who is where, or a port of one does not let it learn that.

    With a port of a tunnel that is usual, and the tunnel is found itself.
    """
    bridge = attributes(info.get(_INFO_DATA, b"")) if kind == "bridge" else {}
    forgets = _AGEING in bridge and not number(bridge[_AGEING])
    port = attributes(info.get(_INFO_PORT, b"")) if kind not in _COPYING else {}
    if text(info.get(_INFO_PORT_KIND)) != "bridge":
        return forgets
    learns = number(port.get(_LEARNING, b"\1")) or not number(port.get(_FLOOD, b"\1"))
    return forgets or not learns


def _programs(xdp: dict[int, bytes]) -> Iterator[tuple[str, int]]:
    """Say which programs of XDP stand in front of a link, each in its mode."""
    attached = number(xdp.get(_XDP_ATTACHED))
    if attached == _SEVERAL:
        several = zip(_MODES.values(), _XDP_OF_MODES, strict=True)
        yield from ((mode, number(xdp[each])) for mode, each in several if each in xdp)
    elif attached:
        yield _MODES.get(attached, "unknown"), number(xdp.get(_XDP_PROGRAM))


def _filter(payload: bytes) -> Iterator[Finding]:
    """Rule 2."""
    _, index, handle, parent, info = _FILTER.unpack_from(payload)
    told = attributes(payload, _FILTER.size)
    kind = text(told.get(_KIND))
    if parent == _INGRESS and index != _SHARED_BLOCK:
        parent = _INGRESS_SIDE
    where = (
        ("interface", index),
        ("parent", f"{parent >> 16:x}:{parent & 0xFFFF:x}"),
        ("kind", kind),
        ("chain", number(told.get(_TC_CHAIN))),
        ("preference", info >> 16),
        ("protocol", socket.ntohs(info & 0xFFFF)),
        ("handle", handle),
    )
    for what, how in _actions(told.get(_OPTIONS, b""), 0):
        yield Finding(what, (*where, *how))
    options = attributes(told.get(_OPTIONS, b""))
    if kind == "bpf" and _BPF_ID in options:  # Without, it is a classic program, which only drops.
        program = (("program", number(options[_BPF_ID])), ("label", text(options.get(_BPF_NAME))))
        yield Finding(What.BPF_FOREIGN, (*where, *program))


def _actions(data: bytes, depth: int) -> Iterator[_Action]:
    """Find the actions that copy; every classifier keeps its actions under another number."""
    told = list(listed(data))
    first = dict(reversed(told))
    reading = _COPYING_ACTIONS.get(first.get(_KIND, b""))
    if reading is not None:
        yield from reading(attributes(first.get(_OPTIONS, b"")))
    elif depth < _DEEPEST:
        for _, value in told:
            yield from _actions(value, depth + 1)


def _mirred(options: dict[int, bytes]) -> Iterator[_Action]:
    parms = options.get(_PARMS, b"")
    way, target = _MIRRED.unpack_from(parms) if len(parms) >= _MIRRED.size else (0, 0)
    yield What.TC_MIRROR, (("way", _WAYS.get(way, "unknown")), ("target", target))


def _sample(options: dict[int, bytes]) -> Iterator[_Action]:
    """Yield what is handed to a group of psample, whole or its beginning."""
    yield What.TC_MIRROR, (("way", "sample"), ("target", number(options.get(_SAMPLE_GROUP))))


def _acting(options: dict[int, bytes]) -> Iterator[_Action]:
    if _ACTION_ID in options:
        label = text(options.get(_ACTION_NAME))
        yield What.BPF_FOREIGN, (("program", number(options[_ACTION_ID])), ("label", label))


_COPYING_ACTIONS: Final = {b"mirred\0": _mirred, b"sample\0": _sample, b"bpf\0": _acting}


def _rule(payload: bytes) -> Iterator[Finding]:
    """Rule 3."""
    told = attributes(payload, _GENERIC)
    for _, element in listed(told.get(_EXPRESSIONS, b"")):
        expression = attributes(element)
        name = text(expression.get(_EXPRESSION_NAME))
        data = attributes(expression.get(_EXPRESSION_DATA, b""))
        target = text(data.get(_TARGET_NAME)) if name == "target" else ""
        name = "queue" if name == "immediate" and _queues(data) else name
        copies = name in {"dup", "fwd", "queue"} or (name == "log" and _LOG_GROUP in data)
        if copies or target in _TARGETS:
            where = (
                ("family", payload[0]),
                ("table", text(told.get(_TABLE))),
                ("chain", text(told.get(_CHAIN))),
                ("handle", int.from_bytes(told.get(_HANDLE, b"")[:8], "big")),
                ("expression", target or name),
            )
            yield Finding(What.NFT_COPY, where)


def _queues(immediate: dict[int, bytes]) -> bool:
    verdict = attributes(attributes(immediate.get(_IMMEDIATE, b"")).get(_VERDICT, b""))
    return int.from_bytes(verdict.get(_CODE, b"")[:4], "big") & 0xFF == _QUEUE
