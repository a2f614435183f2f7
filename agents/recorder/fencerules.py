"""What the fence around the relay's control ports is made of, as netlink messages; no I/O.

One nftables table of the family inet holds two base chains and nothing else:

1. ``output`` sees what this host sends to itself. A datagram to the relay's NG port passes if it
   comes from the agent's own socket: its address, its port, and a socket that the agent's user
   opened. Anything else to a fenced port is refused.
2. ``input`` sees what arrives, also from other hosts, and after any address translation. The
   owner of a socket cannot be seen there, so only address, port and the loopback interface speak
   for the agent. Anything else to a fenced port is refused.
3. The NG port is fenced for TCP too: the agent talks to the relay over UDP.
4. Refusals are answered (port unreachable, TCP reset), so that who is refused learns it at once.
5. The chains are the last of their hooks: an accept of a foreign chain ends that chain alone, and
   a foreign chain that rewrites ports has done so before.
6. No state is kept: a connection that stood before the fence is refused with its next packet.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE,
    nft_chain_msg,
    nft_rule_msg,
    nft_table_msg,
)

__all__ = ["CHAINS", "INET", "PRIORITY", "Fenced", "Step", "build", "demolish", "rules"]

INET: Final = 1
PRIORITY: Final = 0x7FFF_FFFE
"""Rule 5; one before the end of the hook ``input``, where connections are entered as known."""
CHAINS: Final = {"input": 1, "output": 3}

_HIGHEST_PORT = 0xFFFF
_TCP, _UDP = 6, 17
_ACCEPT = 1
_EQUAL = 0
_LOOPBACK = struct.pack("=I", 1)  # The kernel gives lo this index in every network namespace.
_IIF, _OIF, _OWNER, _VERSION, _PROTOCOL = 4, 5, 10, 15, 16
_VERDICT, _REGISTER = 0, 1
_NETWORK, _TRANSPORT = 1, 2
_RESET, _UNREACHABLE = 1, 2
_PORT_UNREACHABLE = 1

Step = tuple[int, bool, Any]
"""A message's type, whether it creates, and the message."""
Expression = dict[str, list[tuple[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """Which ports are fenced, and whom the NG port knows.

    ``ng``: the relay's NG port. ``address``, ``port``: what the agent's own socket is bound to,
    exclusively. ``owner``: the user that opened this socket; None asks nobody, and then whoever
    finds the port free while the agent is down passes. ``tcp``, ``udp``: the relay's other control
    ports.
    """

    ng: int
    address: str
    port: int
    owner: int | None
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.address)
        ports = (self.ng, self.port, *self.tcp, *self.udp)
        if not all(0 < port <= _HIGHEST_PORT for port in ports):
            raise ValueError("ports are from 1 to 65535")
        if self.port in {self.ng, *self.udp}:
            raise ValueError("the agent's own port is one of the fenced: no answer would reach it")

    @property
    def closed(self) -> list[tuple[int, int]]:
        """Protocol and port of everything that is refused, in the order of the rules."""
        tcp = sorted({self.ng, *self.tcp})
        udp = sorted({self.ng, *self.udp})
        return [*((_UDP, port) for port in udp), *((_TCP, port) for port in tcp)]


def rules(fenced: Fenced, chain: str) -> list[list[Expression]]:
    """Return the rules of a chain, each a list of expressions."""
    way = _meta(_IIF if chain == "input" else _OIF, _LOOPBACK)
    own = [
        *_to(_UDP, fenced.ng),
        *way,
        *_from(fenced.address, fenced.port),
        *(_owned(fenced.owner) if chain == "output" else []),
        _expression("immediate", dreg=_VERDICT, data=_verdict(_ACCEPT)),
    ]
    local = way if chain == "output" else []  # Another host's relay is none of our business.
    refused = [
        [*_to(protocol, port), *local, _refusal(protocol)] for protocol, port in fenced.closed
    ]
    return [own, *refused]


def demolish(table: str) -> list[Step]:
    """Take the table down, whether it stands or not."""
    made = _message(nft_table_msg, NFTA_TABLE_NAME=table)
    gone = _message(nft_table_msg, NFTA_TABLE_NAME=table)
    return [(NFT_MSG_NEWTABLE, True, made), (NFT_MSG_DELTABLE, False, gone)]


def build(fenced: Fenced, table: str) -> list[Step]:
    """Put the fence up, in place of whatever has the table's name."""
    made = _message(nft_table_msg, NFTA_TABLE_NAME=table, NFTA_TABLE_FLAGS=0)
    steps = [*demolish(table), (NFT_MSG_NEWTABLE, True, made)]
    for chain, hook in CHAINS.items():
        message = _message(
            nft_chain_msg,
            NFTA_CHAIN_TABLE=table,
            NFTA_CHAIN_NAME=chain,
            NFTA_CHAIN_HOOK=_attributes(NFTA_HOOK_HOOKNUM=hook, NFTA_HOOK_PRIORITY=PRIORITY),
            NFTA_CHAIN_POLICY=_ACCEPT,
            NFTA_CHAIN_TYPE="filter",
        )
        steps.append((NFT_MSG_NEWCHAIN, True, message))
        for expressions in rules(fenced, chain):
            message = _message(
                nft_rule_msg,
                NFTA_RULE_TABLE=table,
                NFTA_RULE_CHAIN=chain,
                NFTA_RULE_EXPRESSIONS=expressions,
            )
            steps.append((NFT_MSG_NEWRULE, True, message))
    return steps


def _to(protocol: int, port: int) -> list[Expression]:
    return [*_meta(_PROTOCOL, bytes((protocol,))), *_header(_TRANSPORT, 2, struct.pack("!H", port))]


def _from(address: str, port: int) -> list[Expression]:
    ip = ipaddress.ip_address(address)
    version, offset = (2, 12) if ip.version == 4 else (10, 8)  # noqa: PLR2004 - NFPROTO, and where the source is
    return [
        *_header(_TRANSPORT, 0, struct.pack("!H", port)),
        *_meta(_VERSION, bytes((version,))),
        *_header(_NETWORK, offset, ip.packed),
    ]


def _owned(owner: int | None) -> list[Expression]:
    return [] if owner is None else _meta(_OWNER, struct.pack("=I", owner))


def _refusal(protocol: int) -> Expression:
    if protocol == _TCP:
        return _expression("reject", type=_RESET)
    return _expression("reject", type=_UNREACHABLE, icmp_code=_PORT_UNREACHABLE)


def _meta(key: int, value: bytes) -> list[Expression]:
    return [_expression("meta", key=key, dreg=_REGISTER), _equals(value)]


def _header(base: int, offset: int, value: bytes) -> list[Expression]:
    return [
        _expression("payload", dreg=_REGISTER, base=base, offset=offset, len=len(value)),
        _equals(value),
    ]


def _equals(value: bytes) -> Expression:
    data = _attributes(NFTA_DATA_VALUE=value)
    return _expression("cmp", sreg=_REGISTER, op=_EQUAL, data=data)


def _verdict(code: int) -> Expression:
    return _attributes(NFTA_DATA_VERDICT=_attributes(NFTA_VERDICT_CODE=code))


def _expression(name: str, **values: object) -> Expression:
    data = _attributes(**{f"NFTA_{name}_{key}".upper(): value for key, value in values.items()})
    return _attributes(NFTA_EXPR_NAME=name, NFTA_EXPR_DATA=data)


def _attributes(**values: object) -> Expression:
    return {"attrs": list(values.items())}


def _message(kind: type, **values: object) -> Any:  # noqa: ANN401 - pyroute2 has no types
    message = kind()
    message["attrs"] = list(values.items())
    message["nfgen_family"] = INET
    return message
