"""Evidence that may be good in a moment.

1. What is only early by a few seconds waits for its time: clocks differ a little.
2. What comes while the clock is in doubt waits as long: a frozen agent wakes up to old messages,
   and the doubt that these raise passes with the next word of the guard.
3. What demands more than the sentry enforces waits as long: it may be about to prove its doors, or
   to follow a new trust policy.
4. Nothing waits longer than `PATIENCE`, and no more than `MOST` wait at once; then it is refused.
5. The same refusal of the same grant is put on record once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.core.instant import NANOSECONDS, Instant
from guard.core.evidence import Evidence
from guard.core.grant import Grant
from guard.core.reasons import Reason, Refused

__all__ = ["MOST", "PATIENCE", "Held", "Waiting"]

PATIENCE = 3 * NANOSECONDS
RETRY = NANOSECONDS // 5
MOST = 64
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Evidence to be tried again at ``retry`` and refused from ``until`` on (boot clock)."""

    evidence: Evidence = field(repr=False)
    retry: int
    until: int


class Waiting:
    """Held evidence by grant id, and the refusals already told."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._told: dict[tuple[str, Reason], None] = {}

    def hold(self, grant: Grant, evidence: Evidence, refused: Refused, now: Instant) -> bool:
        """Keep the evidence for another try; False when it is to be refused now (rules 1 to 4)."""
        early = grant.window.not_before <= now.wall_of(now.boot_ns + PATIENCE)
        if not (
            refused.reason in {Reason.CLOCK_IN_DOUBT, Reason.NODE_NOT_ENFORCING}
            or (refused.reason is Reason.NOT_YET_VALID and early)
        ):
            return False
        before = self._held.get(grant.id)
        until = now.boot_ns + PATIENCE if before is None else before.until
        if until <= now.boot_ns or (before is None and len(self._held) >= MOST):
            return False
        self._held[grant.id] = Held(evidence=evidence, retry=now.boot_ns + RETRY, until=until)
        return True

    def drop(self, grant_id: str) -> None:
        """Let go of what waits for this grant."""
        self._held.pop(grant_id, None)

    def due(self, now: int) -> list[Evidence]:
        """Return what is to be tried again; it stays held until it is dropped."""
        return [held.evidence for held in self._held.values() if held.retry <= now]

    def all(self) -> list[Evidence]:
        """Return everything that waits; it stays held until it is dropped."""
        return [held.evidence for held in self._held.values()]

    def next_deadline(self) -> int | None:
        """Return when something will be due."""
        return min((held.retry for held in self._held.values()), default=None)

    def first_told(self, grant_id: str, reason: Reason) -> bool:
        """Note a refusal; say whether it is the first of its kind for this grant (rule 5)."""
        if (grant_id, reason) in self._told:
            return False
        self._told[grant_id, reason] = None
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        return True
