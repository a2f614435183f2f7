"""From a frame that the signalling filter let pass to whole messages, each heard once.

1. A datagram that came in fragments is one message, when its last fragment has come (`fragments`).
2. A message that the node forwards is seen at several places and counts once (`crossing`).
3. TCP connections give their messages as they are completed (`streams`).
4. What is none of these is counted as not understood, and dropped.
"""

from __future__ import annotations

from agents.core.crossing import Crossing
from agents.core.fragments import Reassembler
from agents.core.instant import Instant
from agents.core.packet import Datagram, Fragment, read_frame
from agents.core.segment import read_segment
from agents.core.streams import Streams

__all__ = ["Hearing"]


class Hearing:
    """What is remembered of the frames of the last moments."""

    def __init__(self) -> None:
        self._reassembler = Reassembler()
        self._crossing = Crossing()
        self._streams = Streams()
        self._unread = 0

    @property
    def lost(self) -> int:
        """How many messages were given up: parts without the rest, frames of no known form."""
        return self._reassembler.dropped + self._streams.lost + self._unread

    def hear(
        self,
        frame: bytes,
        now: Instant,
        *,
        timestamp_ns: int,
        interface: int,
        outgoing: bool,
        original_length: int,
    ) -> list[Datagram]:
        """Take one frame; return the messages that it brings or completes."""
        read = read_frame(
            frame,
            timestamp_ns=timestamp_ns,
            interface=interface,
            outgoing=outgoing,
            original_length=original_length,
        )
        if isinstance(read, Datagram):
            return [] if self._crossing.is_twin(read, now) else [read]
        if isinstance(read, Fragment):
            whole = self._reassembler.add(read, now)
            if whole is None or self._crossing.is_twin(whole.datagram, now):
                return []
            return [whole.datagram]
        segment = read_segment(
            frame, timestamp_ns=timestamp_ns, interface=interface, outgoing=outgoing
        )
        if segment is None:
            self._unread += 1
            return []
        return self._streams.add(segment, now)
