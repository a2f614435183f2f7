"""Decide for which grants a media packet is written. No I/O.

1. A packet is written for a grant if its flow was routed to that grant when the packet came, and
   before that grant's own end. That another grant let the packet pass the kernel gives no right.
2. A route stays, with its end, until everything that came before that end has been read from the
   ring; so the last packets of a call are not lost, and a port that is used again takes none over.
3. The common case costs one look-up: a flow that had one and the same grant for long enough has
   that grant's buffer as its sink. In every other case the sink is a junction that compares times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.capture.moments import NEVER, OffsetWatch

Sink = Callable[[bytes], None]


class Line:
    """One grant's end of the wiring: its buffer of packet blocks, and its end on the boot clock."""

    __slots__ = ("buffer", "deadline", "ends_at")

    def __init__(self, deadline: int) -> None:
        self.buffer: list[bytes] = []
        self.deadline = deadline
        #: Set once the deadline has passed or the capture is being closed; never moved back.
        self.ends_at = NEVER

    def end(self, boot_ns: int) -> None:
        """Let the line end at a boot time, or earlier if it has ended already."""
        self.ends_at = min(self.ends_at, self.deadline, boot_ns)


@dataclass(slots=True)
class Leg:
    """A flow's packets go to `line` from `since` to `until`, on the boot clock."""

    line: Line
    since: int
    until: int = NEVER


class Junction:
    """A sink that gives a packet to those of its legs that may have it."""

    __slots__ = ("_watch", "legs")

    def __init__(self, legs: Sequence[Leg], watch: OffsetWatch) -> None:
        self.legs = tuple(legs)
        self._watch = watch

    def __call__(self, block: bytes) -> None:
        """Write a packet block where it belongs; its time is read from it."""
        wall = int.from_bytes(block[12:20], "big")
        earliest, latest = self._watch.earliest(wall), self._watch.latest(wall)
        for leg in self.legs:
            if latest >= leg.since and earliest < leg.until and latest < leg.line.ends_at:
                leg.line.buffer.append(block)


class RouteTable:
    """The flows of one ring. Changed under its owner's lock; `sinks` is read without it."""

    def __init__(self, watch: OffsetWatch) -> None:
        self._watch = watch
        self._legs: dict[bytes, list[Leg]] = {}
        self._keys: dict[Line, Counter[bytes]] = {}
        self._unsettled: dict[bytes, int] = {}
        self.sinks: dict[bytes | None, Sink] = {}
        #: Counts the changes of `sinks`.
        self.changes = 0

    @property
    def sole(self) -> Line | None:
        """The line that alone has had routes for as long as a packet may be on its way."""
        if len(self._keys) != 1:
            return None
        (line,) = self._keys
        return line if line.ends_at == NEVER else None

    def add(self, key: bytes, line: Line, now: int) -> None:
        """Route a flow to a line from now on; one that is routed there already stays as it is."""
        legs = self._legs.setdefault(key, [])
        if not any(leg.line is line and leg.until == NEVER for leg in legs):
            legs.append(Leg(line=line, since=now))
            self._keys.setdefault(line, Counter())[key] += 1
            self._unsettle(key, now)

    def remove(self, key: bytes, line: Line, now: int) -> None:
        """End a flow's route to a line."""
        for leg in self._legs.get(key, ()):
            if leg.line is line and leg.until == NEVER:
                leg.until = now
                self._unsettle(key, now)

    def end(self, line: Line, boot_ns: int) -> None:
        """End a line with all its routes, at a boot time that may have passed already."""
        line.end(boot_ns)
        for key in self._keys.get(line, ()):
            self._unsettle(key, boot_ns)

    def settle(self, read_through: int) -> None:
        """Drop what ended before everything up to this boot time was read; straighten the rest."""
        ripe = [key for key, changed in self._unsettled.items() if changed <= read_through]
        for key in ripe:
            del self._unsettled[key]
            self._drop(key, read_through)
            self._connect(key)

    def _unsettle(self, key: bytes, now: int) -> None:
        self._unsettled[key] = max(now, self._unsettled.get(key, 0))
        self._connect(key)

    def _drop(self, key: bytes, read_through: int) -> None:
        kept = []
        for leg in self._legs[key]:
            if min(leg.until, leg.line.ends_at) > read_through:
                kept.append(leg)
                continue
            self._forget(key, leg.line)
        self._legs[key] = kept

    def _forget(self, key: bytes, line: Line) -> None:
        keys = self._keys[line]
        keys[key] -= 1
        if not keys[key]:
            del keys[key]
        if not keys:
            del self._keys[line]

    def _connect(self, key: bytes) -> None:
        self.changes += 1
        legs = self._legs[key]
        if not legs:
            del self._legs[key]
            self.sinks.pop(key, None)
            return
        (first, *others) = legs
        straight = not others and key not in self._unsettled and first.line.ends_at == NEVER
        self.sinks[key] = first.line.buffer.append if straight else Junction(legs, self._watch)
