"""Whole datagrams from the fragments of IPv4 and IPv6 packets.

1. Memory is bounded in datagrams, bytes and age, whatever arrives; the oldest gives way.
2. A fragment that overlaps another spoils its datagram, and what still comes of it, until the
   datagram's age is over (RFC 5722 §3; the same for IPv4). An exact duplicate is ignored
   (RFC 8200 §4.5).
3. What can be rebuilt has no hole, exactly one end, and at most 65,535 bytes.
4. The rebuilt frame is what one unfragmented packet would have been, so that a reader of captures
   needs no reassembly, and a redacted message has no fragment beside it that still holds the rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from agents.core.instant import NANOSECONDS, Instant
from agents.core.packet import Datagram, Fragment, read_frame

_LARGEST = 65535
_UNIT = 8
# A datagram of 65,535 bytes in packets of 576 bytes has 119 parts; more are an attack on time.
_MOST_PARTS = 128
_IPV6_FIXED = 40
_Key = tuple[bytes, bytes, int, int, int, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentLimits:
    """How much may wait for its rest: datagrams, bytes of frames, nanoseconds (RFC 8200: 60 s)."""

    datagrams: int = 256
    octets: int = 4 << 20
    age_ns: int = 60 * NANOSECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A datagram in a rebuilt frame, and the fragments that it came in, in order of arrival."""

    datagram: Datagram
    fragments: tuple[Fragment, ...] = field(repr=False)


@dataclass(slots=True)
class _Waiting:
    since_ns: int
    parts: dict[int, Fragment] = field(default_factory=dict)
    arrived: list[Fragment] = field(default_factory=list)
    size: int | None = None
    octets: int = 0
    spoiled: bool = False


class Reassembler:
    """Fragments in, whole datagrams out. `dropped` counts datagrams that were given up."""

    def __init__(self, limits: FragmentLimits | None = None) -> None:
        self._limits = limits or FragmentLimits()
        # In order of first arrival, so that the oldest is the first.
        self._waiting: dict[_Key, _Waiting] = {}
        self._octets = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def octets(self) -> int:
        """How many bytes of frames are held."""
        return self._octets

    def add(self, fragment: Fragment, now: Instant) -> Whole | None:
        """Take one fragment; return the datagram that it completes."""
        self.expire(now)
        key = (
            fragment.src, fragment.dst, fragment.ident, fragment.protocol,
            fragment.interface, fragment.outgoing,
        )  # fmt: skip
        entry = self._waiting.get(key)
        if entry is None:
            entry = self._waiting[key] = _Waiting(now.boot_ns)
        if not entry.spoiled:
            self._place(entry, fragment)
        whole = None
        if _is_complete(entry):
            self._forget(key)
            whole = _rebuild(entry)
            self.dropped += whole is None
        self._shed()
        return whole

    def expire(self, now: Instant) -> None:
        """Give up what has waited too long."""
        while self._waiting:
            key, entry = next(iter(self._waiting.items()))
            if now.boot_ns - entry.since_ns < self._limits.age_ns:
                return
            self.dropped += not entry.spoiled
            self._forget(key)

    def _place(self, entry: _Waiting, fragment: Fragment) -> None:
        start, end = fragment.offset, fragment.offset + len(fragment.payload)
        same = entry.parts.get(start)
        if same is not None and same.payload == fragment.payload and same.more == fragment.more:
            return
        if not _fits(entry, fragment, start, end):
            self._spoil(entry)
            return
        if not fragment.more:
            entry.size = end
        entry.parts[start] = fragment
        entry.arrived.append(fragment)
        entry.octets += len(fragment.frame)
        self._octets += len(fragment.frame)

    def _spoil(self, entry: _Waiting) -> None:
        self._octets -= entry.octets
        entry.octets = 0
        entry.parts.clear()
        entry.arrived.clear()
        entry.spoiled = True
        self.dropped += 1

    def _shed(self) -> None:
        while len(self._waiting) > self._limits.datagrams or self._octets > self._limits.octets:
            key = next(iter(self._waiting))
            self.dropped += not self._waiting[key].spoiled
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._octets -= self._waiting.pop(key).octets


def _fits(entry: _Waiting, fragment: Fragment, start: int, end: int) -> bool:
    """Whether a fragment is well formed and overlaps nothing (2, 3)."""
    if end <= start or end > _LARGEST or (fragment.more and (end - start) % _UNIT):
        return False
    if len(entry.parts) >= _MOST_PARTS:
        return False
    if entry.size is not None and (end > entry.size or not fragment.more):
        return False
    if not fragment.more and any(other + len(p.payload) > end for other, p in entry.parts.items()):
        return False
    return all(end <= other or other + len(p.payload) <= start for other, p in entry.parts.items())


def _is_complete(entry: _Waiting) -> bool:
    """Whether every byte is there: parts never overlap, so their lengths add up."""
    if entry.size is None:
        return False
    return sum(len(part.payload) for part in entry.parts.values()) == entry.size


def _rebuild(entry: _Waiting) -> Whole | None:
    body = b"".join(entry.parts[start].payload for start in sorted(entry.parts))
    first = entry.parts[0]
    header = bytearray(first.header)
    header[first.chain] = first.protocol
    rest = len(header) - first.network
    if header[first.network] >> 4 == 4:  # noqa: PLR2004 - the version is 4
        if rest + len(body) > _LARGEST:
            return None
        struct.pack_into("!HHH", header, first.network + 2, rest + len(body), first.ident, 0)
        struct.pack_into("!H", header, first.network + 10, 0)
        struct.pack_into("!H", header, first.network + 10, _checksum(header[first.network :]))
    else:
        if rest - _IPV6_FIXED + len(body) > _LARGEST:
            return None
        struct.pack_into("!H", header, first.network + 4, rest - _IPV6_FIXED + len(body))
    last = entry.arrived[-1]
    datagram = read_frame(
        bytes(header) + body,
        timestamp_ns=last.timestamp_ns,
        interface=last.interface,
        outgoing=last.outgoing,
    )
    if not isinstance(datagram, Datagram):
        return None
    return Whole(datagram=datagram, fragments=tuple(entry.arrived))


def _checksum(header: bytes | bytearray) -> int:
    """RFC 1071, over an IPv4 header whose checksum field is zero."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
