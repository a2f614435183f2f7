"""The agent's subscriptions that are ending, without I/O: from the first word until it is proved.

1. The order of an end: the flows are disarmed, the relay is told to stop, and only when it has
   stopped are the sinks given up. Until then the dead man's switch knows the subscription too.
2. `ok` proves nothing: `query` must show that nothing is sent to the tag any more.
3. What the relay has not even answered yet is ended after its answer, so that nothing begins late.
4. A relay that goes on is told again, `_AT_ONCE` times at once and then once in `_VERIFY`; that it
   does is reported.
"""

from __future__ import annotations

from typing import Final

from agents.core.instant import NANOSECONDS
from agents.core.leftovers import Leftovers
from agents.core.ngcodec import NgDict
from agents.core.owntags import OwnTags, unsubscribe
from agents.core.recordedcall import Subscription
from agents.core.relaycommands import (
    AskRelay,
    CloseFlows,
    CloseSinks,
    RelayCommand,
    Report,
    Unsubscribed,
)
from agents.core.relayview import read_query

__all__ = ["Endings", "disarm", "over"]

_VERIFY: Final = NANOSECONDS
_AT_ONCE: Final = 5


class Endings:
    """The endings at one relay, by the serial number of their subscription."""

    def __init__(self, tags: OwnTags) -> None:
        self._tags = tags
        self.leftovers = Leftovers()
        self._ending: dict[int, tuple[bytes, Subscription]] = {}

    def end(self, call_id: bytes, subscription: Subscription, now: int) -> list[RelayCommand]:
        """End a subscription (rules 1 and 3)."""
        self._ending[subscription.serial] = call_id, subscription
        closing = disarm(call_id, subscription)
        if subscription.pending:
            return closing
        return [*closing, self._stop(call_id, subscription, now)]

    def told(self, step: str, serial: int, reply: NgDict | None, now: int) -> list[RelayCommand]:
        """Take the relay's answer to a question about a subscription that is ending."""
        found = self._ending.get(serial)
        if found is None:
            return []
        call_id, subscription = found
        match step:
            case "request":
                subscription.pending = False
                return [self._stop(call_id, subscription, now)]
            case "stop":
                query: NgDict = {b"command": b"query", b"call-id": call_id}
                return [AskRelay(query, ("query", serial))]
            case "query":
                return self._viewed(call_id, subscription, reply, now)
            case _:
                return []

    def relay_gone(self) -> list[RelayCommand]:
        """Take note that the relay has ended: it sends nothing any more."""
        ending, self._ending = self._ending, {}
        self.leftovers.clear()
        return [each for found in ending.values() for each in over(*found, self._tags)]

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has something to do."""
        if not self._ending:
            return None
        return min((each.due for _, each in self._told_to_stop()), default=None)

    def wake_up(self, now: int) -> list[RelayCommand]:
        """Tell the relay again what it has not done."""
        due = [found for found in self._told_to_stop() if found[1].due <= now]
        return [self._stop(*found, now) for found in due]

    def _told_to_stop(self) -> list[tuple[bytes, Subscription]]:
        return [found for found in self._ending.values() if not found[1].pending]

    def _stop(self, call_id: bytes, subscription: Subscription, now: int) -> RelayCommand:
        subscription.due = now + _VERIFY
        question = unsubscribe(call_id, subscription.tag)
        return AskRelay(question, ("stop", subscription.serial))

    def _viewed(
        self, call_id: bytes, subscription: Subscription, reply: NgDict | None, now: int
    ) -> list[RelayCommand]:
        """Rules 2 and 4."""
        view = read_query(reply)
        if view is None:
            return []  # No answer: the next look decides.
        if subscription.tag not in view.subscribers:
            del self._ending[subscription.serial]
            left = self.leftovers.ended(call_id, subscription.tag) if view.exists else []
            return [*over(call_id, subscription, self._tags), *left]
        subscription.tries += 1
        if subscription.tries < _AT_ONCE:
            return [self._stop(call_id, subscription, now)]
        if subscription.tries > _AT_ONCE:
            return []
        return [Report("recording_not_stopped", call_id, {"why": "the relay goes on"})]


def disarm(call_id: bytes, subscription: Subscription) -> list[RelayCommand]:
    """Let nothing more in of what the relay sends."""
    keys, subscription.keys = subscription.keys, ()
    return [CloseFlows(call_id, keys)] if keys else []


def over(call_id: bytes, subscription: Subscription, tags: OwnTags) -> list[RelayCommand]:
    """Give up what a subscription had on the node: the relay sends nothing for it."""
    tags.over(subscription.tag)
    return [
        *disarm(call_id, subscription),
        CloseSinks(subscription.serial),
        Unsubscribed(call_id, subscription.tag),
    ]
