"""Looking through the relay for what nobody ordered, without I/O: at every start of it, and always.

1. A relay that was started, or that the agent meets for the first time, is looked through whole
   before a new call is admitted: every recording is stopped, every copy to anybody is ended.
2. After that it is looked through in turns, some calls at a time, for copies to others.
3. `stop recording` is harmless where nothing is recorded, and the relay does not say what it
   records: at a start it is said for every call.
4. A relay that does not list all its calls, or does not describe one, is reported as not looked
   through. One that lists none for want of an answer is asked again: it gets no new call.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from agents.core.instant import NANOSECONDS
from agents.core.ngcodec import NgDict
from agents.core.owntags import OwnTags
from agents.core.relaycommands import AskRelay, RelayCommand, Report
from agents.core.relayview import read_list, read_query

__all__ = ["Sweep"]

_EVERY: Final = NANOSECONDS // 2
_AT_ONCE: Final = 32
_TURN: Final = 20
_ALL: Final = 1 << 20
# Call-IDs of some fifty octets: as many as a datagram of the relay surely holds.
_SOME: Final = 1000


@dataclass(slots=True)
class _Round:
    """One look through the relay. ``whole``: at a start (rule 1)."""

    whole: bool
    serial: int
    limit: int
    left: list[bytes] = field(default_factory=list, repr=False)
    asked: int = 0


class Sweep:
    """``done`` is true once the relay as it runs now was looked through whole."""

    def __init__(self, tags: OwnTags) -> None:
        self.done = False
        self._tags = tags
        self._round: _Round | None = None
        self._serial = 0
        self._due: int | None = None
        self._after = b""

    def relay_found(self) -> list[RelayCommand]:
        """Look through a relay that has just been met."""
        self.done, self._due = False, None
        return self._begin(whole=True, limit=_ALL)

    def relay_gone(self) -> None:
        """There is nothing to look through."""
        self.done, self._round, self._due = False, None, None

    def next_deadline(self) -> int | None:
        """Return when the next turn is due."""
        return self._due

    def wake_up(self, now: int) -> list[RelayCommand]:
        """Begin the next turn when it is due."""
        if self._due is None or self._due > now:
            return []
        self._due = None
        return self._begin(whole=not self.done, limit=_SOME)

    def told(self, token: Hashable, reply: NgDict | None, now: int) -> list[RelayCommand]:
        """Take the relay's answer."""
        current = self._round
        if current is None or not isinstance(token, tuple) or token[1] != current.serial:
            return []
        if token[0] == "list":
            return self._listed(current, reply, now)
        current.asked -= 1
        commands = self._expel(current, token[2], reply) if token[0] == "look" else []
        return commands + self._go_on(current, now)

    def _begin(self, *, whole: bool, limit: int) -> list[RelayCommand]:
        self._serial += 1
        self._round = _Round(whole, self._serial, limit)
        question: NgDict = {b"command": b"list", b"limit": b"%d" % limit}
        return [AskRelay(question, ("list", self._serial))]

    def _listed(self, current: _Round, reply: NgDict | None, now: int) -> list[RelayCommand]:
        calls = read_list(reply)
        if calls is None:
            return self._not_listed(current, now)
        calls.sort()
        if not current.whole:
            # In turns, so that every call has its own after a while.
            later = [call for call in calls if call > self._after]
            calls = (later or calls)[:_TURN]
            self._after = calls[-1] if calls else b""
        current.left = calls
        return self._go_on(current, now)

    def _not_listed(self, current: _Round, now: int) -> list[RelayCommand]:
        """Ask for fewer calls, as many as one datagram holds (rule 4)."""
        if current.limit == _ALL:
            again = self._begin(whole=current.whole, limit=_SOME)
            return [Report("relay_not_listed"), *again]
        if current.limit > _TURN:
            return self._begin(whole=current.whole, limit=current.limit // 2)
        self._round, self._due = None, now + _EVERY
        return []

    def _go_on(self, current: _Round, now: int) -> list[RelayCommand]:
        commands: list[RelayCommand] = []
        while current.left and current.asked < _AT_ONCE:
            call = current.left.pop()
            commands += self._look(current, call)
        if not current.left and not current.asked:
            self._round, self._due = None, now + _EVERY
            self.done = True
        return commands

    def _look(self, current: _Round, call: bytes) -> list[RelayCommand]:
        query: NgDict = {b"command": b"query", b"call-id": call}
        looks: list[RelayCommand] = [AskRelay(query, ("look", current.serial, call))]
        if current.whole:  # Rule 3.
            stop: NgDict = {b"command": b"stop recording", b"call-id": call}
            looks.append(AskRelay(stop, ("stop", current.serial, call)))
        current.asked += len(looks)
        return looks

    def _expel(self, current: _Round, call: bytes, reply: NgDict | None) -> list[RelayCommand]:
        view = read_query(reply)
        if view is None:
            return [Report("relay_not_listed", call)] if current.whole else []
        commands = self._tags.expel(call, view, ("end", current.serial, call))
        current.asked += sum(isinstance(each, AskRelay) for each in commands)
        return commands
