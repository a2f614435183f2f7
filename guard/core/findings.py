"""Findings: where what nodes state and what the guard granted do not meet.

1. A finding has a stable key: the same thing found again, after a restart too, is the same finding.
2. It is on record twice, when it is found (`finding`) and when it is over (`finding_closed`).
   `notice_undelivered` is shown while it lasts, and what it is about is on record anyway.
3. It holds ids, names, numbers and one sentence for people; no subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from guard.core.fields import format_time

__all__ = ["Finding", "FindingKind"]


class FindingKind(StrEnum):
    """What does not meet."""

    GRANTED_NOT_ARMED = "granted_not_armed"
    ARMED_NOT_GRANTED = "armed_not_granted"
    SEALED_NOT_RECEIVED = "sealed_not_received"
    CHAIN_BROKEN = "chain_broken"
    NODE_SILENT = "node_silent"
    NODE_UNTRUSTED = "node_untrusted"
    RECORD_UNREADABLE = "record_unreadable"
    NOTICE_UNDELIVERED = "notice_undelivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. ``since``: when it began, aware UTC; ``detail``: one sentence for people.

    ``number`` counts what the kind is about: a segment, a receipt, a record's index.
    """

    kind: FindingKind
    since: datetime
    detail: str
    node: str | None = None
    grant_id: str | None = None
    authority_id: str | None = None
    number: int | None = None

    @property
    def key(self) -> str:
        """Name the finding (rule 1). A node's chain and the log have one at a time."""
        about: list[str | int | None] = [self.node, self.grant_id]
        if self.kind is FindingKind.SEALED_NOT_RECEIVED:
            about.append(self.number)
        return ":".join([self.kind.value, *(str(each) for each in about if each is not None)])

    def body(self) -> dict[str, Any]:
        """Return the body of the record `finding`."""
        about = {
            "authority_id": self.authority_id,
            "grant_id": self.grant_id,
            "node": self.node,
            "number": self.number,
        }
        return {
            "detail": self.detail,
            "key": self.key,
            "since": format_time(self.since),
            "what": self.kind.value,
            **{name: value for name, value in about.items() if value is not None},
        }
