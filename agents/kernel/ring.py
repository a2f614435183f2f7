"""A TPACKET_V3 ring: packets arrive in blocks of memory that is shared with the kernel.

1. A block is handed back to the kernel when the consumer has finished with it, not before:
   the frames it yields are views into the block and must not be kept.
2. What finds no free block is dropped by the kernel and counted; nothing is ever overwritten.

Layouts from linux/if_packet.h; the ring is documented in the kernel's networking/packet_mmap.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.kernel import vlan
from agents.kernel.errors import KernelError
from agents.kernel.sockets import SOL_PACKET, Tally, open_filtered

_PACKET_RX_RING, _PACKET_VERSION, _PACKET_IGNORE_OUTGOING = 5, 10, 23
_TPACKET_V3 = 2
_FRAME = 2048  # only a divisor of the block for TPACKET_V3; packets are laid end to end
_STATUS_AT, _USER = 8, 1
_BLOCK = struct.Struct("<II")  # number of packets, offset of the first
_BLOCK_AT = 12
# tpacket3_hdr: next, sec, nsec, snaplen, len, status, mac, vlan_tci, vlan_tpid; then ifindex
_PACKET = struct.Struct("<IIIIIIHxx4xIHxx8x4xi")
_RELEASED = b"\0\0\0\0"

RingPacket = tuple[int, int, int, int, int, memoryview]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSize:
    """Memory of a ring: `blocks` blocks of `block_bytes` (a multiple of the page size).

    A block that is not full is handed over after `retire_ms` milliseconds.
    """

    block_bytes: int = 1 << 20
    blocks: int = 64
    retire_ms: int = 20

    def __post_init__(self) -> None:
        if self.block_bytes % mmap.PAGESIZE or self.block_bytes < mmap.PAGESIZE:
            raise ValueError("block_bytes is a multiple of the page size")
        if self.blocks < 1 or self.retire_ms < 1:
            raise ValueError("a ring has at least one block and one millisecond")


class Ring:
    """Reads the packets that one media filter lets pass. One reader only."""

    def __init__(self, program: int, interfaces: Sequence[int], size: RingSize) -> None:
        self._size = size
        self._next = 0
        self._tally = Tally("<III")
        self._socket = open_filtered(program, interfaces, self._prepare)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def _prepare(self, opened: socket.socket) -> None:
        size = self._size
        opened.setsockopt(SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        # The filter refuses outgoing packets by itself; this spares it the call.
        opened.setsockopt(SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        total = size.block_bytes * size.blocks
        request = struct.pack(
            "7I", size.block_bytes, size.blocks, _FRAME, total // _FRAME, size.retire_ms, 0, 0
        )
        opened.setsockopt(SOL_PACKET, _PACKET_RX_RING, request)
        self._memory = mmap.mmap(
            opened.fileno(), total, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._view = memoryview(self._memory)

    def fileno(self) -> int:
        """Return the descriptor; it is readable when a block is ready."""
        return self._socket.fileno()

    def poll(self, timeout_ms: int) -> bool:
        """Wait until a block is ready, at most so many milliseconds; say whether one is."""
        return self._ready() or (bool(self._poll.poll(timeout_ms)) and self._ready())

    def read_block(self) -> Iterator[RingPacket]:
        """Yield the packets of the next ready block, then hand it back; nothing if none is ready.

        Each is (seconds, nanoseconds, captured length, length on the wire, interface index,
        frame), the time by the wall clock. The frame is valid only until the iterator ends or
        is closed. A VLAN tag that the kernel took out is put back, and both lengths tell so.
        """
        if not self._ready():
            return
        view, unpack, start = self._view, _PACKET.unpack_from, self._next * self._size.block_bytes
        count, first = _BLOCK.unpack_from(view, start + _BLOCK_AT)
        at = start + first
        try:
            for _ in range(count):
                step, sec, nsec, kept, length, status, mac, control, kind, interface = unpack(
                    view, at
                )
                frame = view[at + mac : at + mac + kept]
                at += step
                if status & vlan.VALID:
                    frame = memoryview(vlan.restored(frame, status, control, kind))
                    kept, length = kept + vlan.TAG_OCTETS, length + vlan.TAG_OCTETS
                yield sec, nsec, kept, length, interface, frame
        finally:
            view[start + _STATUS_AT : start + _STATUS_AT + 4] = _RELEASED
            self._next = (self._next + 1) % self._size.blocks

    def statistics(self) -> tuple[int, int]:
        """Return (received, dropped) since the ring was opened."""
        return self._tally.read(self._socket)

    def close(self) -> None:
        """Close the socket and give the memory back.

        Raises KernelError if a frame is still held, because its memory would vanish under it.
        """
        self._socket.close()
        try:
            self._view.release()
            self._memory.close()
        except BufferError as error:
            raise KernelError(
                "a ring was closed while one of its frames was still in use"
            ) from error

    def _ready(self) -> bool:
        return bool(self._view[self._next * self._size.block_bytes + _STATUS_AT] & _USER)
