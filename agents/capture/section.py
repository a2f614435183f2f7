"""Account for one segment while it is written: which blocks come, and what they add up to. No I/O.

1. Batches are finished packet blocks; this module never looks inside them.
2. Interfaces are numbered for the whole node, in the order in which they were first seen, so that
   one packet block serves every grant. The list only grows; a section describes what it uses.
3. Drops are counted for the ring, not per interface: they stand with interface 0, and packets
   received include them. No drop is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct

from agents.capture import pcapng

_INTERFACE_AND_LENGTH = Struct(">8xI8xI").unpack_from
_TIMESTAMP = Struct(">12xQ").unpack_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Packet blocks in one piece. `octets` counts the frames; times are wall nanoseconds."""

    data: bytes = field(repr=False)
    packets: int
    octets: int
    first_ns: int
    last_ns: int
    received: Mapping[int, int]
    interfaces: int

    @classmethod
    def of(cls, blocks: Sequence[bytes], *, interfaces: int) -> Batch:
        """Join packet blocks; `interfaces` is how many the node had described by then."""
        kinds = Counter(map(_INTERFACE_AND_LENGTH, blocks))
        received: Counter[int] = Counter()
        for (interface, _), packets in kinds.items():
            received[interface] += packets
        (first_ns,), (last_ns,) = _TIMESTAMP(blocks[0]), _TIMESTAMP(blocks[-1])
        return cls(
            data=b"".join(blocks),
            packets=len(blocks),
            octets=sum(length * packets for (_, length), packets in kinds.items()),
            first_ns=min(first_ns, last_ns),
            last_ns=max(first_ns, last_ns),
            received=received,
            interfaces=interfaces,
        )


def blocks_within(blocks: Iterable[bytes], octets: int) -> list[bytes]:
    """Return the leading blocks whose frames together have at most `octets`."""
    kept = []
    for block in blocks:
        octets -= _INTERFACE_AND_LENGTH(block)[1]
        if octets < 0:
            break
        kept.append(block)
    return kept


class Section:
    """The blocks of one segment, in order: `opening`, `batch` as often as needed, `closing`."""

    def __init__(self, *, grant_id: str, reference: str, names: Sequence[str]) -> None:
        self._comment = f"grant {grant_id} authority {reference}"
        self._names = names
        self._described = 0
        self._received: Counter[int] = Counter()
        self.packets = 0
        self.octets = 0
        self.drops = 0
        self.length = 0
        self.first_ns = 0
        self.last_ns = 0

    def opening(self) -> bytes:
        """Return the section header and the interfaces known so far."""
        return self._counted(
            pcapng.section_header(comment=self._comment) + self._describe(len(self._names))
        )

    def batch(self, batch: Batch) -> bytes:
        """Take a batch into the account and return its bytes."""
        described = self._describe(batch.interfaces)
        self.first_ns = min(self.first_ns, batch.first_ns) if self.packets else batch.first_ns
        self.last_ns = max(self.last_ns, batch.last_ns)
        self.packets += batch.packets
        self.octets += batch.octets
        self._received.update(batch.received)
        return self._counted(described + batch.data if described else batch.data)

    def closing(self, drops: int) -> bytes:
        """Return the statistics of every interface; `drops` happened while this was written."""
        self.drops = drops
        return self._counted(
            b"".join(
                pcapng.statistics_block(
                    interface,
                    start_ns=self.first_ns,
                    end_ns=self.last_ns,
                    received=self._received[interface] + (0 if interface else drops),
                    dropped=0 if interface else drops,
                )
                for interface in range(self._described)
            )
        )

    def _describe(self, count: int) -> bytes:
        fresh = self._names[self._described : count]
        self._described = max(self._described, count)
        return b"".join(pcapng.interface_block(name) for name in fresh)

    def _counted(self, data: bytes) -> bytes:
        self.length += len(data)
        return data
