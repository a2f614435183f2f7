"""One call that is recorded through the relay: its subscriptions, and what is known of it.

Times are boot-clock nanoseconds. Call-IDs, tags, descriptions and addresses are kept out of reprs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from agents.core.flow import FlowKey
from agents.core.ngcodec import NgDict
from agents.core.nggate import Reached, ToAsker
from agents.core.relayview import CallView, text_of
from agents.core.subscription import shape_of

__all__ = ["RecordedCall", "Subscription", "parties_of"]

_SILENT: Final = 25  # packets that came in and of which none reached a sink


@dataclass(slots=True)
class Subscription:
    """One subscription of the agent's.

    ``covers``: the shapes of what its parties had described when it was asked for. ``pending``:
    the relay has not answered that yet. ``due``: when it is looked at next. ``came_in``,
    ``arrived``: packets at the last look.
    """

    serial: int
    tag: bytes = field(repr=False)
    covers: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    pending: bool = True
    offer: bytes = field(default=b"", repr=False)
    keys: tuple[FlowKey, ...] = field(default=(), repr=False)
    due: int = 0
    came_in: int | None = None
    arrived: int = 0
    tries: int = 0

    def is_silent(self, view: CallView) -> bool:
        """Say whether media came in since the last look and none of it arrived."""
        before, self.came_in = self.came_in, view.packets
        return before is not None and view.packets - before >= _SILENT


@dataclass(slots=True)
class RecordedCall:
    """One call that some grant wants.

    ``described``: the shape of what each party described last. ``parties``: tags that the gate has
    let through. ``again``: subscribe anew as soon as what is coming stands.
    """

    id: bytes = field(repr=False)
    grants: set[str] = field(default_factory=set)
    stands: Subscription | None = None
    coming: Subscription | None = None
    described: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    parties: set[bytes] = field(default_factory=set, repr=False)
    known: set[bytes] | None = field(default=None, repr=False)
    held: list[ToAsker] = field(default_factory=list, repr=False)
    held_until: int = 0
    again: bool = False
    retry: int | None = None
    merged: bool = False
    told: set[str] = field(default_factory=set)

    def subscriptions(self) -> Iterator[Subscription]:
        """Yield what stands and what is coming."""
        for each in (self.stands, self.coming):
            if each is not None:
                yield each

    def describe(self, done: Reached) -> None:
        """Take note of what a party describes: of an offer its sender, of an answer the other."""
        party = text_of(done.request, b"from-tag" if done.verb == "offer" else b"to-tag")
        description = text_of(done.request, b"sdp")
        if party is not None:
            self.described[party] = shape_of(description or b"")

    def is_covered(self, request: NgDict) -> bool:
        """Say whether the newest subscription has what both parties of an answer described."""
        newest = self.coming or self.stands
        return newest is not None and all(
            tag in self.described and newest.covers.get(tag) == self.described[tag]
            for tag in parties_of(request)
        )

    def hold(self, answer: ToAsker, until: int) -> None:
        """Hold an answer; what is held goes out together, when the first of it must."""
        if not self.held:
            self.held_until = until
        self.held.append(answer)

    def is_merged(self, view: CallView) -> bool:
        """Say whether parties joined that the gate has not seen.

        Those of the first look were there before the gate looked.
        """
        if self.known is None:
            self.known = set(view.parties)
        return bool(view.parties - self.known - self.parties)


def parties_of(request: NgDict) -> Iterable[bytes]:
    """Return the tags that a message which sets up a call names."""
    named = (text_of(request, key) for key in (b"from-tag", b"to-tag"))
    return [tag for tag in named if tag is not None]
