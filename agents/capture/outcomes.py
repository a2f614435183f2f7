"""What the capture side reports: values only, handed from its threads to whoever drives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

_SECOND = 1_000_000_000


def wall_text(nanoseconds: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339 in UTC: whole seconds, or six digits of them."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = rest // 1000
    return f"{whole}.{micros:06d}Z" if micros else f"{whole}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSegment:
    """One sealed file, complete and durable, waiting for the guard.

    `bytes` counts the octets of the captured frames, `size` those of the sealed file; `drops` are
    packets that should be in this segment and are not; `first` and `last` are RFC 3339 wall times.
    """

    grant_id: str
    number: int
    path: Path
    sha256: str
    size: int
    packets: int
    bytes: int
    drops: int
    first: str
    last: str


class Loss(StrEnum):
    """Why a segment found on disk is not a segment."""

    UNFINISHED = "unfinished"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class LostSegment:
    """A number that was begun and never announced, found when the spool was opened."""

    grant_id: str
    number: int
    loss: Loss


class Failure(StrEnum):
    """Why a capture ended before it was told to."""

    SPOOL_FULL = "spool_full"
    SEALING_FAILED = "sealing_failed"
    RING_FAILED = "ring_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What one capture has taken: packets and their octets, drops, wall time of the last packet."""

    packets: int = 0
    bytes: int = 0
    drops: int = 0
    last_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSealed:
    """A segment is ready for upload."""

    segment: SealedSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFailed:
    """A capture writes nothing any more. `detail` names the error, never a packet."""

    grant_id: str
    failure: Failure
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached:
    """The authority's limit on octets is used up; the capture writes nothing any more."""

    grant_id: str
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureClosed:
    """The last word on a capture: after it nothing more comes for this grant."""

    grant_id: str
    totals: Totals
    last_segments: tuple[SealedSegment, ...]


Outcome = SegmentSealed | CaptureFailed | LimitReached | CaptureClosed
