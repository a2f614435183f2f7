"""The calls that passed the gate, and which of them have been answered. Bounded in number."""

from __future__ import annotations

from typing import Final

from agents.core.nggate import Reached

__all__ = ["SeenCalls"]

_MOST: Final = 262_144


class SeenCalls:
    """Calls by Call-ID; the one that was seen first gives way: a call that nobody deleted."""

    def __init__(self) -> None:
        self._answered: dict[bytes, bool] = {}

    def answered(self, call_id: bytes) -> bool | None:
        """Say whether a call has been answered; None: it did not pass."""
        return self._answered.get(call_id)

    def note(self, done: Reached) -> bool:
        """Take note of a call, and say whether it has been answered.

        Only then is there a tag to offer anew to.
        """
        answered = done.verb == "answer" or b"to-tag" in done.request
        answered = answered or self._answered.get(done.call_id, False)
        self._answered[done.call_id] = answered
        if len(self._answered) > _MOST:
            del self._answered[next(iter(self._answered))]
        return answered

    def forget(self, call_id: bytes) -> None:
        """Forget a call that is over."""
        self._answered.pop(call_id, None)

    def clear(self) -> None:
        """Forget them all: the relay has ended, and they with it."""
        self._answered.clear()
