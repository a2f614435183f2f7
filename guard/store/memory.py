"""The store in memory, for tests and trials: the same contract, nothing kept.

A committed state is never changed, so a view of it stays as it is; a transaction works on a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from guard.app.changes import (
    AuthorityRow,
    CaptureRow,
    Change,
    EraseBefore,
    PutAuthority,
    PutCapture,
    PutIncident,
    PutReceipt,
    PutSegment,
    PutTrustPolicy,
    SegmentRow,
)
from guard.app.ports import NO_RECEIPT, ChangeRefused, LedgerUnavailable, Reads, Transaction
from guard.core.incidents import Hook, Incident
from guard.core.record import Entry
from guard.store.statements import KEPT_FOR_GOOD, LIVE, OVER, UNFINISHED


@dataclass(slots=True)
class _State:
    authorities: dict[str, AuthorityRow] = field(default_factory=dict)
    captures: dict[str, CaptureRow] = field(default_factory=dict)
    segments: dict[tuple[str, int], SegmentRow] = field(default_factory=dict)
    policies: dict[int, bytes] = field(default_factory=dict)
    receipts: dict[str, tuple[int, str]] = field(default_factory=dict)
    incidents: dict[int, Incident] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    signed: tuple[int, bytes] | None = None
    cosigned: tuple[int, bytes] | None = None

    def copy(self) -> _State:
        return replace(
            self,
            authorities=dict(self.authorities),
            captures=dict(self.captures),
            segments=dict(self.segments),
            policies=dict(self.policies),
            receipts=dict(self.receipts),
            incidents=dict(self.incidents),
            entries=list(self.entries),
        )


class _MemoryReads:
    def __init__(self, state: _State) -> None:
        self._state = state

    def authority(self, authority_id: str) -> AuthorityRow | None:
        return self._state.authorities.get(authority_id)

    def authorities(self, *, limit: int, before: int | None) -> list[AuthorityRow]:
        found = [r for r in self._state.authorities.values() if _below(r.revision, before)]
        return sorted(found, key=lambda r: (-r.revision, r.id))[:limit]

    def unfinished_authorities(self) -> list[AuthorityRow]:
        found = [r for r in self._state.authorities.values() if r.state in UNFINISHED]
        return sorted(found, key=lambda r: r.id)

    def capture(self, capture_id: str) -> CaptureRow | None:
        return self._state.captures.get(capture_id)

    def capture_by_request(self, principal: str, request_id: str) -> CaptureRow | None:
        wanted = (principal, request_id)
        found = self._captures(lambda r: (r.principal, r.request_id) == wanted)
        return found[0] if found else None

    def captures(
        self, *, authority_id: str | None, limit: int, before: int | None
    ) -> list[CaptureRow]:
        found = self._captures(
            lambda r: _below(r.revision, before) and authority_id in {None, r.authority_id}
        )
        return sorted(found, key=lambda r: (-r.revision, r.id))[:limit]

    def live_captures(
        self, *, node: str | None = None, authority_id: str | None = None
    ) -> list[CaptureRow]:
        return self._captures(
            lambda r: (
                r.state in LIVE
                and node in {None, r.node}
                and authority_id in {None, r.authority_id}
            )
        )

    def overdue_captures(self, now: datetime) -> list[CaptureRow]:
        return self._captures(lambda r: r.state in LIVE and r.not_after <= now)

    def changes(self, node: str, after: int) -> list[CaptureRow]:
        if after == 0:
            return self.live_captures(node=node)
        return self._captures(lambda r: r.node == node and r.revision > after)

    def segments(self, capture_id: str) -> list[SegmentRow]:
        found = [r for r in self._state.segments.values() if r.capture_id == capture_id]
        return sorted(found, key=lambda r: r.number)

    def segments_older(self, stored_before: datetime) -> list[SegmentRow]:
        every = self._state.segments.values()
        found = [r for r in every if r.stored_at < stored_before and not r.deleted]
        return sorted(found, key=lambda r: (r.stored_at, r.capture_id, r.number))

    def trust_policies(self, after_version: int) -> list[bytes]:
        every = sorted(self._state.policies.items())
        return [envelope for version, envelope in every if version > after_version]

    def last_receipt(self, node: str) -> tuple[int, str]:
        return self._state.receipts.get(node, (0, NO_RECEIPT))

    def incident(self, incident_id: int) -> Incident | None:
        return self._state.incidents.get(incident_id)

    def incidents(self, *, limit: int, before: int | None, only_open: bool) -> list[Incident]:
        found = self._incidents(lambda r: _below(r.id, before) and (r.open or not only_open))
        return found[::-1][:limit]

    def incidents_of(self, node: str, since: datetime) -> list[Incident]:
        return self._incidents(lambda r: r.node == node and r.first > since)

    def untold(self, hook: Hook, now: datetime, *, limit: int) -> list[Incident]:
        return self._incidents(lambda r: r.due(hook, now))[:limit]

    def entries(self, start: int, limit: int) -> list[Entry]:
        return self._state.entries[start : start + limit]

    def first_kept(self) -> int:
        every = enumerate(self._state.entries)
        kept = (n for n, each in every if each.kind != KEPT_FOR_GOOD and not each.erased)
        return next(kept, self.size())

    def size(self) -> int:
        return len(self._state.entries)

    def checkpoint(self) -> bytes | None:
        return self._state.signed[1] if self._state.signed else None

    def cosigned_checkpoint(self) -> bytes | None:
        return self._state.cosigned[1] if self._state.cosigned else None

    def _incidents(self, wanted: Callable[[Incident], bool]) -> list[Incident]:
        found = [row for row in self._state.incidents.values() if wanted(row)]
        return sorted(found, key=lambda r: r.id)

    def _captures(self, wanted: Callable[[CaptureRow], bool]) -> list[CaptureRow]:
        found = [row for row in self._state.captures.values() if wanted(row)]
        return sorted(found, key=lambda r: (r.revision, r.id))


class _MemoryTransaction(_MemoryReads):
    def __init__(self, store: MemoryStore, state: _State) -> None:
        super().__init__(state)
        self._store = store
        self._open = True

    def apply(self, changes: Sequence[Change]) -> None:
        before = self._state.copy() if len(changes) > 1 else self._state
        try:
            for change in changes:
                self._put(change)
        except ChangeRefused:
            self._state = before
            raise

    def append(self, start: int, entries: Sequence[Entry]) -> None:
        if start != len(self._state.entries):
            raise LedgerUnavailable("the records do not follow the log")
        self._state.entries.extend(entries)

    def put_checkpoint(self, checkpoint: bytes, *, size: int, previous: bytes | None) -> None:
        if (self._state.signed[1] if self._state.signed else None) != previous:
            raise LedgerUnavailable("another guard has written to this store")
        self._state.signed = (size, checkpoint)

    def put_cosigned(self, checkpoint: bytes, *, size: int) -> None:
        if self._state.cosigned is None or self._state.cosigned[0] <= size:
            self._state.cosigned = (size, checkpoint)

    def commit(self) -> None:
        self._open = False
        self._store.replace(self._state)

    def rollback(self) -> None:
        if self._open:
            self._open = False
            self._store.replace(None)

    def _put(self, change: Change) -> None:
        match change:
            case PutAuthority(row):
                self._state.authorities[row.id] = row
            case PutCapture(row):
                self._put_capture(row)
            case PutSegment(row):
                self._require(row.capture_id in self._state.captures)
                self._state.segments[row.capture_id, row.number] = row
            case PutTrustPolicy(version, envelope):
                self._require(version not in self._state.policies)
                self._state.policies[version] = envelope
            case PutReceipt(node, sequence, digest):
                self._state.receipts[node] = (sequence, digest)
            case PutIncident(row):
                self._state.incidents[row.id] = row
            case EraseBefore(end):
                self._erase(end)

    def _erase(self, end: int) -> None:
        state = self._state
        for index, entry in enumerate(state.entries[:end]):
            if entry.kind != KEPT_FOR_GOOD:
                state.entries[index] = entry._replace(salt=None, body=None)
        over = {r.id for r in state.captures.values() if r.state in OVER and r.revision < end}
        for key, row in tuple(state.segments.items()):
            if row.capture_id in over and row.deleted:
                del state.segments[key]
        for capture_id in over - {row.capture_id for row in state.segments.values()}:
            del state.captures[capture_id]
        needed = {row.authority_id for row in state.captures.values()}
        for authority in tuple(state.authorities.values()):
            finished = authority.state not in UNFINISHED and authority.revision < end
            if finished and authority.id not in needed:
                del state.authorities[authority.id]
        for incident in tuple(state.incidents.values()):
            if not incident.open and incident.revision < end:
                del state.incidents[incident.id]

    def _put_capture(self, row: CaptureRow) -> None:
        other = self.capture_by_request(row.principal, row.request_id)
        self._require(other is None or other.id == row.id)
        self._require(row.authority_id in self._state.authorities)
        self._state.captures[row.id] = row

    @staticmethod
    def _require(condition: bool) -> None:  # noqa: FBT001  # reads as a sentence
        if not condition:
            raise ChangeRefused("the change breaks a rule of the store")


class MemoryStore:
    """A store that forgets everything when it goes."""

    def __init__(self) -> None:
        self._state = _State()
        self._writing = False

    def begin(self, *, sync: bool = True) -> Transaction:  # noqa: ARG002  # nothing is kept
        """Begin the writer's transaction."""
        if self._writing:
            raise LedgerUnavailable("there is one writer")
        self._writing = True
        return _MemoryTransaction(self, self._state.copy())

    def read(self) -> AbstractContextManager[Reads]:
        """Return a view of what is committed now."""
        return self._view()

    def leaves(self) -> Iterator[bytes]:
        """Yield every leaf's data in order, each held against what is left of its record."""
        for entry in self._state.entries:
            yield entry.leaf()

    def replace(self, state: _State | None) -> None:
        """Take a transaction's outcome; None leaves everything as it was."""
        self._writing = False
        self._state = state or self._state

    def scrub(self) -> bool:
        """Say that nothing is left: nothing is kept in a file."""
        return True

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    @contextmanager
    def _view(self) -> Iterator[Reads]:
        yield _MemoryReads(self._state)


def _below(revision: int, before: int | None) -> bool:
    return before is None or revision < before
