"""The one lease table: until when each armed grant may run.

1. A grant runs until the earlier of its own end and its lease's end. Both are boot-clock
   nanoseconds; the wall clock has no say once a grant is armed.
2. The own end is fixed when the grant is armed.
3. A renewal sets the lease's end to one lease length after the guard spoke, never to an earlier
   end than the one in force, and never beyond the own end.
4. A lapsed lease is over for good: a renewal that comes after the deadline is not applied, even
   when nobody has yet noticed that the deadline passed.
5. What has ended stays ended: its id cannot be armed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Lapse", "Lease", "LeaseTable"]


class Lapse(StrEnum):
    """Which of the two ends came first."""

    EXPIRED = "expired"
    LEASE_ENDED = "lease_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One grant's right to run; every field but the id in boot-clock nanoseconds."""

    grant_id: str
    ends: int
    length: int
    until: int

    @property
    def deadline(self) -> int:
        """The first nanosecond at which no packet may pass (rule 1)."""
        return min(self.ends, self.until)

    @property
    def lapse(self) -> Lapse:
        """What the deadline will be the end of."""
        return Lapse.EXPIRED if self.ends <= self.until else Lapse.LEASE_ENDED


class LeaseTable:
    """Leases by grant id, and the ids that have ended."""

    def __init__(self, ended: Iterable[str] = ()) -> None:
        self._leases: dict[str, Lease] = {}
        self._ended = set(ended)

    def __contains__(self, grant_id: object) -> bool:
        return grant_id in self._leases

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def __getitem__(self, grant_id: str) -> Lease:
        return self._leases[grant_id]

    @property
    def ended(self) -> AbstractSet[str]:
        """The ids that cannot be armed again (rule 5), as they are at any time."""
        return self._ended

    def arm(self, grant_id: str, *, ends: int, length: int, now: int) -> Lease:
        """Enter a grant whose own end is ``ends`` and whose lease is ``length`` long.

        Raises ValueError for one that has ended (rule 5), runs already, or would not run at all:
        the caller has verified the grant, so each of these is the caller's mistake.
        """
        if grant_id in self._ended:
            raise ValueError("an ended grant cannot be armed again")
        if grant_id in self._leases:
            raise ValueError("the grant is armed already")
        lease = Lease(grant_id=grant_id, ends=ends, length=length, until=now + length)
        if length <= 0 or lease.deadline <= now:
            raise ValueError("the grant has no time left")
        self._leases[grant_id] = lease
        return lease

    def renew(self, grant_id: str, *, heard: int, now: int) -> Lease | None:
        """Renew a lease on a word that the guard gave at ``heard``; None when it is not in force.

        ``heard`` is never taken to lie after ``now`` (rule 3).
        """
        lease = self._leases.get(grant_id)
        if lease is None or lease.deadline <= now:  # Rule 4.
            return None
        until = max(lease.until, min(heard, now) + lease.length)
        renewed = self._leases[grant_id] = replace(lease, until=until)
        return renewed

    def end(self, grant_id: str) -> None:
        """End a grant for good, whether it is armed or was never seen (rule 5)."""
        self._leases.pop(grant_id, None)
        self._ended.add(grant_id)

    def put_down(self, grant_id: str) -> None:
        """Take a grant out without ending it for good: the agent stops, the grant does not."""
        self._leases.pop(grant_id, None)

    def lapsed(self, now: int) -> list[Lease]:
        """Return the leases whose deadline has come; the caller ends them."""
        return [lease for lease in self._leases.values() if lease.deadline <= now]

    def next_deadline(self) -> int | None:
        """Return when `lapsed` will next have something to say."""
        return min((lease.deadline for lease in self._leases.values()), default=None)
