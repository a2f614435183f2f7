"""The socket that signalling arrives on: few packets, each read by itself with its metadata."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agents.kernel import vlan
from agents.kernel.sockets import SOL_PACKET, Tally, open_filtered, set_receive_buffer

_PACKET_AUXDATA = 8
_SO_TIMESTAMPNS = 35
_OUTGOING = 4
_LARGEST = 1 << 18
_BUFFER = 8 << 20
_AUXDATA = struct.Struct("=IIIHHHH")
_TIME = struct.Struct("=qq")
_CONTROL: Final = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIME.size)
_NANOSECONDS = 1_000_000_000
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One packet that the signalling filter let pass.

    `data` starts with the Ethernet header, VLAN tags in place; `timestamp_ns` is the kernel's
    time of arrival by the wall clock; `interface` is an index; `outgoing` tells that the node
    sent it; `original_length` is the length on the wire. The data is not shown by repr.
    """

    data: bytes = field(repr=False)
    timestamp_ns: int
    interface: int
    outgoing: bool
    original_length: int


class SignallingSocket:
    """A non-blocking packet socket behind the signalling filter. One reader only."""

    def __init__(self, program: int, interfaces: Mapping[str, int]) -> None:
        self._interfaces = dict(interfaces)
        self._tally = Tally("<II")
        self._socket = open_filtered(program, tuple(interfaces.values()), _prepare)

    def fileno(self) -> int:
        """Return the descriptor; it is readable when a packet is waiting."""
        return self._socket.fileno()

    def read(self) -> list[Frame]:
        """Return the packets that are waiting, at most 64; an empty list if there are none."""
        frames: list[Frame] = []
        while len(frames) < _AT_ONCE:
            try:
                data, control, _, address = self._socket.recvmsg(_LARGEST, _CONTROL)
            except BlockingIOError:
                break
            except OSError as error:  # an interface went down; the packets go on when it is back
                if error.errno != errno.ENETDOWN:
                    raise
                continue
            frames.append(self._frame(data, control, address))
        return frames

    def _frame(
        self, data: bytes, control: list[tuple[int, int, bytes]], address: tuple[str, int, int]
    ) -> Frame:
        moment, length = 0, len(data)
        for level, kind, value in control:
            if level == SOL_PACKET and kind == _PACKET_AUXDATA:
                status, length, _, _, _, tag, tag_kind = _AUXDATA.unpack(value[: _AUXDATA.size])
                if status & vlan.VALID:
                    data = vlan.restored(data, status, tag, tag_kind)
                    length += vlan.TAG_OCTETS
            elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIME.unpack(value[: _TIME.size])
                moment = seconds * _NANOSECONDS + nanoseconds
        return Frame(
            data=data,
            timestamp_ns=moment,
            interface=self._interfaces.get(address[0], 0),
            outgoing=address[2] == _OUTGOING,
            original_length=length,
        )

    def statistics(self) -> tuple[int, int]:
        """Return (received, dropped) since the socket was opened."""
        return self._tally.read(self._socket)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _prepare(opened: socket.socket) -> None:
    opened.setsockopt(SOL_PACKET, _PACKET_AUXDATA, 1)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    set_receive_buffer(opened, _BUFFER)
