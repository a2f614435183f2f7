"""Which nodes are connected, and what they say they are doing.

Nothing here is on record and nothing is decided by it but what can wait: display, and whether a
warrant's capture that ran out of its lease is worth a new grant. It is forgotten at a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["Counters", "Presence", "Running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a node has counted for a capture since it armed it; bytes are before sealing."""

    calls: int = 0
    packets: int = 0
    bytes: int = 0
    drops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An armed capture as its node's last heartbeat tells it."""

    counters: Counters
    lease_until: datetime | None


@dataclass(slots=True)
class _Session:
    running: Mapping[str, Running] = field(default_factory=dict)


class Presence:
    """The sessions of now; a node's newer session takes the place of its older one."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._last: dict[str, Running] = {}

    @contextmanager
    def session(self, node: str) -> Iterator[object]:
        """Mark the node as connected; the token tells whether the session is still the newest."""
        session = _Session()
        self._sessions[node] = session
        try:
            yield session
        finally:
            if self._sessions.get(node) is session:
                del self._sessions[node]

    def is_newest(self, node: str, token: object) -> bool:
        """Say whether no newer session of the node has begun."""
        return self._sessions.get(node) is token

    def connected(self, node: str) -> bool:
        """Say whether the node has a session."""
        return node in self._sessions

    def heard(self, node: str, token: object, running: Mapping[str, Running]) -> None:
        """Take in a heartbeat: every capture armed on the node; an empty one says none."""
        if isinstance(token, _Session) and self.is_newest(node, token):
            token.running = running
            self._last.update(running)

    def running(self, node: str, grant_id: str) -> Running | None:
        """Return what was last heard of a capture, or None when nothing was."""
        session = self._sessions.get(node)
        if session and grant_id in session.running:
            return session.running[grant_id]
        last = self._last.get(grant_id)
        return last and Running(counters=last.counters, lease_until=None)

    def forget(self, grant_id: str) -> None:
        """Let go of an ended capture's numbers once nobody watches it any more."""
        self._last.pop(grant_id, None)
