"""What tried to capture without a grant, or could have: on record, at once, and within bounds.

1. Every finding becomes an `incident` receipt with what, verb, call and asker. The call is named
   by the SHA-256 of its Call-ID, so that who has the call's signalling can tell it and nobody else.
2. A minute holds at most `MOST` receipts of each kind. What comes beyond them is counted and told
   in one receipt when the minute is over: a flood is on record, does not fill the log, and hides
   nothing of another kind.
3. What clients cause at will and is equal in everything within a minute is one receipt and a count.
   What the agent itself finds is told every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from agents.core import commands as do
from agents.core.commands import Command, Log
from agents.core.instant import NANOSECONDS, Instant
from agents.core.receipts import Draft
from guard.core.receipt import ReceiptKind

__all__ = ["MOST", "Incidents"]

MOST: Final = 600
_MINUTE: Final = 60 * NANOSECONDS
_LONGEST = 200

_BY_CLIENTS = frozenset(
    (
        "message_refused",
        "recording_refused",
        "recording_trimmed",
        "recording_denied",
        "recording_permitted",
        "operator_asked",
    )
)

_Finding = tuple[str, tuple[tuple[str, str | int], ...]]


@dataclass(slots=True)
class Incidents:
    """One node's findings. Times are boot-clock nanoseconds."""

    _told: Counter[str] = field(default_factory=Counter)
    _equal: set[_Finding] = field(default_factory=set)
    _untold: Counter[str] = field(default_factory=Counter)
    _until: int | None = None

    def next_deadline(self) -> int | None:
        """Return when the minute is over."""
        return self._until

    def found(
        self, what: str, call_id: bytes | None, details: Mapping[str, str | int], now: Instant
    ) -> list[Command]:
        """Put a finding on record (rule 1)."""
        commands = self.wake_up(now)
        if self._until is None:
            self._until = now.boot_ns + _MINUTE
        said: dict[str, str | int] = {"what": what}
        if call_id is not None:
            said["call"] = sha256(call_id).hexdigest()
        said |= {name: _plain(value) for name, value in details.items()}
        finding = (what, tuple(sorted(said.items())))
        equal = what in _BY_CLIENTS and finding in self._equal
        if equal or self._told[what] >= MOST:
            self._untold[what] += 1
            return commands
        self._told[what] += 1
        self._equal.add(finding)
        return [*commands, *_receipt(said, now)]

    def wake_up(self, now: Instant) -> list[Command]:
        """Tell, when the minute is over, what was not told (rules 2 and 3)."""
        if self._until is None or self._until > now.boot_ns:
            return []
        untold, self._untold = self._untold, Counter()
        self._told.clear()
        self._equal.clear()
        self._until = None
        return [
            command
            for what, count in sorted(untold.items())
            for command in _receipt({"what": what, "more": count}, now)
        ]


def _plain(value: str | int) -> str | int:
    """Make one line of what may come from outside."""
    if isinstance(value, int):
        return value
    plain = "".join(each if each.isprintable() else "?" for each in value)
    return plain.strip()[:_LONGEST] or "?"


def _receipt(said: Mapping[str, str | int], now: Instant) -> list[Command]:
    draft = Draft(kind=ReceiptKind.INCIDENT, time=now.wall, grant_id=None, details=said)
    return [
        do.SendReceipt(draft=draft),
        Log("incident", tuple(said.items()), warning=True),
    ]
