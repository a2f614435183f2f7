"""Who asked: one short line about the far end of a socket on this host.

1. It never raises and never takes long: what cannot be told is left out.
2. A user is named only for an address of this host: a far host may use any port number that
   somebody here uses too.
3. A socket bound to exactly that address speaks before one that is bound to all.
"""

from __future__ import annotations

import ipaddress
import socket

from agents.recorder.localsockets import LocalSocket, bound_to

__all__ = ["who_asked"]


def who_asked(protocol: str, address: str, port: int) -> str:
    """Describe a peer over ``udp`` or ``tcp``, such as ``udp 127.0.0.1:40123 uid 108``."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        shown = f"{protocol} [{ip}]:{port}" if ip.version == 6 else f"{protocol} {ip}:{port}"  # noqa: PLR2004
    except ValueError:
        return f"{protocol} from an address that is none"
    try:
        uids = _uids(bound_to(protocol, port), ip) if _is_ours(ip) else set()
    except (OSError, KeyError, ValueError):
        return shown  # Rule 1.
    return f"{shown} uid {min(uids)}" if len(uids) == 1 else shown


def _uids(sockets: list[LocalSocket], ip: object) -> set[int]:
    exact = {each.uid for each in sockets if each.address == ip}
    return exact or {each.uid for each in sockets if each.address.is_unspecified}  # Rule 3.


def _is_ours(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True
