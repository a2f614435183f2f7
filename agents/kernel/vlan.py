"""Puts back the VLAN tag that the kernel takes out of a frame and hands over beside it."""

from __future__ import annotations

import struct
from typing import Final

VALID: Final = 0x10  # TP_STATUS_VLAN_VALID: there is a tag
_TYPE_VALID: Final = 0x40  # TP_STATUS_VLAN_TPID_VALID: its type is told; otherwise it is 802.1Q
_8021Q: Final = 0x8100
_ADDRESSES = 12
TAG_OCTETS: Final = 4


def restored(frame: bytes | memoryview, status: int, control: int, kind: int) -> bytes:
    """Return the frame as it was on the wire, with its tag behind the Ethernet addresses."""
    tag = struct.pack("!HH", kind if status & _TYPE_VALID else _8021Q, control)
    return b"".join((frame[:_ADDRESSES], tag, frame[_ADDRESSES:]))
