"""One packet seen at several places of the node counts once.

A packet that the node forwards is seen coming in on one interface and going out on another; with
bridges and VLAN devices on more. Each place (interface, direction) is counted by itself: the n-th
sighting at a place is new only if no other place has seen the packet n times before.

1. Of a packet seen at several places, the first sighting is kept and the others are twins.
2. A retransmission comes to the first place again, so it is kept; its twins are not.
3. Packets are the same when addresses, ports and payload are. After translation of addresses they
   are not, and both are kept.
4. Memory is bounded in packets and age. Where the bound is hit, a twin may be kept, never a packet
   lost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from agents.core.instant import NANOSECONDS, Instant
from agents.core.packet import Datagram

_Key = tuple[bytes, int, bytes, int, bytes]


@dataclass(slots=True)
class _Sightings:
    since_ns: int
    kept: int = 0
    places: dict[tuple[int, bool], int] = field(default_factory=dict)


class Crossing:
    """Remembers recent packets for `age_ns`, at most `packets` of them."""

    def __init__(self, *, packets: int = 4096, age_ns: int = NANOSECONDS) -> None:
        self._packets = packets
        self._age_ns = age_ns
        # In order of first sighting, so that the oldest is the first.
        self._seen: dict[_Key, _Sightings] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def is_twin(self, datagram: Datagram, now: Instant) -> bool:
        """Tell whether this is another sighting of a packet already kept, and remember it."""
        self._expire(now)
        key = (
            datagram.src, datagram.sport, datagram.dst, datagram.dport,
            hashlib.blake2b(datagram.payload, digest_size=16).digest(),
        )  # fmt: skip
        sightings = self._seen.setdefault(key, _Sightings(now.boot_ns))
        place = (datagram.interface, datagram.outgoing)
        count = sightings.places[place] = sightings.places.get(place, 0) + 1
        twin = count <= sightings.kept
        sightings.kept = max(sightings.kept, count)
        if len(self._seen) > self._packets:
            del self._seen[next(iter(self._seen))]
        return twin

    def _expire(self, now: Instant) -> None:
        while self._seen:
            key, oldest = next(iter(self._seen.items()))
            if now.boot_ns - oldest.since_ns < self._age_ns:
                return
            del self._seen[key]
