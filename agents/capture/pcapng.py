"""Write one pcapng section, block by block, as bytes.

Source: draft-ietf-opsawg-pcapng. The rules this module keeps:

1. A section is complete in itself: a section header, every interface, packets, and one statistics
   block per interface at its end. Nothing in it refers to another segment.
2. Blocks are big-endian, so that the 64-bit timestamp is one field and is packed in one step.
3. Timestamps are nanoseconds since 1970 (`if_tsresol` 9).
4. The section header says under which grant and authority it was written. It never names a subject.
"""

from __future__ import annotations

import struct

LINKTYPE_ETHERNET = 1
INBOUND = 1
OUTBOUND = 2

#: Octets of an enhanced packet block beside the frame and its padding.
PACKET_OVERHEAD = 32

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_COMMENT, _USER_APPLICATION = 1, 4
_IF_NAME, _IF_TSRESOL = 2, 9
_EPB_FLAGS = 2
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_DROPPED = 2, 3, 4, 5
_END_OF_OPTIONS = bytes(4)
_NANOSECONDS = b"\x09"
_WORD = 4


def section_header(*, comment: str, application: str = "callguard") -> bytes:
    """Return a section header block of unknown length (-1), with its comment and application."""
    options = _option(_COMMENT, comment.encode()) + _option(_USER_APPLICATION, application.encode())
    body = struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(_SECTION, body + options + _END_OF_OPTIONS)


def interface_block(name: str, *, snaplen: int = 0) -> bytes:
    """Return an interface description: Ethernet, nanoseconds; `snaplen` in octets, 0: no limit."""
    options = _option(_IF_NAME, name.encode()) + _option(_IF_TSRESOL, _NANOSECONDS)
    body = struct.pack(">HHI", LINKTYPE_ETHERNET, 0, snaplen)
    return _block(_INTERFACE, body + options + _END_OF_OPTIONS)


def packet_packer(captured: int) -> tuple[struct.Struct, int]:
    """Return the layout and the total length of a packet block without options.

    Every frame of `captured` octets shares them, so a reader of many packets keeps them. The fields
    are: 6, total, interface, nanoseconds, captured, original, frame, total.
    """
    padding = -captured % _WORD
    return struct.Struct(f">IIIQII{captured}s{padding}xI"), PACKET_OVERHEAD + captured + padding


def packet_block(
    frame: bytes,
    timestamp_ns: int,
    *,
    original: int,
    interface: int = 0,
    direction: int = 0,
) -> bytes:
    """Return an enhanced packet block; `direction` is INBOUND, OUTBOUND or 0 for not said."""
    if not direction:
        layout, total = packet_packer(len(frame))
        return layout.pack(
            _PACKET, total, interface, timestamp_ns, len(frame), original, frame, total
        )
    body = struct.pack(">IQII", interface, timestamp_ns, len(frame), original) + _padded(frame)
    options = _option(_EPB_FLAGS, struct.pack(">I", direction)) + _END_OF_OPTIONS
    return _block(_PACKET, body + options)


def statistics_block(
    interface: int, *, start_ns: int, end_ns: int, received: int, dropped: int
) -> bytes:
    """Return the statistics of one interface; `received` counts dropped packets too."""
    options = (
        _option(_ISB_START, struct.pack(">Q", start_ns))
        + _option(_ISB_END, struct.pack(">Q", end_ns))
        + _option(_ISB_RECEIVED, struct.pack(">Q", received))
        + _option(_ISB_DROPPED, struct.pack(">Q", dropped))
    )
    body = struct.pack(">IQ", interface, end_ns)
    return _block(_STATISTICS, body + options + _END_OF_OPTIONS)


def _block(kind: int, body: bytes) -> bytes:
    total = 12 + len(body)
    return struct.pack(">II", kind, total) + body + struct.pack(">I", total)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + _padded(value)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % _WORD)
