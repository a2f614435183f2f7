"""Claims about the destination of media."""

from __future__ import annotations

import pytest

from agents.core.flow import FlowKey, mapped


def test_ipv4_is_written_as_a_mapped_address() -> None:
    """An IPv4 address becomes ::ffff:a.b.c.d, as the kernel's maps have it."""
    assert FlowKey.to("192.0.2.7", 40000).address == mapped("::ffff:192.0.2.7")


def test_both_spellings_of_one_address_are_one_key() -> None:
    """Two spellings of an IPv6 address select the same flow."""
    assert FlowKey.to("2001:db8::1", 5004) == FlowKey.to("2001:DB8:0:0:0:0:0:1", 5004)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    """No key exists for a port that no datagram can have: 0 never stands for all."""
    with pytest.raises(ValueError, match="1 to 65535"):
        FlowKey.to("192.0.2.7", port)


def test_an_address_that_is_not_16_octets_is_refused() -> None:
    """A raw IPv4 address of four octets is not taken for a mapped one."""
    with pytest.raises(ValueError, match="16 octets"):
        FlowKey(address=b"\x7f\0\0\1", port=5004)


def test_repr_does_not_show_the_address() -> None:
    """An address does not get into logs through repr."""
    key = FlowKey.to("192.0.2.7", 5004)

    assert "192" not in repr(key)
    assert repr(key.address) not in repr(key)
