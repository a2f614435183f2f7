"""Where media goes to: the address and port that one speaker was told to send to."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Self

_ADDRESS_OCTETS = 16
_HIGHEST_PORT = 0xFFFF
_MAPPED = bytes(10) + b"\xff\xff"


def mapped(address: str) -> bytes:
    """Write an IP address as 16 octets; IPv4 becomes ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).

    Raises ValueError for text that is not an IP address.
    """
    parsed = ip_address(address)
    return _MAPPED + parsed.packed if isinstance(parsed, IPv4Address) else parsed.packed


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowKey:
    """The destination of one direction of one media stream.

    `address` is 16 octets as `mapped` writes them, `port` is a UDP port from 1 to 65535.
    Raises ValueError for anything else. The address is not shown by repr: it is part of a call.
    """

    address: bytes = field(repr=False)
    port: int

    def __post_init__(self) -> None:
        if len(self.address) != _ADDRESS_OCTETS:
            raise ValueError("an address is 16 octets")
        if not 0 < self.port <= _HIGHEST_PORT:
            raise ValueError("a port is a number from 1 to 65535")

    @classmethod
    def to(cls, address: str, port: int) -> Self:
        """Make the key for an address in text form."""
        return cls(address=mapped(address), port=port)
