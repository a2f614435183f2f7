"""The tags under which the agent subscribes to calls at the relay.

1. The agent names its subscriptions itself, before the relay knows of them: whatever becomes of an
   answer, what was asked for can be ended.
2. Every tag begins with a mark that nobody else can guess. By it a tag is told for the agent's own,
   for as long as the relay remembers it, and long after the subscription is over.
3. Whoever subscribes beside the agent is ended and reported. A tag with the mark that is not live
   is a leftover of the agent's own: it is ended, and there is nothing to report.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from agents.core.ngcodec import NgDict
from agents.core.relaycommands import AskRelay, RelayCommand, Report
from agents.core.relayview import CallView

__all__ = ["OwnTags", "subscribe", "unsubscribe"]


class OwnTags:
    """``new_word`` gives an unguessable word that was not used before."""

    def __init__(self, new_word: Callable[[], bytes]) -> None:
        self._new_word = new_word
        self.mark = new_word()
        self._live: set[bytes] = set()

    def __contains__(self, tag: bytes) -> bool:
        """Say whether a subscription of this tag is live."""
        return tag in self._live

    def new(self) -> bytes:
        """Name a subscription that is about to be made."""
        tag = self.mark + b"-" + self._new_word()
        self._live.add(tag)
        return tag

    def over(self, tag: bytes) -> None:
        """Take note that a subscription is over."""
        self._live.discard(tag)

    def expel(self, call_id: bytes, view: CallView, token: Hashable) -> list[RelayCommand]:
        """End what is subscribed to a call and not live (rule 3)."""
        commands: list[RelayCommand] = []
        for tag in sorted(view.subscribers - self._live):
            if not tag.startswith(self.mark):
                commands.append(Report("foreign_subscription", call_id, {"done": "unsubscribed"}))
            commands.append(AskRelay(unsubscribe(call_id, tag), token))
        return commands


def subscribe(call_id: bytes, tag: bytes) -> NgDict:
    """Write the message that asks for a copy of everything in a call."""
    return {
        b"command": b"subscribe request",
        b"call-id": call_id,
        b"to-tag": tag,
        b"flags": [b"all"],
        b"transport-protocol": b"RTP/AVP",
    }


def unsubscribe(call_id: bytes, tag: bytes) -> NgDict:
    """Write the message that ends a subscription."""
    return {b"command": b"unsubscribe", b"call-id": call_id, b"to-tag": tag}
