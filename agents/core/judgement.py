"""Which sockets can hear a call's content, and who may hold one: the sentry's one table.

1. Capable of content is a packet socket that hears IP, a VLAN, or everything; an AF_XDP socket;
   a raw IP socket of a protocol that carries voice, or carries IP in a tunnel; a socket that
   listens to a group of NFLOG or a queue of NFQUEUE; and one that keeps others from its copying
   rules.
2. Free is what control needs and no call travels in: ICMP, IGMP, OSPF, VRRP, sockets that only
   send, and packet sockets bound to ARP, LLDP, EAPOL and their like.
3. What the table does not know of a packet socket or of a raw socket is content: the lists of what
   is free are closed, the others are not. Sockets of other families and types are free.
4. Who may hold content is named by process (the agent itself) or by system unit, never by command
   or path, which anybody can borrow. A unit counts where the system's own manager puts it: below
   slices alone. No allowance means nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = [
    "AF_NETLINK",
    "AF_PACKET",
    "AF_XDP",
    "KEEPS_RULES",
    "SOCK_RAW",
    "UNIT",
    "Allowances",
    "Judgement",
    "SocketSeen",
    "Verdict",
    "judge",
    "unit_of",
]

AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
AF_PACKET: Final = 17
AF_XDP: Final = 44
SOCK_RAW: Final = 3

UNIT: Final = re.compile(r"[A-Za-z0-9:_.@\\-]{1,240}\.service")
"""How a unit's name reads (systemd.unit(5)); only services may be allowed."""

KEEPS_RULES: Final = "nft_owner"
"""How `SocketSeen.listens` begins for who keeps others from rules that copy."""

_SLICE = ".slice"

# include/uapi/linux/if_ether.h; rule 2
_FREE_ETHERTYPES: Final = {
    0x0000: "packet_unbound",  # hears nothing before it is bound, and is then seen as bound
    0x0004: "packet_llc",  # 802.2: spanning tree, IS-IS
    0x0806: "packet_arp",
    0x8035: "packet_rarp",
    0x8809: "packet_lacp",
    0x8863: "packet_pppoe_discovery",
    0x888E: "packet_eapol",
    0x88C7: "packet_eapol",
    0x88CC: "packet_lldp",
    0x88F7: "packet_ptp",
}
_CONTENT_ETHERTYPES: Final = {
    0x0003: "packet_all",
    0x0800: "packet_ip",
    0x8100: "packet_vlan",
    0x86DD: "packet_ipv6",
    0x88A8: "packet_vlan",
}
# https://www.iana.org/assignments/protocol-numbers; rule 2
_FREE_PROTOCOLS: Final = {
    1: "raw_icmp",
    2: "raw_igmp",
    58: "raw_icmpv6",
    89: "raw_ospf",
    112: "raw_vrrp",
    255: "raw_send_only",  # raw(7): IPPROTO_RAW receives nothing
}
_CONTENT_PROTOCOLS: Final = {
    4: "raw_ipip",
    6: "raw_tcp",
    17: "raw_udp",
    41: "raw_ipv6",
    47: "raw_gre",
    50: "raw_esp",
    132: "raw_sctp",
}


class Verdict(StrEnum):
    """What the sentry makes of a socket."""

    FREE = "free"
    """No call's content comes through it."""
    ALLOWED = "allowed"
    """Content could come through it, and its holder may hold it."""
    CONTENT = "content"
    """Content could come through it, and nobody has allowed its holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSeen:
    """One socket in the hands of one process.

    ``pid`` is the process (thread group), ``uid`` its effective user, ``cgroup`` its path in the
    unified hierarchy ("" when unknown) and ``cgroup_id`` that folder's inode (0 when unknown).
    ``inode`` is the socket's, ``netns`` that of the socket's network namespace. ``ethertype`` is in
    host order, 0 but for packet sockets; ``ifindex`` 0 means every interface. ``comm`` is the
    kernel's name of the process: it is for people, and decides nothing. ``started`` is the moment
    of the process's start in ticks (proc(5)), 0 when unknown. ``listens`` names the group of NFLOG
    or the queue of NFQUEUE that a socket of nfnetlink is bound to ("nflog 5"), or the table of
    rules that copy which it alone can change ("nft_owner filter"), "" for any other.
    """

    pid: int
    uid: int
    cgroup: str
    cgroup_id: int
    inode: int
    netns: int
    family: int
    type: int
    protocol: int
    ethertype: int
    ifindex: int
    comm: str = field(repr=False)
    started: int = 0
    listens: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """Who may hold sockets that could hear content (rule 4).

    ``pids``: the agent's own process, and those that it has started to try itself. ``units``: names
    of services, whole.
    """

    pids: frozenset[int] = frozenset()
    units: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and one word for the kind of socket that it is about."""

    verdict: Verdict
    reason: str


def judge(seen: SocketSeen, allowances: Allowances) -> Judgement:
    """Judge one socket in one process's hands."""
    content, kind = _capability(seen)
    if not content:
        return Judgement(Verdict.FREE, kind)
    allowed = seen.pid in allowances.pids or unit_of(seen.cgroup) in allowances.units
    return Judgement(Verdict.ALLOWED if allowed else Verdict.CONTENT, kind)


def unit_of(cgroup: str) -> str | None:
    """Return the system service that a cgroup belongs to (rule 4); None when there is none.

    ``/system.slice/dhcpcd.service/worker`` belongs to ``dhcpcd.service``. What a user's own manager
    or anybody else calls a service below another unit or outside a slice does not.
    """
    root, *parts = cgroup.split("/")
    if root:
        return None
    for depth, part in enumerate(parts):
        if part.endswith(_SLICE):
            continue
        return part if depth and UNIT.fullmatch(part) else None
    return None


def _capability(seen: SocketSeen) -> tuple[bool, str]:
    """Say whether content can come through a socket, and what kind it is (rules 1 to 3)."""
    if seen.family == AF_XDP:
        return True, "xdp"
    if seen.family == AF_NETLINK and seen.listens:
        return True, seen.listens.partition(" ")[0]
    if seen.family == AF_PACKET:
        return _looked_up(seen.ethertype, _FREE_ETHERTYPES, _CONTENT_ETHERTYPES, "packet_other")
    if seen.family in {AF_INET, AF_INET6} and seen.type == SOCK_RAW:
        return _looked_up(seen.protocol, _FREE_PROTOCOLS, _CONTENT_PROTOCOLS, "raw_other")
    return False, "other"


def _looked_up(
    number: int, free: dict[int, str], content: dict[int, str], unknown: str
) -> tuple[bool, str]:
    if number in free:
        return False, free[number]
    return True, content.get(number, unknown)
