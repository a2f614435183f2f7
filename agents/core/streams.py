"""SIP messages out of TCP connections (RFC 3261, 18.3).

1. Each direction of a connection is a stream of its own. What comes twice, by retransmission or at
   a second place of the node, is taken once: the sequence numbers say so.
2. A stream is followed from its SYN, or from the first segment that begins with a message: a
   connection that was there before is picked up at its next message.
3. Octets that come out of order wait for those before them, for a moment. A gap that stays is a
   loss: it is counted, and the stream is picked up again as in rule 2.
4. A message ends where its Content-Length says; without one it has no body.
5. What is no SIP ends the following of its stream until rule 2 holds again.
6. All memory is bounded; the stream that was silent longest gives way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.core.instant import NANOSECONDS, Instant
from agents.core.packet import Datagram
from agents.core.segment import FIN, RST, SYN, Segment, rebuilt

__all__ = ["StreamLimits", "Streams"]

_MODULUS = 1 << 32
_START = re.compile(
    rb"(?:SIP/2\.0 [0-9]{3}[ \r]|[A-Za-z0-9.!%*_+`'~-]{1,32} [a-zA-Z][a-zA-Z0-9+.-]*:)"
)
_LONGEST_START = 64  # what the start of a message needs before it can be told from anything else
_LENGTH = re.compile(rb"\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,8})[ \t]*\r?\n", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")

_Key = tuple[bytes, int, bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds: streams, octets that wait in one stream, nanoseconds that a gap may stay open."""

    streams: int = 1024
    octets: int = 128 * 1024
    gap_ns: int = 2 * NANOSECONDS


@dataclass(slots=True)
class _Stream:
    """``next``: the number of the octet after ``taken``; None while the stream is not followed."""

    next: int | None = None
    taken: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict)
    gap_since: int = 0


class Streams:
    """The directions of the connections that were heard of last."""

    def __init__(self, limits: StreamLimits | None = None) -> None:
        self._limits = limits or StreamLimits()
        self._streams: dict[_Key, _Stream] = {}
        self.lost = 0

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, segment: Segment, now: Instant) -> list[Datagram]:
        """Take a segment; return the messages that it completes, each in a frame of its own."""
        key = (segment.src, segment.sport, segment.dst, segment.dport)
        stream = self._streams.pop(key, None) or _Stream()
        if segment.flags & RST:
            return []
        self._streams[key] = stream  # The last in the row is the one heard of last (rule 6).
        if len(self._streams) > self._limits.streams:
            del self._streams[next(iter(self._streams))]
        sequence = segment.sequence
        if segment.flags & SYN:
            self._leave(stream)
            sequence = stream.next = (sequence + 1) % _MODULUS
        messages = []
        if segment.payload:
            self._take(stream, sequence, segment.payload, now)
            messages = [each for each in self._messages(stream, segment) if each is not None]
        if segment.flags & FIN and not stream.early:
            self._streams.pop(key, None)
        return messages

    def _take(self, stream: _Stream, sequence: int, payload: bytes, now: Instant) -> None:
        if stream.next is None:
            if not _START.match(payload):  # Rule 2.
                return
            stream.next = sequence
        ahead = (sequence - stream.next) % _MODULUS
        if ahead >= _MODULUS // 2:  # It begins before what is awaited (rule 1).
            payload, ahead = payload[_MODULUS - ahead :], 0
            sequence = stream.next
        if not payload:
            return
        if ahead:
            self._wait(stream, sequence, payload, now)
            return
        self._append(stream, payload)
        while (early := self._due(stream)) is not None:
            self._append(stream, early)

    def _wait(self, stream: _Stream, sequence: int, payload: bytes, now: Instant) -> None:
        """Keep octets for which others must come first (rule 3)."""
        if not stream.early:
            stream.gap_since = now.boot_ns
        if len(payload) > len(stream.early.get(sequence, b"")):
            stream.early[sequence] = payload
        waiting = sum(map(len, stream.early.values()))
        if waiting > self._limits.octets or now.boot_ns - stream.gap_since > self._limits.gap_ns:
            self.lost += 1
            self._leave(stream)
            if _START.match(payload):
                stream.next = sequence
                self._append(stream, payload)

    def _append(self, stream: _Stream, payload: bytes) -> None:
        stream.taken += payload
        stream.next = ((stream.next or 0) + len(payload)) % _MODULUS

    @staticmethod
    def _due(stream: _Stream) -> bytes | None:
        """Return what waited for the octet that is next, without what came already."""
        for sequence in sorted(stream.early):
            behind = ((stream.next or 0) - sequence) % _MODULUS
            if behind < _MODULUS // 2:
                payload = stream.early.pop(sequence)
                if len(payload) > behind:
                    return payload[behind:]
        return None

    @staticmethod
    def _leave(stream: _Stream) -> None:
        stream.next = None
        stream.taken.clear()
        stream.early.clear()

    def _messages(self, stream: _Stream, segment: Segment) -> Iterator[Datagram | None]:
        """Yield the whole messages at the beginning of what was taken (rules 4 and 5)."""
        while stream.next is not None:
            blank = len(stream.taken) - len(stream.taken.lstrip(b"\r\n"))
            del stream.taken[:blank]  # Keep-alives between messages (RFC 5626, 3.5.1).
            if not stream.taken:
                return
            size = self._size(stream)
            if size is None or size > len(stream.taken):
                return
            begun = (stream.next - len(stream.taken)) % _MODULUS
            message = bytes(stream.taken[:size])
            del stream.taken[:size]
            yield self._datagram(segment, begun, message)

    def _size(self, stream: _Stream) -> int | None:
        """Return how long the first message is; None while that cannot be told."""
        end = _END.search(stream.taken)
        begins = _START.match(stream.taken) or len(stream.taken) < _LONGEST_START
        length = _LENGTH.search(stream.taken, 0, end.end()) if end else None
        size = None if end is None else end.end() + (int(length[1]) if length else 0)
        if (
            not begins
            or max(size or 0, len(stream.taken) if end is None else 0) > self._limits.octets
        ):
            self.lost += 1
            self._leave(stream)
            return None
        return size

    def _datagram(self, segment: Segment, sequence: int, message: bytes) -> Datagram | None:
        made = rebuilt(segment, sequence, message)
        if made is None:
            self.lost += 1
            return None
        frame, offset = made
        return Datagram(
            frame=frame,
            src=segment.src,
            sport=segment.sport,
            dst=segment.dst,
            dport=segment.dport,
            payload=message,
            outgoing=segment.outgoing,
            timestamp_ns=segment.timestamp_ns,
            interface=segment.interface,
            original_length=len(frame),
            payload_offset=offset,
        )
