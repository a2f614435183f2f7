"""What the tests of the capture side share: packets and a collector of outcomes."""

from __future__ import annotations

import threading
from pathlib import Path

from agents.capture import pcapng
from agents.capture.outcomes import CaptureClosed, CaptureFailed, SegmentSealed
from agents.capture.section import Batch

GRANT = "0b7d1a52-5b0e-4a58-9d3c-0b1f6f0a2d11"
OTHER_GRANT = "5c2a3c7e-1111-4a58-9d3c-0b1f6f0a2d22"
NOW = 1_795_471_200_000_000_000


class Outcomes:
    """Collects what is delivered, and lets a test wait for it."""

    def __init__(self) -> None:
        self.all = []
        self._changed = threading.Condition()

    def __call__(self, outcome) -> None:
        with self._changed:
            self.all.append(outcome)
            self._changed.notify_all()

    def of(self, kind):
        """Return the outcomes of one kind."""
        return [outcome for outcome in list(self.all) if isinstance(outcome, kind)]

    def wait(self, kind, count: int = 1):
        """Return the outcomes of one kind once there are `count`; fails after ten seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, 10), self.all
        return self.of(kind)

    @property
    def segments(self):
        """The sealed segments, in the order of delivery."""
        return [outcome.segment for outcome in self.of(SegmentSealed)]

    @property
    def failures(self):
        """The failures."""
        return self.of(CaptureFailed)

    def closed(self):
        """Wait for the end and return it."""
        return self.wait(CaptureClosed)[0]


def batch(count: int = 1, *, start: int = 0, size: int = 214) -> Batch:
    """Return a batch of numbered packets: the number is the frame's first four octets."""
    blocks = [
        pcapng.packet_block(n.to_bytes(4, "big") + bytes(size - 4), NOW + 1000 * n, original=size)
        for n in range(start, start + count)
    ]
    return Batch.of(blocks, interfaces=1)


def files(root: Path) -> set[str]:
    """Return the names of all files below a folder, relative to it."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
