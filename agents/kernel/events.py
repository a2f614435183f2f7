"""Reads a BPF ring buffer (BPF_MAP_TYPE_RINGBUF): what programs report, in order.

The layout is the kernel's (kernel/bpf/ringbuf.c): a page with the reader's position, a page with
the writer's, the data mapped twice in a row so that no record is ever cut in two. A record has a
header of eight octets whose first four are its length and two flags.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import Final

from agents.kernel.errors import refused

__all__ = ["EventRing"]

_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER: Final = 8


class EventRing:
    """The reader of one ring buffer; one reader only. The map's descriptor stays the caller's.

    ``size`` is the ring's, in octets: a power of two and a multiple of the page size.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._mask = descriptor, size - 1
        page = mmap.PAGESIZE
        try:
            self._mine = mmap.mmap(descriptor, page)
            self._theirs = mmap.mmap(descriptor, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        except OSError as error:
            raise refused("mapping a ring buffer", error) from error
        self._read = ctypes.c_uint64.from_buffer(self._mine)

    def fileno(self) -> int:
        """Return the descriptor; it is readable when a record is waiting."""
        return self._descriptor

    def records(self) -> Iterator[bytes]:
        """Yield the records that are complete, each once."""
        while True:
            at = self._read.value
            if at >= struct.unpack_from("<Q", self._theirs, 0)[0]:
                return
            place = mmap.PAGESIZE + (at & self._mask)
            (header,) = struct.unpack_from("<I", self._theirs, place)
            if header & _BUSY:
                return
            length = header & _LENGTH
            record = self._theirs[place + _HEADER : place + _HEADER + length]
            self._read.value = at + ((length + _HEADER + 7) & ~7)
            if not header & _DISCARDED:
                yield record

    def close(self) -> None:
        """Give the mapped memory back."""
        del self._read
        self._mine.close()
        self._theirs.close()
