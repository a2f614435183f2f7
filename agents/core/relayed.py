"""Content that comes through the media relay, in a node's rules.

1. With a relay, the media of content grants comes through it and from nowhere else. The calls of
   the subjects are recorded one by one; where the relay's copies arrive is a flow like others.
2. A call is recorded from when it is seen until it has ended or its grant has, to each grant by
   what it has seen itself.
3. What the relay's gate reports is put on record; what concerns a recording is also said in the
   last receipt of every grant that wanted the call.
4. Also where content is taken off the interfaces, the gate is told which calls a live grant covers:
   who asks it for a recording of one is answered that there is one.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.core import commands as do
from agents.core import events as on
from agents.core.armed import Armed
from agents.core.commands import Command
from agents.core.dialogevents import CallEnded, CallSeen, CloseFlow, DialogEvent, OpenFlow
from agents.core.flow import FlowKey
from agents.core.incidents import Incidents
from agents.core.instant import Instant
from agents.core.verifier import VerifiedGrant
from agents.core.watching import Watching
from guard.core.level import Level

__all__ = ["Relayed", "released"]

_OF_RECORDINGS = frozenset(
    ("recording_failed", "recording_lost", "recording_partial", "call_merged")
)


class Relayed:
    """``there``: whether the node has a relay; ``through``: whether content comes through it."""

    def __init__(self, *, there: bool, through: bool) -> None:
        self._there = there
        self._through = through
        self._incidents = Incidents()
        self._flows: dict[str, set[FlowKey]] = {}  # where the calls' media arrives now

    def through(self, grant: VerifiedGrant) -> bool:
        """Say whether this grant's media comes through the relay (rule 1)."""
        return self._through and self._told(grant)

    def _told(self, grant: VerifiedGrant) -> bool:
        """Say whether the relay's gate knows of this grant's calls (rule 4)."""
        return self._there and grant.level is Level.CONTENT

    def media(self, grant: VerifiedGrant) -> str:
        """Say in a word where the media is taken from, for the receipt."""
        return "relay" if self.through(grant) else "packets"

    def follow(self, armed: Armed, event: DialogEvent, watching: Watching) -> list[Command] | None:
        """Take what a content grant's tracker says; None: it means the same without a relay."""
        if not self._told(armed.grant):
            return None
        match event:
            case CallSeen(call_id=call_id) if call_id not in armed.recorded:
                armed.calls += 1
                armed.recorded.add(call_id)
                return [do.RecordCall(grant=armed.grant, call_id=call_id)]
            case CallEnded(call_id=call_id) if call_id in armed.recorded:
                armed.recorded.discard(call_id)
                for key in self._flows.get(call_id, ()):  # Others may want the call for longer.
                    event = CloseFlow(key=key, call_id=call_id)
                    watching.follow(armed.grant.grant.id, Level.CONTENT, event)
                return [do.ReleaseCall(grant_id=armed.grant.grant.id, call_id=call_id)]
            case OpenFlow() | CloseFlow() if self._through:
                return []  # Rule 1: media that does not cross the relay is not taken.
            case _:
                return None

    def arrive(self, flows: on.RelayFlows, armed: Iterable[Armed], watching: Watching) -> None:
        """Let the grants that want the call have what arrives at the relay's sinks."""
        arriving = self._flows.pop(flows.call_id, set())
        arriving = arriving | set(flows.keys) if flows.open else arriving - set(flows.keys)
        if arriving:
            self._flows[flows.call_id] = arriving
        kind = OpenFlow if flows.open else CloseFlow
        for each in armed:
            if flows.open and flows.call_id not in each.recorded:
                continue
            for key in flows.keys:
                event = kind(key=key, call_id=flows.call_id)
                watching.follow(each.grant.grant.id, Level.CONTENT, event)

    def report(self, report: on.RelayReport, armed: Iterable[Armed], now: Instant) -> list[Command]:
        """Put on record what the gate tells (rule 3)."""
        call_id = report.call_id
        for each in armed:
            if report.what in _OF_RECORDINGS and call_id in each.recorded:
                each.not_followed.add(report.what)
        octets = None if call_id is None else call_id.encode("utf-8", "surrogateescape")
        return self._incidents.found(report.what, octets, report.details, now)

    def next_deadline(self) -> int | None:
        """Return when `wake_up` is due."""
        return self._incidents.next_deadline()

    def wake_up(self, now: Instant) -> list[Command]:
        """Tell what was counted and not told yet."""
        return self._incidents.wake_up(now)


def released(armed: Armed) -> list[Command]:
    """Let the calls go of a grant that ends."""
    return [
        do.ReleaseCall(grant_id=armed.grant.grant.id, call_id=call_id)
        for call_id in sorted(armed.recorded)
    ]
