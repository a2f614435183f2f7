"""The agent's own questions to the relay: asked again until they are answered or given up.

1. A question keeps its cookie. One that the relay has answered before, it answers from its memory
   and does not do again.
2. It is asked `_TRIES` times, each time after twice as long.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from agents.core.ngcodec import Encoding, NgDict, encode

__all__ = ["Question", "Questions"]

_PAUSE: Final = 50_000_000
_TRIES: Final = 5


@dataclass(slots=True)
class Question:
    """A question whose answer is awaited; ``token`` is how who asked knows it."""

    data: bytes = field(repr=False)
    token: Hashable = field(repr=False)
    due: int
    tries: int = 1


class Questions:
    """``new_cookie`` gives an unguessable cookie that was not used before."""

    def __init__(self, new_cookie: Callable[[], bytes]) -> None:
        self._new_cookie = new_cookie
        self._waiting: dict[bytes, Question] = {}

    def ask(self, question: NgDict, token: Hashable, now: int) -> bytes:
        """Return what to send; the answer is awaited from now on."""
        cookie = self._new_cookie()
        data = cookie + b" " + encode(question, Encoding.BENCODE)
        self._waiting[cookie] = Question(data, token, now + _PAUSE)
        return data

    def answered(self, cookie: bytes) -> Question | None:
        """Return the question that was asked under a cookie; it is answered now."""
        return self._waiting.pop(cookie, None)

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has something to do."""
        if not self._waiting:
            return None
        return min(each.due for each in self._waiting.values())

    def wake_up(self, now: int) -> tuple[list[bytes], list[Question]]:
        """Return what to send again, and the questions that are given up (rule 2)."""
        again: list[bytes] = []
        given_up: list[Question] = []
        for cookie, each in list(self._waiting.items()):
            if each.due > now:
                continue
            if each.tries < _TRIES:
                each.due = now + (_PAUSE << each.tries)
                each.tries += 1
                again.append(each.data)
            else:
                given_up.append(self._waiting.pop(cookie))
        return again, given_up

    def give_up(self) -> list[Question]:
        """Give every question up."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())
