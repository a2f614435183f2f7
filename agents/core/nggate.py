"""The gate in front of a media relay's NG port, without I/O: messages in, commands out.

1. What goes to the relay is what `judge` passed, written anew in bencode, under a cookie of the
   gate's own: the relay answers from one cache of cookies for all its clients.
2. An answer goes to who asked, under the cookie that they used, and to nobody else.
3. The same message again (same asker, same cookie) is asked again under the gate's same cookie
   while its answer is awaited, and gets the same answer for `REMEMBERED` once it is there. Another
   message under a cookie that is in use is refused.
4. What is refused never reaches the relay. It is answered in NG's own words, `result: error`, so
   that a SIP proxy carries on with the call, and it is told as `Refusal` or `Trimmed`.
5. A message that would name a tag of the agent's own (`owntags`) to the relay is refused, wherever
   the tag stands in it: nobody else ends those. Nor do they learn of it: an answer that tells of
   such a tag, be its subscription live or over, is rid of it.
6. While the relay is not `ready` (it was started anew and is not looked through yet), what would
   set up a call waits for its retransmission; what the gate itself asks goes on.
7. What is remembered is bounded, in number and in time.

Source of the protocol: rtpengine's docs/ng_control_protocol.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol

from agents.core.instant import NANOSECONDS
from agents.core.ngcodec import Encoding, NgDict, NgMalformed, decode, encode, split
from agents.core.ngpolicy import Gated, OperatorOnly, Passed, RefusedMessage, call_id, judge
from agents.core.ngtable import Treatment
from agents.core.questions import Question, Questions
from agents.core.relayview import without

__all__ = [
    "Asker",
    "GateCommand",
    "NgGate",
    "Passing",
    "Reached",
    "Refusal",
    "ToAsker",
    "ToRelay",
    "Told",
    "Trimmed",
    "Way",
]

REMEMBERED: Final = 6 * NANOSECONDS
"""A proxy that got no answer asks for some seconds, each time with the same cookie."""
_MOST = 65536
_MOST_OCTETS = 32 << 20
_OK = b"6:result2:ok"
_SETS_UP = frozenset(("offer", "answer"))


class Way(Protocol):
    """How an answer gets back; equal for two messages of one client, and hashable."""

    def __hash__(self) -> int:
        """Tell clients apart."""

    def send(self, data: bytes) -> None:
        """Send the client an answer."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sent a message: ``where`` is for people, ``way`` for the adapter."""

    where: str
    way: Way = field(repr=False)
    encoding: Encoding = Encoding.BENCODE
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # It is looked up several times for each message.
        object.__setattr__(self, "_hash", hash((self.where, self.way)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class ToRelay:
    """Send this to the relay."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToAsker:
    """Send this to who asked."""

    asker: Asker
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What the relay says to a question of the agent's own; None: it did not answer."""

    token: Hashable = field(repr=False)
    reply: NgDict | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """A message that sets up a call goes to the relay: it may name new parties to it."""

    call_id: bytes = field(repr=False)
    request: NgDict = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The relay has done what a proxy asked for a call, and its answer is ready to go out.

    ``answer`` is what to give to the proxy: at once, or when the call's recording stands.
    """

    verb: str
    call_id: bytes = field(repr=False)
    request: NgDict = field(repr=False)
    answer: ToAsker = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A message was refused; ``name``: the key or flag that it was refused for."""

    asker: Asker
    why: str
    verb: str | None
    name: str | None
    call_id: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """A message was passed without what would have yielded content."""

    asker: Asker
    verb: str
    name: str
    call_id: bytes | None = field(repr=False)


GateCommand = ToRelay | ToAsker | Told | Passing | Reached | Refusal | Trimmed
"""Whatever the gate's methods return."""


@dataclass(slots=True)
class _Met:
    """What is known under one asker's cookie: which message, and its answer once there is one."""

    digest: int
    until: int
    upstream: bytes
    data: bytes
    verb: str
    call_id: bytes | None
    request: NgDict
    answer: bytes | None = None


_Key = tuple[Asker, bytes]


class NgGate:
    """One relay's gate. ``new_cookie`` gives an unguessable cookie that was not used before.

    ``mark`` is what the agent's own tags begin with (rule 5); ``recorded`` says of a call that a
    live grant covers whether it is recorded now.
    """

    def __init__(
        self,
        new_cookie: Callable[[], bytes],
        mark: bytes,
        recorded: Callable[[bytes], bool],
    ) -> None:
        self._recorded = recorded
        self._new_cookie = new_cookie
        self._mark = mark
        self._questions = Questions(new_cookie)
        self._met: dict[_Key, _Met] = {}
        self._waiting: dict[bytes, _Key] = {}
        self._fading: deque[tuple[int, _Key]] = deque()
        self._octets = 0
        self._sealed: set[bytes] = set()
        self.ready = False

    # -- what the recordings tell it --------------------------------------------------------------

    def seal(self, call: bytes) -> None:
        """Take note that a live grant covers this call's content."""
        self._sealed.add(call)

    def unseal(self, call: bytes) -> None:
        """Take note that none does any more."""
        self._sealed.discard(call)

    # -- what comes in ----------------------------------------------------------------------------

    def asked(self, asker: Asker, data: bytes, now: int) -> list[GateCommand]:
        """Take one message of a client."""
        self._fade(now)
        try:
            cookie, body = split(data)
        except NgMalformed as error:
            # Without a cookie there is nobody to answer.
            return [Refusal(asker=asker, why=str(error), verb=None, name=None, call_id=None)]
        met = self._met.get((asker, cookie))
        if met is not None:
            return self._again(asker, cookie, met, hash(body))
        try:
            message = decode(body, asker.encoding)
        except NgMalformed as error:
            return _refuse(asker, cookie, RefusedMessage(str(error), None, None), None)
        return self._decide(asker, cookie, body, message, now)

    def answered(self, data: bytes, now: int) -> list[GateCommand]:
        """Take one datagram of the relay; what answers no question of ours is dropped."""
        self._fade(now)
        cookie, _, body = data.partition(b" ")
        question = self._questions.answered(cookie)
        if question is not None:
            return [Told(question.token, _reply(body))]
        key = self._waiting.pop(cookie, None)
        if key is None:
            return []
        asker, their_cookie = key
        met = self._met[key]
        body = without(body, self._mark)
        answer = ToAsker(asker, their_cookie + b" " + _as(asker.encoding, body))
        request = self._keep_answer(met, answer.data)
        if met.call_id is None or _OK not in body:
            return [answer]
        return [Reached(verb=met.verb, call_id=met.call_id, request=request, answer=answer)]

    def ask(self, question: NgDict, token: Hashable, now: int) -> list[GateCommand]:
        """Ask the relay something for the agent itself; `Told` brings the answer."""
        return [ToRelay(self._questions.ask(question, token, now))]

    def expire(self, now: int) -> list[GateCommand]:
        """Ask again what the agent itself asked; give up what is never answered."""
        self._fade(now)
        again, given_up = self._questions.wake_up(now)
        return [*map(ToRelay, again), *map(_unanswered, given_up)]

    def next_deadline(self) -> int | None:
        """Return when `expire` has something to do for the agent's own questions."""
        return self._questions.next_deadline()

    def forget_pending(self) -> list[GateCommand]:
        """Await nothing more: the relay that was asked is gone."""
        for key in list(self._waiting.values()):
            self._forget(key, self._met[key].until)
        return [_unanswered(each) for each in self._questions.give_up()]

    # -- deciding ---------------------------------------------------------------------------------

    def _again(self, asker: Asker, cookie: bytes, met: _Met, digest: int) -> list[GateCommand]:
        """Rule 3."""
        if met.digest != digest:
            why = RefusedMessage("the cookie is in use for another message", None, None)
            return _refuse(asker, cookie, why, None)
        if met.answer is not None:
            return [ToAsker(asker, met.answer)]
        return [ToRelay(met.data)]

    def _decide(
        self, asker: Asker, cookie: bytes, body: bytes, message: NgDict, now: int
    ) -> list[GateCommand]:
        call = call_id(message)
        judged = judge(message)
        match judged:
            case Passed():
                return self._pass(asker, cookie, body, judged, call, now)
            case Gated(verb=verb, sealable=True) if call is not None and call in self._sealed:
                if self._recorded(call):  # By the agent, sealed: there is nothing to start.
                    return [_answer(asker, cookie, {b"result": b"ok"})]
                why = RefusedMessage("the call is not being recorded; ask again", verb, None)
            case Gated(verb=verb, why=reason):
                why = RefusedMessage(reason or "no live authority covers this call", verb, None)
            case OperatorOnly(verb=verb):
                why = RefusedMessage("operators ask the agent, not this port", verb, None)
            case RefusedMessage():
                why = judged
        return _refuse(asker, cookie, why, call)

    def _pass(
        self,
        asker: Asker,
        cookie: bytes,
        body: bytes,
        passed: Passed,
        call: bytes | None,
        now: int,
    ) -> list[GateCommand]:
        if not self.ready and passed.verb in _SETS_UP:
            return []  # Rule 6.
        upstream = self._new_cookie()
        data = upstream + b" " + encode(passed.message, Encoding.BENCODE)
        if self._mark in data:  # Rule 5.
            why = RefusedMessage("this tag is not the proxy's to name", passed.verb, None)
            return _refuse(asker, cookie, why, call)
        met = _Met(hash(body), now + REMEMBERED, upstream, data, passed.verb, call, passed.message)
        self._remember((asker, cookie), met)
        removed = [
            Trimmed(asker=asker, verb=passed.verb, name=each.name, call_id=call)
            for each in passed.removed
            # Under a live grant, what asks for a recording gets one: the agent's own.
            if not (call in self._sealed and each.treatment is Treatment.STRIP)
        ]
        if call is None or passed.verb not in _SETS_UP:
            return [ToRelay(data), *removed]
        return [Passing(call_id=call, request=passed.message), ToRelay(data), *removed]

    # -- remembering ------------------------------------------------------------------------------

    def _remember(self, key: _Key, met: _Met) -> None:
        """Keep a message; the oldest, whoever's, give way (rule 7): who repeats one asks anew."""
        self._met[key] = met
        self._waiting[met.upstream] = key
        self._fading.append((met.until, key))
        self._octets += len(met.data)
        while len(self._met) > _MOST or self._octets > _MOST_OCTETS:
            until, oldest = self._fading.popleft()
            self._forget(oldest, until)

    def _keep_answer(self, met: _Met, answer: bytes) -> NgDict:
        """Keep the answer in place of the question, which is returned."""
        request = met.request
        self._octets += len(answer) - len(met.data)
        met.answer, met.data, met.request = answer, b"", {}
        return request

    def _fade(self, now: int) -> None:
        while self._fading and self._fading[0][0] <= now:
            until, key = self._fading.popleft()
            self._forget(key, until)

    def _forget(self, key: _Key, until: int) -> None:
        met = self._met.get(key)
        if met is not None and met.until == until:  # Else it was forgotten and met anew.
            del self._met[key]
            self._waiting.pop(met.upstream, None)
            self._octets -= len(met.data) + len(met.answer or b"")


def _unanswered(question: Question) -> Told:
    return Told(question.token, None)


def _reply(body: bytes) -> NgDict | None:
    try:
        return decode(body, Encoding.BENCODE)
    except NgMalformed:
        return None


def _as(encoding: Encoding, body: bytes) -> bytes:
    """Write the relay's answer as the asker wrote the question."""
    if encoding is Encoding.BENCODE:
        return body
    try:
        return encode(decode(body, Encoding.BENCODE), encoding)
    except NgMalformed:  # It may hold octets that JSON cannot.
        return encode({b"result": b"error", b"error-reason": b"the answer is no JSON"}, encoding)


def _answer(asker: Asker, cookie: bytes, words: NgDict) -> ToAsker:
    return ToAsker(asker, cookie + b" " + encode(words, asker.encoding))


def _refuse(
    asker: Asker, cookie: bytes, why: RefusedMessage, call: bytes | None
) -> list[GateCommand]:
    """Rule 4. The same message again is refused again, in the same words."""
    named = why.unknown or why.name
    reason = f"callguard: {why.why}{f': {named}' if named else ''}".encode()
    return [
        _answer(asker, cookie, {b"result": b"error", b"error-reason": reason}),
        Refusal(asker=asker, why=why.why, verb=why.verb, name=why.name, call_id=call),
    ]
