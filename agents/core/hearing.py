"""From a frame that the signalling filter let pass to a whole message, seen once.

1. A datagram that came in fragments is one message, when its last fragment has come (`fragments`).
2. A message that the node forwards is seen at several places and counts once (`crossing`).
3. What is neither a datagram nor a fragment of one is counted as not understood, and dropped.
"""

from __future__ import annotations

from agents.core.crossing import Crossing
from agents.core.fragments import Reassembler
from agents.core.instant import Instant
from agents.core.packet import Datagram, Fragment, read_frame

__all__ = ["Hearing"]


class Hearing:
    """What is remembered of the frames of the last moments."""

    def __init__(self) -> None:
        self._reassembler = Reassembler()
        self._crossing = Crossing()
        self._unread = 0

    @property
    def lost(self) -> int:
        """How many messages were given up: fragments without the rest, frames of no known form."""
        return self._reassembler.dropped + self._unread

    def hear(
        self,
        frame: bytes,
        now: Instant,
        *,
        timestamp_ns: int,
        interface: int,
        outgoing: bool,
        original_length: int,
    ) -> Datagram | None:
        """Take one frame; return the message that it brings or completes."""
        read = read_frame(
            frame,
            timestamp_ns=timestamp_ns,
            interface=interface,
            outgoing=outgoing,
            original_length=original_length,
        )
        if isinstance(read, Fragment):
            whole = self._reassembler.add(read, now)
            read = None if whole is None else whole.datagram
        elif read is None:
            self._unread += 1
        if read is None or self._crossing.is_twin(read, now):
            return None
        return read
