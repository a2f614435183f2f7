"""Tags of ended subscriptions that a relay may keep a deleted call for.

1. rtpengine 10.5 keeps a call, with its ports, that was answered again while somebody subscribed:
   the proxy's `delete` is answered `ok` and leaves the subscriber's tags until they time out.
2. So the agent deletes its own tags, but not before the proxy has deleted the call: from a call
   that goes on nothing is taken.
3. What is remembered is bounded in number; what was remembered first gives way.
"""

from __future__ import annotations

from typing import Final

from agents.core.ngcodec import NgDict
from agents.core.relaycommands import AskRelay, RelayCommand

__all__ = ["Leftovers"]

_MOST: Final = 16_384
_TIDY: Final = ("tidy", 0)


class Leftovers:
    """The ended tags of calls that go on, and the deleted calls whose tags are ending."""

    def __init__(self) -> None:
        self._tags: dict[bytes, list[bytes]] = {}
        self._deleted: dict[bytes, None] = {}

    def ended(self, call_id: bytes, tag: bytes) -> list[RelayCommand]:
        """Take note of a tag that nothing is sent to any more."""
        if call_id in self._deleted:
            return [_delete(call_id, tag)]
        self._tags.setdefault(call_id, []).append(tag)
        _bound(self._tags)
        return []

    def deleted(self, call_id: bytes, *, recorded: bool) -> list[RelayCommand]:
        """Take note that the proxy deleted a call; ``recorded``: some of its tags are live."""
        if recorded:
            self._deleted[call_id] = None
            _bound(self._deleted)
        return [_delete(call_id, tag) for tag in self._tags.pop(call_id, ())]

    def begun(self, call_id: bytes) -> None:
        """Take note that a Call-ID is used again."""
        self._deleted.pop(call_id, None)

    def clear(self) -> None:
        """Forget all: the relay has ended."""
        self._tags.clear()
        self._deleted.clear()


def _delete(call_id: bytes, tag: bytes) -> AskRelay:
    question: NgDict = {b"command": b"delete", b"call-id": call_id, b"from-tag": tag}
    return AskRelay(question | {b"delete-delay": 0}, _TIDY)


def _bound(remembered: dict[bytes, list[bytes]] | dict[bytes, None]) -> None:
    if len(remembered) > _MOST:
        del remembered[next(iter(remembered))]
