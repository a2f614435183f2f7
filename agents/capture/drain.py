"""Empty one media ring: every packet becomes a packet block and goes where its flow is routed.

1. The wall and boot clocks are read before each block of the ring is taken. While a grant's end is
   still to come at that moment, everything in the block came before it; after that each packet is
   compared (`routing`, rule 1).
2. As long as one grant alone has routes, its packets are not looked up. Whoever arms a flow in the
   kernel routes it here first, so that no packet of another grant is in the ring by then.
3. What the ring dropped is counted to every capture that it serves: whose packets they were cannot
   be known, and no drop is kept from anybody.
4. A ring that fails ends every capture that it serves, with its reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Protocol

from agents.capture.frames import PLAIN_IPV4, destination
from agents.capture.interfaces import Interfaces
from agents.capture.moments import NEVER, Clock, OffsetWatch
from agents.capture.pcapng import packet_packer
from agents.capture.routing import Line, RouteTable, Sink

Packet = tuple[int, int, int, int, int, memoryview]
"""Seconds, nanoseconds (wall clock), captured and original length, interface index, frame."""

SETTLE_NS = 200_000_000
"""A packet is readable from the ring at most this long after it came: several times the 20 ms
after which the kernel hands over a block that is not full."""

_POLL_MS = 50
_FLUSH_NS = 500_000_000
_FLUSH_PACKETS = 1024
_FLUSH_PARTS = 32
_MOST_SHORTCUTS = 1 << 16
_SECOND = 1_000_000_000
_ENHANCED_PACKET = 6


class Ring(Protocol):
    """A packet ring. The frames of a block are valid until its iterator ends."""

    def poll(self, timeout_ms: int) -> bool:
        """Wait for a block at most so many milliseconds; say whether one is ready."""

    def read_block(self) -> Iterator[Packet]:
        """Yield the packets of the next ready block; none if there is no block."""

    def statistics(self) -> tuple[int, int]:
        """Return (received, dropped) since the ring was opened."""


class Outlet(Line):
    """A line whose buffered blocks go to `write`; `add_drops` hears of drops."""

    __slots__ = ("add_drops", "flush_at", "write")

    def __init__(
        self,
        deadline: int,
        write: Callable[[list[bytes]], None],
        add_drops: Callable[[int], None],
    ) -> None:
        super().__init__(deadline)
        self.write = write
        self.add_drops = add_drops
        self.flush_at = 0


class Packers(dict[int, tuple[Struct, int]]):
    """The layout of a packet block, by the captured length of its frame."""

    def __missing__(self, captured: int) -> tuple[Struct, int]:
        made = self[captured] = packet_packer(captured)
        return made


def _nobody(_: bytes) -> None:
    """Take a packet that no grant may have."""


class RingDrain:
    """Drains one ring in a thread of its own until stopped. `on_failure` gets the fatal error."""

    def __init__(
        self,
        ring: Ring,
        *,
        clock: Clock,
        interfaces: Interfaces,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._ring = ring
        self._clock = clock
        self._interfaces = interfaces
        self._on_failure = on_failure
        self._watch = OffsetWatch(clock)
        self._mutex = threading.Lock()
        self._table = RouteTable(self._watch)
        self._outlets: dict[Outlet, Callable[[], None] | None] = {}
        self._packers = Packers()
        self._shortcuts: dict[bytes, Sink] = {}
        self._shortcuts_of = -1
        self._next_end = NEVER
        self._read_through = 0
        self._counted_at = 0
        self._dropped = ring.statistics()[1]
        self._stopping = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    @property
    def over(self) -> bool:
        """Whether nothing is drained any more."""
        return self._over

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()

    def stop(self) -> None:
        """Stop draining and wait for the thread."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()

    def open(self, outlet: Outlet) -> None:
        """Serve a capture."""
        with self._mutex:
            self._outlets[outlet] = None
            self._next_end = min(self._next_end, outlet.deadline)
            # Captures that began together do not all wake their sealing threads together.
            part = len(self._outlets) % _FLUSH_PARTS
            outlet.flush_at = self._clock()[0] + _FLUSH_NS * part // _FLUSH_PARTS

    def route(self, key: bytes, outlet: Outlet) -> None:
        """Give a flow's packets to a capture from now on."""
        with self._mutex:
            self._table.add(key, outlet, self._clock()[0])

    def unroute(self, key: bytes, outlet: Outlet) -> None:
        """Give packets that come after now no more."""
        with self._mutex:
            self._table.remove(key, outlet, self._clock()[0])

    def move_deadline(self, outlet: Outlet, boot_ns: int) -> bool:
        """Move a deadline that has not passed; false if it has, and then nothing is changed."""
        with self._mutex:
            if outlet.ends_at != NEVER or self._clock()[0] >= outlet.deadline:
                return False
            outlet.deadline = boot_ns
            self._next_end = min(self._next_end, boot_ns)
            return True

    def close(self, outlet: Outlet, closed: Callable[[], None]) -> None:
        """End a capture now; `closed` is called when all that came before now was handed over."""
        with self._mutex:
            self._outlets[outlet] = closed
            self._table.end(outlet, self._clock()[0])
            if not self._over:
                return
        self._close_drained(everything=True)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:  # noqa: BLE001  rule 4: a drain never dies silently
            self._on_failure(error)
        with self._mutex:
            self._over = True
        self._close_drained(everything=True)

    def _turn(self) -> None:
        before = self._clock()[0]
        ready = self._ring.poll(_POLL_MS)
        now = self._watch.sample()
        if now >= self._next_end:
            self._end_overdue(now)
        if ready:
            self._read_through = max(self._read_through, self._take_block() - SETTLE_NS)
        else:
            self._read_through = max(self._read_through, before - SETTLE_NS)
        self._flush(now)
        with self._mutex:
            self._table.settle(self._read_through)
        self._close_drained()

    def _end_overdue(self, now: int) -> None:
        with self._mutex:
            for outlet in self._outlets:
                if now >= outlet.deadline and outlet.ends_at == NEVER:
                    self._table.end(outlet, outlet.deadline)
            running = [line.deadline for line in self._outlets if line.ends_at == NEVER]
            self._next_end = min(running, default=NEVER)

    def _take_block(self) -> int:
        """Take one block; returns the boot time that its last packet came at."""
        with self._mutex:
            sole = self._table.sole
        last = self._take_unseen(sole) if sole is not None else self._take_routed()
        return self._watch.earliest(last)

    def _take_unseen(self, line: Line) -> int:
        append, numbers, packers = line.buffer.append, self._interfaces, self._packers
        pack, total, length, number, came_in = packers[0][0].pack, 0, -1, 0, -1
        second, base, wall = -1, 0, 0
        for seconds, nanoseconds, captured, original, interface, frame in self._ring.read_block():
            if captured != length or interface != came_in:
                layout, total = packers[captured]
                pack, length = layout.pack, captured
                number, came_in = numbers[interface], interface
            if seconds != second:
                second, base = seconds, seconds * _SECOND
            wall = base + nanoseconds
            data = frame.tobytes()
            append(pack(_ENHANCED_PACKET, total, number, wall, captured, original, data, total))
        return wall

    def _take_routed(self) -> int:
        # The same loop with a look-up. A call of a function for each packet would cost as much.
        shortcuts = self._current_shortcuts()
        known, sinks = shortcuts.get, self._table.sinks.get
        numbers, packers = self._interfaces, self._packers
        pack, total, length, number, came_in = packers[0][0].pack, 0, -1, 0, -1
        second, base, wall = -1, 0, 0
        for seconds, nanoseconds, captured, original, interface, frame in self._ring.read_block():
            data = frame.tobytes()
            if data[12:15] == PLAIN_IPV4:
                sink = known(data[30:38])
                if sink is None:
                    sink = sinks(data[30:34] + data[36:38], _nobody)
                    shortcuts[data[30:38]] = sink
            else:
                sink = sinks(destination(data), _nobody)
            if captured != length or interface != came_in:
                layout, total = packers[captured]
                pack, length = layout.pack, captured
                number, came_in = numbers[interface], interface
            if seconds != second:
                second, base = seconds, seconds * _SECOND
            wall = base + nanoseconds
            sink(pack(_ENHANCED_PACKET, total, number, wall, captured, original, data, total))
        return wall

    def _current_shortcuts(self) -> dict[bytes, Sink]:
        """Return the sinks by destination and both ports, as they stand side by side in IPv4."""
        with self._mutex:
            if self._table.changes != self._shortcuts_of or len(self._shortcuts) > _MOST_SHORTCUTS:
                self._shortcuts_of, self._shortcuts = self._table.changes, {}
        return self._shortcuts

    def _flush(self, now: int) -> None:
        for outlet in list(self._outlets):
            due = now >= outlet.flush_at
            if due or len(outlet.buffer) >= _FLUSH_PACKETS:
                self._hand_over(outlet)
            if due:
                outlet.flush_at = now + _FLUSH_NS
        if now - self._counted_at >= _FLUSH_NS:
            self._counted_at = now
            self._count_drops()

    def _hand_over(self, outlet: Outlet) -> None:
        if not outlet.buffer:
            return
        # The sinks are bound to this list, so it is emptied and not replaced.
        blocks = outlet.buffer.copy()
        outlet.buffer.clear()
        outlet.write(blocks)

    def _count_drops(self) -> None:
        dropped = self._ring.statistics()[1]
        fresh, self._dropped = dropped - self._dropped, dropped
        if fresh:
            for outlet in list(self._outlets):
                outlet.add_drops(fresh)

    def _close_drained(self, *, everything: bool = False) -> None:
        with self._mutex:
            ready = [
                (outlet, closed)
                for outlet, closed in self._outlets.items()
                if closed is not None and (everything or self._read_through >= outlet.ends_at)
            ]
            for outlet, _ in ready:
                del self._outlets[outlet]
        for outlet, closed in ready:
            self._hand_over(outlet)
            closed()
