"""Capture for many grants at once: from two media rings and from the signalling given to it.

1. A grant has one level. Media of `media_headers` comes from the headers ring alone, of `content`
   from the content ring alone, of `signalling` from none.
2. Each grant has its own writer, segments, recipients and end, and learns nothing of the others.
3. The kernel ends a capture. This engine compares again, because a packet may have passed for
   another grant (`routing`, rule 1).
4. Every outcome is delivered: each sealed segment, each failure, and `CaptureClosed` as the last.

The order that a driver keeps: `open`, `route`, then arm the kernel; disarm the kernel, then
`unroute` or `close`. `deliver` is called from the engine's threads and must not call back into it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import Self

from agents.capture.drain import Outlet, Ring, RingDrain
from agents.capture.frames import flow_octets
from agents.capture.interfaces import Interfaces, kernel_name
from agents.capture.moments import Clock, OffsetWatch
from agents.capture.outcomes import (
    CaptureClosed,
    CaptureFailed,
    Failure,
    LimitReached,
    Outcome,
    Totals,
)
from agents.capture.pcapng import INBOUND, OUTBOUND, packet_block
from agents.capture.sealing import SegmentLimits
from agents.capture.section import Batch, blocks_within
from agents.capture.segments import SegmentWriter
from agents.capture.spool import Spool
from agents.core.flow import FlowKey
from guard.core.level import Level

Deliver = Callable[[Outcome], None]

_CLOSE_SECONDS = 30.0


class NotOpen(LookupError):  # noqa: N818  the state of a capture, named as such
    """No capture of this grant is open."""


class DeadlinePassed(Exception):  # noqa: N818  the state of a capture, named as such
    """The capture has ended by itself; its end is not moved any more."""


class Capture:
    """One grant's capture: its limit, its writer, and the line from its ring."""

    def __init__(
        self,
        grant_id: str,
        level: Level,
        *,
        deadline: int,
        limit_bytes: int | None,
        interfaces: Interfaces,
        deliver: Deliver,
        writer: Callable[[Deliver], SegmentWriter],
    ) -> None:
        self.grant_id = grant_id
        self.level = level
        self.closed: Future[CaptureClosed] = Future()
        self._limit = limit_bytes
        self._left = limit_bytes
        self._interfaces = interfaces
        self._deliver = deliver
        self._mutex = threading.Lock()
        self.writer = writer(self._pass_on)
        self.outlet = Outlet(deadline, self.take, self.writer.add_drops)

    def take(self, blocks: list[bytes]) -> None:
        """Write packet blocks, up to the limit and not one packet further."""
        with self._mutex:
            if self._left == 0:
                return
            batch = Batch.of(blocks, interfaces=len(self._interfaces.names))
            reached = self._left is not None and batch.octets >= self._left
            if self._left is not None:
                if reached:
                    blocks = blocks_within(blocks, self._left)
                self._left = 0 if reached else self._left - batch.octets
        if reached and blocks:
            batch = Batch.of(blocks, interfaces=batch.interfaces)
        if blocks:
            self.writer.write(batch)
        if reached and self._limit is not None:
            self._deliver(LimitReached(grant_id=self.grant_id, limit_bytes=self._limit))

    def _pass_on(self, outcome: Outcome) -> None:
        try:
            self._deliver(outcome)
        finally:
            if isinstance(outcome, CaptureClosed):
                self.closed.set_result(outcome)


