"""The gate in front of a media relay's NG port, without I/O: messages in, commands out.

1. What goes to the relay is what `judge` passed, written anew in bencode, under a cookie of the
   gate's own: the relay answers from one cache of cookies for all its clients.
2. An answer goes to who asked, under the cookie that they used, and to nobody else.
3. The same message again (same asker, same cookie) is asked again under the gate's same cookie
   while its answer is awaited, and gets the same answer for `REMEMBERED` once it is there. Another
   message under a cookie that is in use is refused.
4. What is refused never reaches the relay. It is answered in NG's own words, `result: error`, so
   that a SIP proxy carries on with the call, and it is told as `Refusal` or `Trimmed`.
5. A message that names a subscription of the agent's own is refused: nobody else ends those.
   Nor do they learn of it: an answer that tells of subscriptions is rid of the agent's own.
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
from agents.core.relayview import without

__all__ = [
    "Asker",
    "GateCommand",
    "NgGate",
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
_PAUSE = 50_000_000
_TRIES = 5
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


GateCommand = ToRelay | ToAsker | Told | Reached | Refusal | Trimmed
"""Whatever the gate's methods return."""


@dataclass(slots=True)
class _Pending:
    """A question at the relay. ``asker`` None: the agent's own, known by ``token``."""

    data: bytes
    due: int
    asker: Asker | None = None
    cookie: bytes = b""
    verb: str = ""
    call_id: bytes | None = None
    request: NgDict = field(default_factory=dict)
    token: Hashable = None
    tries: int = 0


@dataclass(slots=True)
class _Met:
    """What is known under one asker's cookie: which message, and its answer once there is one."""

    digest: int
    upstream: bytes | None = None
    answer: bytes | None = None


