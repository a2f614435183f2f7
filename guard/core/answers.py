"""What the answers to an auditor's questions share: verdicts and discrepancies.

A discrepancy is where what the records show and what should be do not meet. Each has a kind for
machines, one sentence for people, and the index of the record that shows it; one about something
that is missing has none. A sentence holds ids, names, numbers and times, never a subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Discrepancy", "DiscrepancyKind", "Verdict", "in_order"]


class Verdict(StrEnum):
    """What the records show."""

    SHOWN = "shown"
    NOT_SHOWN = "not_shown"
    STILL_RUNNING = "still_running"
    TOO_EARLY = "too_early"


class DiscrepancyKind(StrEnum):
    """What does not meet."""

    # The records as such.
    RECORD_UNREADABLE = "record_unreadable"
    RECORDS_ERASED = "records_erased"
    TRUST_POLICY_UNTRUSTED = "trust_policy_untrusted"
    # Grants and their authorities.
    AUTHORITY_UNKNOWN = "authority_unknown"
    AUTHORITY_DIFFERS = "authority_differs"
    AUTHORITY_NOT_APPROVED = "authority_not_approved"
    AUTHORITY_ENDED = "authority_ended"
    NODE_NOT_NAMED = "node_not_named"
    GRANT_BEYOND_AUTHORITY = "grant_beyond_authority"
    GRANT_TWICE = "grant_twice"
    REQUESTER_WRONG = "requester_wrong"
    # What nodes state.
    RECEIPT_FORGED = "receipt_forged"
    CHAIN_BROKEN = "chain_broken"
    ANOTHER_NODE = "another_node"
    ARMED_WITHOUT_GRANT = "armed_without_grant"
    SEALED_WITHOUT_GRANT = "sealed_without_grant"
    LISTED_WITHOUT_GRANT = "listed_without_grant"
    ARMED_OUTSIDE_GRANT = "armed_outside_grant"
    PACKET_OUTSIDE_GRANT = "packet_outside_grant"
    PACKET_OUTSIDE_AUTHORITY = "packet_outside_authority"
    PACKET_AFTER_END = "packet_after_end"
    ARMED_AFTER_END = "armed_after_end"
    LISTED_AFTER_END = "listed_after_end"
    SEGMENT_WITHOUT_RECEIPT = "segment_without_receipt"
    # What is missing for an answer.
    NOT_DISARMED = "not_disarmed"
    NOT_HEARD = "not_heard"
    NODE_UNKNOWN = "node_unknown"
    HEARTBEAT_MISSING = "heartbeat_missing"
    CLOCK_WENT_BACK = "clock_went_back"
    CAPTURED = "captured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One discrepancy; ``index`` is that of the record which shows it, None for a missing one."""

    kind: DiscrepancyKind
    sentence: str
    index: int | None = None


def in_order(found: Iterable[Discrepancy]) -> tuple[Discrepancy, ...]:
    """Return each once, in the order of their records, what is missing last."""
    distinct = dict.fromkeys(found)
    return tuple(sorted(distinct, key=lambda each: (each.index is None, each.index or 0)))