class CaptureEngine:
    """Runs captures; thread-safe. `clock` reads the boot and the wall clock together."""

    def __init__(
        self,
        *,
        headers: Ring,
        content: Ring,
        spool: Spool,
        clock: Clock,
        deliver: Deliver,
        limits: SegmentLimits | None = None,
        name_of: Callable[[int], str] = kernel_name,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._deliver = deliver
        self._limits = limits or SegmentLimits()
        self._interfaces = Interfaces(name_of)
        self._mutex = threading.Lock()
        self._watch = OffsetWatch(clock)
        self._captures: dict[str, Capture] = {}
        self._closing: set[Future[CaptureClosed]] = set()
        self._drains = {
            level: RingDrain(
                ring,
                clock=clock,
                interfaces=self._interfaces,
                on_failure=partial(self._ring_failed, level),
            )
            for level, ring in ((Level.MEDIA_HEADERS, headers), (Level.CONTENT, content))
        }

    def __enter__(self) -> Self:
        """Start draining."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every capture and stop."""
        self.stop()

    def start(self) -> None:
        """Start draining the rings."""
        for drain in self._drains.values():
            drain.start()

    def stop(self) -> None:
        """Close every capture, wait until their last segments are sealed, stop draining."""
        for grant_id in list(self._captures):
            self.close(grant_id)
        wait(list(self._closing), _CLOSE_SECONDS)
        for drain in self._drains.values():
            drain.stop()

    def open(
        self,
        grant_id: str,
        level: Level,
        authority_reference: str,
        recipients: Sequence[str],
        interfaces: Iterable[str],
        boot_deadline: int,
        *,
        limit_bytes: int | None = None,
    ) -> None:
        """Begin a capture that ends at `boot_deadline` (boot clock, nanoseconds).

        `interfaces` are the names to describe in every segment. Raises `ValueError` for a grant
        that is open already, a level that is none, a recipient that is none; `RuntimeError` if the
        level's ring has failed.
        """
        drain = self._drains.get(Level(level))
        if drain and drain.over:
            raise RuntimeError("the ring of this level has failed")
        self._interfaces.describe(interfaces)
        with self._mutex:
            if grant_id in self._captures:
                raise ValueError("a capture of this grant is open already")
            capture = Capture(
                grant_id,
                Level(level),
                deadline=boot_deadline,
                limit_bytes=limit_bytes,
                interfaces=self._interfaces,
                deliver=self._deliver,
                writer=lambda deliver: SegmentWriter(
                    grant_id=grant_id,
                    reference=authority_reference,
                    recipients=recipients,
                    interfaces=self._interfaces.names,
                    spool=self._spool,
                    limits=self._limits,
                    deliver=deliver,
                ),
            )
            self._captures[grant_id] = capture
        if drain:
            drain.open(capture.outlet)

    def route(self, level: Level, flow: FlowKey, grant_ids: Iterable[str]) -> None:
        """Give the media to `flow` to these grants from now on, beside those that have it.

        Raises `NotOpen`, and `ValueError` for a grant of another level; then none is changed.
        """
        captures = self._of_level(level, grant_ids)
        key = flow_octets(flow)
        for capture in captures:
            self._drains[capture.level].route(key, capture.outlet)

    def unroute(self, level: Level, flow: FlowKey, grant_ids: Iterable[str]) -> None:
        """Give packets that come after now to these grants no more; errors as in `route`."""
        captures = self._of_level(level, grant_ids)
        key = flow_octets(flow)
        for capture in captures:
            self._drains[capture.level].unroute(key, capture.outlet)

    def write_signalling(
        self,
        grant_id: str,
        frame: bytes,
        timestamp_ns: int,
        original_length: int,
        interface: int,
        outgoing: bool,  # noqa: FBT001  a datagram's own field, passed on
    ) -> None:
        """Write one frame of signalling; nothing is written that may have come after the end.

        `timestamp_ns` is wall time, `interface` the kernel's index. Raises `NotOpen`.
        """
        capture = self._capture(grant_id)
        with self._mutex:
            overdue = self._watch.sample() >= capture.outlet.deadline
            if overdue and self._watch.latest(timestamp_ns) >= capture.outlet.deadline:
                return
        block = packet_block(
            frame,
            timestamp_ns,
            original=original_length,
            interface=self._interfaces[interface],
            direction=OUTBOUND if outgoing else INBOUND,
        )
        capture.take([block])

    def move_deadline(self, grant_id: str, boot_ns: int) -> None:
        """Move the end of a capture; raises `NotOpen`, and `DeadlinePassed` if it has ended."""
        capture = self._capture(grant_id)
        drain = self._drains.get(capture.level)
        if drain:
            moved = drain.move_deadline(capture.outlet, boot_ns)
        else:
            moved = self._clock()[0] < capture.outlet.deadline
            if moved:
                capture.outlet.deadline = boot_ns
        if not moved:
            raise DeadlinePassed("the capture has ended by itself")

    def counters(self, grant_id: str) -> Totals:
        """Return what the capture has taken so far; raises `NotOpen`."""
        return self._capture(grant_id).writer.totals

    def close(self, grant_id: str) -> Future[CaptureClosed]:
        """End a capture now. What came before now is still read from the ring and sealed.

        The result is the same `CaptureClosed` that is delivered, and is there after it: its
        `last_segments` were delivered before. Raises `NotOpen`.
        """
        with self._mutex:
            if grant_id not in self._captures:
                raise NotOpen("no capture of this grant is open")
            capture = self._captures.pop(grant_id)
            self._closing.add(capture.closed)
        capture.closed.add_done_callback(self._closing.discard)
        drain = self._drains.get(capture.level)
        if drain:
            drain.close(capture.outlet, capture.writer.close)
        else:
            capture.writer.close()
        return capture.closed

    def _capture(self, grant_id: str) -> Capture:
        try:
            return self._captures[grant_id]
        except KeyError:
            raise NotOpen("no capture of this grant is open") from None

    def _of_level(self, level: Level, grant_ids: Iterable[str]) -> list[Capture]:
        captures = [self._capture(grant_id) for grant_id in grant_ids]
        if level not in self._drains or any(capture.level != level for capture in captures):
            raise ValueError("a flow is routed to grants of its own level only")
        return captures

    def _ring_failed(self, level: Level, error: BaseException) -> None:
        with self._mutex:
            ended = [one for one in self._captures.values() if one.level == level]
        for capture in ended:
            self._deliver(
                CaptureFailed(
                    grant_id=capture.grant_id,
                    failure=Failure.RING_FAILED,
                    detail=type(error).__name__,
                )
            )
