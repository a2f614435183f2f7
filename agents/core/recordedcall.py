"""One call that is recorded through the relay: its subscriptions, and what is known of it.

Times are boot-clock nanoseconds. Call-IDs, tags, descriptions and addresses are kept out of reprs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from agents.core.flow import FlowKey
from agents.core.nggate import Reached, ToAsker
from agents.core.relayview import CallView
from agents.core.subscription import shape_of

__all__ = ["RecordedCall", "State", "Subscription"]

_SILENT: Final = 25  # packets that came in and of which none reached a sink


class State(Enum):
    """How far a subscription has come."""

    REQUESTED = auto()
    ANSWERED = auto()
    STANDS = auto()
    ENDING = auto()


@dataclass(slots=True)
class Subscription:
    """One subscription. ``came_in``, ``arrived``: packets at the last verification ."""

    serial: int
    state: State = State.REQUESTED
    tag: bytes = field(default=b"", repr=False)
    offer: bytes = field(default=b"", repr=False)
    keys: tuple[FlowKey, ...] = field(default=(), repr=False)
    came_in: int | None = None
    arrived: int = 0
    verified: int = 0
    tries: int = 0

    def is_silent(self, view: CallView) -> bool:
        """Say whether media came in since the last look and none of it arrived."""
        before, self.came_in = self.came_in, view.packets
        return before is not None and view.packets - before >= _SILENT


@dataclass(slots=True)
class RecordedCall:
    """One call that some grant wants, or whose subscription is still ending."""

    id: bytes = field(repr=False)
    grants: set[str] = field(default_factory=set)
    stands: Subscription | None = None
    coming: Subscription | None = None
    ending: list[Subscription] = field(default_factory=list)
    shapes: dict[str, bytes] = field(default_factory=dict, repr=False)
    parties: set[bytes] = field(default_factory=set, repr=False)
    known: set[bytes] | None = field(default=None, repr=False)
    held: list[ToAsker] = field(default_factory=list, repr=False)
    held_until: int = 0
    again: bool = False
    retry: int | None = None
    merged: bool = False
    told: set[str] = field(default_factory=set)

    def note_shape(self, done: Reached) -> bool:
        """Take note of what is described; say whether an answer changes what was."""
        description = done.request.get(b"sdp")
        shape = shape_of(description) if isinstance(description, bytes) else b""
        before = self.shapes.get(done.verb)
        self.shapes[done.verb] = shape
        offered = self.shapes.get("offer")
        changed = before != shape or self.shapes.get("subscribed") != offered
        if done.verb == "answer" and offered is not None:
            self.shapes["subscribed"] = offered
        return changed

    def is_merged(self, view: CallView) -> bool:
        """Say whether parties joined that the gate has not seen.

        Those of the first look were there before the gate looked.
        """
        if self.known is None:
            self.known = set(view.parties)
        return bool(view.parties - self.known - self.parties)
