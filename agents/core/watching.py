"""What the kernel shall watch: the sum of what every armed grant wants to see.

1. Identities go to the signalling filter, whatever the level.
2. Flows of a grant of level media_headers go to the filter that cuts, those of level content to
   the one that does not. A grant of level signalling has no flows.
3. What changed is told as commands, each once (`holdings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agents.core.commands import (
    ClearFlow,
    Command,
    Identity,
    SetFlow,
    UnwatchIdentity,
    WatchIdentity,
)
from agents.core.dialogs import CloseFlow, DialogEvent, OpenFlow, UnwatchCall, WatchCall
from agents.core.flow import FlowKey
from agents.core.holdings import Holdings, Settled
from guard.core.level import Level
from guard.core.subjects import Subject, SubjectKind

__all__ = ["Watching"]

LeveledFlow = tuple[Level, FlowKey]


class Watching:
    """Identities and flows, and the grants that want them."""

    def __init__(self) -> None:
        self._identities: Holdings[Identity] = Holdings()
        self._flows: Holdings[LeveledFlow] = Holdings()
        self._touched_identities: set[Identity] = set()
        self._touched_flows: set[LeveledFlow] = set()

    def begin(self, grant_id: str, subjects: Iterable[Subject]) -> None:
        """Let a grant watch for its subjects."""
        for subject in subjects:
            identity = Identity(subject.kind, subject.value)
            self._identities.hold(identity, grant_id)
            self._touched_identities.add(identity)

    def follow(self, grant_id: str, level: Level, event: DialogEvent) -> None:
        """Take note of what a grant's dialog tracker wants to see or see no more."""
        match event:
            case WatchCall(call_id=call_id):
                self._watch(Identity(SubjectKind.CALL_ID, call_id), grant_id, call_id)
            case UnwatchCall(call_id=call_id):
                self._unwatch(Identity(SubjectKind.CALL_ID, call_id), grant_id, call_id)
            case OpenFlow(key=key, call_id=call_id) if level is not Level.SIGNALLING:  # Rule 2.
                self._flows.hold((level, key), grant_id, call_id)
                self._touched_flows.add((level, key))
            case CloseFlow(key=key, call_id=call_id):
                self._flows.let_go((level, key), grant_id, call_id)
                self._touched_flows.add((level, key))
            case _:
                pass

    def _watch(self, identity: Identity, grant_id: str, call_id: str) -> None:
        self._identities.hold(identity, grant_id, call_id)
        self._touched_identities.add(identity)

    def _unwatch(self, identity: Identity, grant_id: str, call_id: str) -> None:
        self._identities.let_go(identity, grant_id, call_id)
        self._touched_identities.add(identity)

    def end(self, grant_id: str) -> None:
        """Let a grant watch nothing any more."""
        self._touched_identities.update(self._identities.let_go_all(grant_id))
        self._touched_flows.update(self._flows.let_go_all(grant_id))

    def moved(self, grant_id: str) -> None:
        """Take note that a grant's deadline has moved."""
        self._touched_identities.update(self._identities.held_by(grant_id))
        self._touched_flows.update(self._flows.held_by(grant_id))

    def settle(self, deadlines: Mapping[str, int]) -> list[Command]:
        """Return the commands for all that changed since the last call, flows first."""
        flows = self._flows.settle(self._touched_flows, deadlines)
        identities = self._identities.settle(self._touched_identities, deadlines)
        self._touched_flows.clear()
        self._touched_identities.clear()
        return [*map(_flow_command, flows), *map(_identity_command, identities)]


def _flow_command(settled: Settled[LeveledFlow]) -> Command:
    level, key = settled.thing
    if not settled.grants:
        return ClearFlow(level=level, key=key)
    return SetFlow(level=level, key=key, deadline=settled.deadline, grants=settled.grants)


def _identity_command(settled: Settled[Identity]) -> Command:
    if not settled.grants:
        return UnwatchIdentity(identity=settled.thing)
    return WatchIdentity(identity=settled.thing, deadline=settled.deadline, grants=settled.grants)
