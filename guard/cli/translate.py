"""The API's messages as JSON and words. What the guard shows is display: nothing here trusts it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1.authority_service_pb2 import Authority, AuthorityState
from guard.api.v1.capture_service_pb2 import Capture, CaptureState
from guard.core.fields import format_time

__all__ = [
    "authority_json",
    "authority_state",
    "capture_json",
    "capture_state",
    "moment",
    "wire_name",
]


def moment(stamp: Timestamp) -> datetime:
    """Return a time of the wire, UTC."""
    return stamp.ToDatetime(UTC)


def _time(shown: Authority | Capture, name: Literal["not_before", "not_after"]) -> str | None:
    """Return a time for machines; None of what is not shown to the caller."""
    return format_time(moment(getattr(shown, name))) if shown.HasField(name) else None


def authority_state(shown: Authority) -> str:
    """Return the state as `guard.core.lifecycle` spells it."""
    return wire_name(AuthorityState, shown.state, "AUTHORITY_STATE_")


def capture_state(shown: Capture) -> str:
    """Return the state as `guard.core.lifecycle` spells it."""
    return wire_name(CaptureState, shown.state, "CAPTURE_STATE_")


def wire_name(enumeration: Any, number: int, prefix: str) -> str:  # noqa: ANN401 - protobuf's wrapper
    """Return the name of a value, lower-case and without its prefix.

    A number that a newer guard knows and this side does not is written as a number.
    """
    if number not in enumeration.values():
        return f"{prefix.lower()}{number}"
    return str(enumeration.Name(number)).removeprefix(prefix).lower()


def authority_json(shown: Authority) -> dict[str, Any]:
    """Return an authority for machines; of one that is not shown there are id and state only."""
    return {
        "id": shown.id,
        "instrument": shown.instrument,
        "reference": shown.reference,
        "level": shown.level,
        "nodes": list(shown.nodes),
        "state": authority_state(shown),
        "not_before": _time(shown, "not_before"),
        "not_after": _time(shown, "not_after"),
        "signers": list(shown.signers),
        "missing": shown.missing,
        "enforcement": shown.enforcement or None,
    }


def capture_json(shown: Capture) -> dict[str, Any]:
    """Return a capture for machines; ``lease_until`` is null until it is armed."""
    lease = format_time(moment(shown.lease_until)) if shown.HasField("lease_until") else None
    return {
        "id": shown.id,
        "authority_id": shown.authority_id,
        "reference": shown.reference,
        "node": shown.node,
        "level": shown.level,
        "state": capture_state(shown),
        "why": shown.why,
        "not_before": _time(shown, "not_before"),
        "not_after": _time(shown, "not_after"),
        "lease_until": lease,
        "calls": shown.counters.calls,
        "packets": shown.counters.packets,
        "bytes": shown.counters.bytes,
        "drops": shown.counters.drops,
        "segments": shown.segments,
        "sealed_bytes": shown.sealed_bytes,
    }
