"""What the node says of a capture: receipts, counters, and lines for its own log.

Every receipt's details are numbers and words of the vocabulary; none holds a subject.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.core import commands as do
from agents.core import events as on
from agents.core.armed import Armed, Closing
from agents.core.commands import ArmedCapture, Command, Log
from agents.core.dialogevents import NotFollowed
from agents.core.instant import NANOSECONDS, Instant
from agents.core.leases import Lease
from agents.core.receipts import Draft
from agents.core.verifier import VerifiedGrant
from guard.core.reasons import Refused
from guard.core.receipt import ReceiptKind

__all__ = ["armed", "closed", "disarmed", "failed", "not_followed", "refused", "running", "sealed"]


def armed(
    grant: VerifiedGrant, lease: Lease, now: Instant, *, undecided: str, media: str
) -> list[Command]:
    """Report that a grant is armed, and that the clock was believed then.

    ``undecided``: kinds of packets on SIP ports that pass the kernel unread while anything is
    armed, and are looked at in the agent's memory. ``media``: where the media is taken from.
    """
    grant_id, level = lease.grant_id, grant.level.value
    seconds = lease.length // NANOSECONDS
    return [
        do.PersistClock(wall=now.wall),
        _receipt(
            ReceiptKind.ARMED,
            grant_id,
            now,
            level=level,
            lease_seconds=seconds,
            undecided=undecided,
            media=media,
        ),
        Log("armed", (("grant", grant_id), ("reach", level))),
    ]


def refused(grant_id: str, why: Refused, now: Instant) -> list[Command]:
    """Report that a grant was refused, by the rule's own name."""
    reason = why.reason.value
    fields = (("grant", grant_id), ("reason", reason), ("detail", why.detail))
    return [
        _receipt(ReceiptKind.REFUSED, grant_id, now, reason=reason),
        Log("refused", fields, warning=True),
    ]


def sealed(segment: on.SegmentSealed, now: Instant) -> list[Command]:
    """Report a segment, then offer it."""
    receipt = _receipt(
        ReceiptKind.SEALED,
        segment.grant_id,
        now,
        number=segment.number,
        sha256=segment.sha256,
        size=segment.size,
        packets=segment.packets,
        bytes=segment.bytes,
        drops=segment.drops,
        first=segment.first,
        last=segment.last,
    )
    return [receipt, do.OfferSegment(grant_id=segment.grant_id, number=segment.number)]


def disarmed(grant_id: str, why: str, now: Instant) -> list[Command]:
    """Report that a grant which did not run here will not."""
    return [_receipt(ReceiptKind.DISARMED, grant_id, now, reason=why)]


def closed(closing: Closing, totals: on.CaptureClosed, now: Instant) -> list[Command]:
    """Report the end of a capture, with what it came to since it was armed."""
    details: dict[str, str | int] = {
        "reason": closing.why,
        "packets": totals.packets,
        "bytes": totals.bytes,
        "drops": totals.drops,
        "calls": closing.armed.calls,
    }
    if closing.armed.not_followed:
        details["not_followed"] = ",".join(sorted(closing.armed.not_followed))
    nothing = closing.for_good and closing.armed.before.packets + totals.packets == 0
    grant_id = totals.grant_id
    return [
        *([_receipt(ReceiptKind.NOTHING_CAPTURED, grant_id, now)] if nothing else []),
        _receipt(ReceiptKind.DISARMED, grant_id, now, **details),
        Log("disarmed", (("grant", grant_id), ("reason", closing.why))),
    ]


def not_followed(capture: Armed, event: NotFollowed) -> list[Command]:
    """Log what of a call is not followed, once per capture; its last receipt says it too."""
    finding = event.finding.value
    if finding in capture.not_followed:
        return []
    capture.not_followed.add(finding)
    fields = (("grant", capture.grant.grant.id), ("finding", finding))
    return [Log("not_followed", fields, warning=True)]


def failed(grant_id: str, detail: str) -> list[Command]:
    """Log why the node cannot go on with a capture."""
    return [Log("capture_failed", (("grant", grant_id), ("detail", detail)), warning=True)]


def running(captures: Iterable[tuple[Armed, Lease]], now: Instant) -> tuple[ArmedCapture, ...]:
    """Say what is armed, and until when unless it is renewed."""
    return tuple(
        ArmedCapture(
            grant_id=lease.grant_id,
            level=each.grant.level,
            calls=each.before.calls + each.calls,
            packets=each.before.packets + each.packets,
            bytes=each.before.bytes + each.bytes,
            drops=each.drops,
            lease_until=now.wall_of(lease.deadline),
        )
        for each, lease in captures
    )


def _receipt(kind: ReceiptKind, grant_id: str, now: Instant, **details: str | int) -> Command:
    return do.SendReceipt(draft=Draft(kind=kind, time=now.wall, grant_id=grant_id, details=details))