class NgGate:
    """One relay's gate. ``new_cookie`` gives an unguessable cookie that was not used before."""

    def __init__(self, new_cookie: Callable[[], bytes]) -> None:
        self._new_cookie = new_cookie
        self._pending: dict[bytes, _Pending] = {}
        self._met: dict[tuple[Asker, bytes], _Met] = {}
        self._fading: deque[tuple[int, tuple[Asker, bytes]]] = deque()
        self._sealed: set[bytes] = set()
        self._own_tags: set[bytes] = set()
        self.ready = False

    # -- what the recordings tell it --------------------------------------------------------------

    def seal(self, call: bytes) -> None:
        """Take note that a live grant covers this call's content."""
        self._sealed.add(call)

    def unseal(self, call: bytes) -> None:
        """Take note that none does any more."""
        self._sealed.discard(call)

    def protect(self, tag: bytes) -> None:
        """Let nobody name this tag (rule 5)."""
        self._own_tags.add(tag)

    def unprotect(self, tag: bytes) -> None:
        """Forget a subscription that is over."""
        self._own_tags.discard(tag)

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
        if len(self._met) >= _MOST or len(self._pending) >= _MOST:
            return []  # Rule 7; it will ask again.
        try:
            message = decode(body, asker.encoding)
        except NgMalformed as error:
            return _refuse(asker, cookie, RefusedMessage(str(error), None, None), None)
        return self._decide(asker, cookie, body, message, now)

    def answered(self, data: bytes, now: int) -> list[GateCommand]:
        """Take one datagram of the relay; what answers no question of ours is dropped."""
        self._fade(now)
        cookie, _, body = data.partition(b" ")
        pending = self._pending.pop(cookie, None)
        if pending is None:
            return []
        if pending.asker is None:
            return [Told(pending.token, _reply(body))]
        if self._own_tags and pending.verb == "delete":
            body = without(body, self._own_tags)
        answer = ToAsker(pending.asker, pending.cookie + b" " + _as(pending.asker.encoding, body))
        met = self._met.get((pending.asker, pending.cookie))
        if met is not None:
            met.answer, met.upstream = answer.data, None
        if pending.call_id is None or _OK not in body:
            return [answer]
        return [
            Reached(
                verb=pending.verb,
                call_id=pending.call_id,
                request=pending.request,
                answer=answer,
            )
        ]

    def ask(self, question: NgDict, token: Hashable, now: int) -> list[GateCommand]:
        """Ask the relay something for the agent itself; `Told` brings the answer."""
        cookie = self._new_cookie()
        data = cookie + b" " + encode(question, Encoding.BENCODE)
        self._pending[cookie] = _Pending(data=data, due=now + _PAUSE, token=token)
        return [ToRelay(data)]

    def expire(self, now: int) -> list[GateCommand]:
        """Ask again what the agent itself asked; give up what is never answered."""
        self._fade(now)
        commands: list[GateCommand] = []
        for cookie in [each for each, pending in self._pending.items() if pending.due <= now]:
            pending = self._pending[cookie]
            pending.tries += 1
            if pending.asker is None and pending.tries < _TRIES:
                pending.due = now + (_PAUSE << pending.tries)
                commands.append(ToRelay(pending.data))
                continue
            del self._pending[cookie]
            if pending.asker is None:
                commands.append(Told(pending.token, None))
        return commands

    def next_deadline(self) -> int | None:
        """Return when `expire` has something to do for the agent's own questions."""
        own = (each.due for each in self._pending.values() if each.asker is None)
        return min(own, default=None)

    def forget_pending(self) -> list[GateCommand]:
        """Await nothing more: the relay that was asked is gone."""
        pending, self._pending = self._pending, {}
        self._met = {key: met for key, met in self._met.items() if met.answer is not None}
        return [Told(each.token, None) for each in pending.values() if each.asker is None]

    # -- deciding ---------------------------------------------------------------------------------

    def _again(self, asker: Asker, cookie: bytes, met: _Met, digest: int) -> list[GateCommand]:
        """Rule 3."""
        if met.digest != digest:
            why = RefusedMessage("the cookie is in use for another message", None, None)
            return _refuse(asker, cookie, why, None)
        if met.answer is not None:
            return [ToAsker(asker, met.answer)]
        pending = self._pending.get(met.upstream or b"")
        return [ToRelay(pending.data)] if pending is not None else []

    def _decide(
        self, asker: Asker, cookie: bytes, body: bytes, message: NgDict, now: int
    ) -> list[GateCommand]:
        call = call_id(message)
        if self._own_tags and self._names_own(message):  # Rule 5.
            why = RefusedMessage("this tag is not the proxy's to name", None, None)
            return _refuse(asker, cookie, why, call)
        judged = judge(message)
        match judged:
            case Passed():
                return self._pass(asker, cookie, body, judged, call, now)
            case Gated(sealable=True) if call is not None and call in self._sealed:
                # The agent records this call already, sealed: there is nothing to start.
                return [_answer(asker, cookie, {b"result": b"ok"})]
            case Gated(verb=verb, why=reason):
                why = RefusedMessage(reason or "no live authority covers this call", verb, None)
            case OperatorOnly(verb=verb):
                why = RefusedMessage("operators ask the agent, not this port", verb, None)
            case RefusedMessage():
                why = judged
        return _refuse(asker, cookie, why, call)

    def _names_own(self, message: NgDict) -> bool:
        """Look for the agent's tags wherever they stand: the relay knows several keys for one."""
        for value in message.values():
            listed = value if isinstance(value, list) else (value,)
            if any(isinstance(each, bytes) and each in self._own_tags for each in listed):
                return True
        return False

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
        self._pending[upstream] = _Pending(
            data=data,
            due=now + REMEMBERED,
            asker=asker,
            cookie=cookie,
            verb=passed.verb,
            call_id=call,
            request=passed.message,
        )
        self._remember(asker, cookie, _Met(hash(body), upstream), now)
        removed = [
            Trimmed(asker=asker, verb=passed.verb, name=each.name, call_id=call)
            for each in passed.removed
            # Under a live grant, what asks for a recording gets one: the agent's own.
            if not (call in self._sealed and each.treatment is Treatment.STRIP)
        ]
        return [ToRelay(data), *removed]

    # -- remembering ------------------------------------------------------------------------------

    def _remember(self, asker: Asker, cookie: bytes, met: _Met, now: int) -> None:
        self._met[asker, cookie] = met
        self._fading.append((now + REMEMBERED, (asker, cookie)))

    def _fade(self, now: int) -> None:
        while self._fading and self._fading[0][0] <= now:
            self._met.pop(self._fading.popleft()[1], None)


def _reply(body: bytes) -> NgDict | None:
    try:
        return decode(body, Encoding.BENCODE)
    except NgMalformed:
        return None


def _as(encoding: Encoding, body: bytes) -> bytes:
    """Write the relay's answer as the asker wrote the question."""
    if encoding is Encoding.BENCODE:
        return body
    reply = _reply(body) or {b"result": b"error", b"error-reason": b"the relay cannot be read"}
    return encode(reply, encoding)


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
