"""A media relay's NG port as an object: what rtpengine 10.5 does with a message, and what it may do.

``tests/contract/test_relay_contract.py`` holds it to what the real one does. Beyond that it can fall
silent, restart, drop a subscription, say `ok` without effect, and be used by others than the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agents.core.ngcodec import Encoding, NgDict, NgMalformed, NgValue, decode, encode

YIELDING = frozenset(
    b"start recording,start forwarding,publish,connect,play media,play DTMF".split(b",")
)
_OK: NgDict = {b"result": b"ok"}


@dataclass
class Tag:
    """One side of a call. ``key``: its name in `query`; ``sources``: whom it hears, by key.

    ``listens``: it is not a party, but is sent copies, or was.
    """

    name: bytes
    key: str
    streams: int = 1
    sources: set[str] = field(default_factory=set)
    listens: bool = False
    packets: int = 0


@dataclass
class Call:
    """``tags`` by their key; that of who has not answered is made up."""

    tags: dict[str, Tag] = field(default_factory=dict)
    recording: bool = False
    untagged: int = 0

    def copies(self) -> dict[bytes, set[str]]:
        """Return who is sent a copy, of whom."""
        return {tag.name: tag.sources for tag in self.tags.values() if tag.listens and tag.sources}

    def parties(self) -> list[Tag]:
        """Return who speaks."""
        return [tag for tag in self.tags.values() if tag.name and not tag.listens and tag.streams]


class RelaySimulator:
    """One relay. ``silent`` and ``lying`` are for the test to set.

    ``lying``: commands that are answered and not done. ``served``: every command that was done.
    """

    def __init__(self) -> None:
        self.calls: dict[bytes, Call] = {}
        self.silent = False
        self.lying: set[bytes] = set()
        self.served: list[NgDict] = []
        self._cookies: dict[bytes, bytes] = {}
        self._ports = 30000

    # -- the protocol -----------------------------------------------------------------------------

    def take(self, datagram: bytes) -> bytes | None:
        """Return the answer to a datagram; None where there is none."""
        if self.silent:
            return None
        cookie, _, body = datagram.partition(b" ")
        if cookie not in self._cookies:
            try:
                message = decode(body, Encoding.BENCODE)
            except NgMalformed:
                return None
            self._cookies[cookie] = encode(self._do(message), Encoding.BENCODE)
        return cookie + b" " + self._cookies[cookie]

    def ask(self, **message: bytes | list[bytes]) -> NgDict:
        """Do as any client would; underscores in keys stand for hyphens."""
        question: NgDict = {key.replace("_", "-").encode(): value for key, value in message.items()}
        answer = self.take(b"other%d " % len(self._cookies) + encode(question, Encoding.BENCODE))
        assert answer is not None
        return decode(answer.partition(b" ")[2], Encoding.BENCODE)

    def _do(self, message: NgDict) -> NgDict:
        self.served.append(message)
        command = message.get(b"command")
        named = message.get(b"call-id")
        call = self.calls.get(named) if isinstance(named, bytes) else None
        if command in _OF_NO_CALL:
            return _OF_NO_CALL[command](self, message)
        if command not in _OF_CALLS:
            return _error(b"Unrecognized command")
        if call is None:
            later = command in {b"subscribe request", b"subscribe answer", b"unsubscribe"}
            return _error(b"Unknown call-ID" if later else b"Unknown call-id")
        return dict(_OK) if command in self.lying else _OF_CALLS[command](self, call, message)

    def _ping(self, _message: NgDict) -> NgDict:
        return {b"result": b"pong"}

    def _list(self, message: NgDict) -> NgDict:
        limit = message.get(b"limit", b"32")
        assert isinstance(limit, bytes)
        return {b"calls": list(self.calls)[: int(limit)], **_OK}

    def _offer(self, message: NgDict) -> NgDict:
        call_id, sender, sdp = (_text(message, key) for key in ("call-id", "from-tag", "sdp"))
        if not sdp:
            return _error(b"No SDP body in message")
        if b"m=" not in sdp:
            return _error(b"Failed to parse SDP")
        call = self.calls.setdefault(call_id, Call())
        call.recording |= message.get(b"record-call") == b"yes"
        mine = self._tag(call, sender)
        mine.streams = sdp.count(b"m=")
        other = _text(message, "to-tag")
        peer = self._tag(call, other) if other else self._unanswered(call, mine)
        _join(mine, peer)
        peer.streams = mine.streams
        return {b"sdp": self._sdp(mine.streams, b"sendrecv"), **_OK}

    def _answer(self, call: Call, message: NgDict) -> NgDict:
        sender, answering = _text(message, "from-tag"), _text(message, "to-tag")
        offered = self._tag(call, sender)
        waiting = [call.tags[key] for key in offered.sources if key.startswith("<untagged")]
        if waiting and _key(answering) not in call.tags:
            tag = call.tags.pop(waiting[0].key)
            offered.sources.discard(tag.key)
            tag.name, tag.key = answering, _key(answering)
            call.tags[tag.key] = tag
        answered = self._tag(call, answering)
        answered.streams = _text(message, "sdp").count(b"m=")
        _join(offered, answered)
        return {b"sdp": self._sdp(answered.streams, b"sendrecv"), **_OK}

    def _delete(self, message: NgDict) -> NgDict:
        warning: NgDict = {b"warning": b"Call-ID not found or tags didn't match", **_OK}
        call = self.calls.get(_text(message, "call-id"))
        if call is None or _key(_text(message, "from-tag")) not in call.tags:
            return warning
        if call.tags[_key(_text(message, "from-tag"))].listens:
            del call.tags[_key(_text(message, "from-tag"))]
            return dict(_OK)
        answer = self._query(call, message)
        del self.calls[_text(message, "call-id")]
        return answer

    def _query(self, call: Call, _message: NgDict) -> NgDict:
        tags: NgDict = {
            tag.key.encode("latin-1"): _described(call, tag) for tag in call.tags.values()
        }
        return {b"tags": tags, **_OK}

    def _subscribe(self, call: Call, message: NgDict) -> NgDict:
        flags = message.get(b"flags")
        assert isinstance(flags, list)
        assert b"all" in flags
        sources = call.parties()
        name = _text(message, "to-tag") or b"made-up-%d" % len(self._cookies)
        subscriber = self._tag(call, name)
        subscriber.listens, subscriber.sources = True, {each.key for each in sources}
        subscriber.streams = sum(each.streams for each in sources)
        offer = self._sdp(subscriber.streams, b"sendonly")
        tags: list[NgValue] = [each.name for each in sources]
        return {b"sdp": offer, b"from-tags": tags, b"to-tag": name, **_OK}

    def _take(self, call: Call, message: NgDict) -> NgDict:
        subscriber = call.tags.get(_key(_text(message, "to-tag")))
        if subscriber is None:
            return _error(b"To-tag not found")
        if not subscriber.sources:
            return _error(b"Failed to process subscription answer")
        return dict(_OK)

    def _unsubscribe(self, call: Call, message: NgDict) -> NgDict:
        # The real one makes a tag that it does not know, too.
        subscriber = self._tag(call, _text(message, "to-tag"), streams=0)
        subscriber.sources.clear()
        return dict(_OK)

    def _record(self, call: Call, message: NgDict) -> NgDict:
        call.recording = message[b"command"] == b"start recording"
        return dict(_OK)

    def _tag(self, call: Call, name: bytes, streams: int = 1) -> Tag:
        return call.tags.setdefault(_key(name), Tag(name, _key(name), streams))

    def _unanswered(self, call: Call, mine: Tag) -> Tag:
        for key in mine.sources:
            if not call.tags[key].name:
                return call.tags[key]
        call.untagged += 1
        key = f"<untagged {call.untagged}>"
        return call.tags.setdefault(key, Tag(b"", key))

    def _sdp(self, streams: int, direction: bytes) -> bytes:
        lines = [b"v=0", b"o=- 1 1 IN IP4 127.0.0.1", b"s=-", b"t=0 0"]
        for _ in range(streams):
            self._ports = 30000 + (self._ports + 2) % 30000
            lines += [
                b"m=audio %d RTP/AVP 8 101" % self._ports,
                b"c=IN IP4 127.0.0.1",
                b"a=rtpmap:8 PCMA/8000",
                b"a=rtpmap:101 telephone-event/8000",
                b"a=" + direction,
                b"a=rtcp:%d" % (self._ports + 1),
            ]
        return b"".join(line + b"\r\n" for line in lines)

    # -- what may happen to it --------------------------------------------------------------------

    def restart(self) -> None:
        """End every call and forget every cookie."""
        self.calls.clear()
        self._cookies.clear()

    def talk(self, call_id: bytes, packets: int = 50) -> None:
        """Let every party of a call send."""
        for tag in self.calls[call_id].parties():
            tag.packets += packets

    def drop(self, tag: bytes) -> None:
        """Lose a subscription."""
        for call in self.calls.values():
            if _key(tag) in call.tags:
                call.tags[_key(tag)].sources.clear()

    def merge(self, call_id: bytes, *joining: bytes) -> None:
        """Let parties join a call behind the gate, as `connect` does."""
        call = self.calls[call_id]
        for name in joining:
            _join(self._tag(call, name), next(iter(call.tags.values())))

    def copies(self, call_id: bytes) -> dict[bytes, set[str]]:
        """Return who is sent a copy of a call, of which parties."""
        call = self.calls.get(call_id)
        return call.copies() if call is not None else {}

    def parties(self, call_id: bytes) -> set[str]:
        """Return who speaks in a call."""
        call = self.calls.get(call_id)
        return {each.key for each in call.parties()} if call is not None else set()


_OF_NO_CALL: dict[NgValue | None, Callable[[RelaySimulator, NgDict], NgDict]] = {
    b"ping": RelaySimulator._ping,
    b"list": RelaySimulator._list,
    b"offer": RelaySimulator._offer,
    b"delete": RelaySimulator._delete,
}
_OF_CALLS: dict[NgValue | None, Callable[[RelaySimulator, Call, NgDict], NgDict]] = {
    b"answer": RelaySimulator._answer,
    b"query": RelaySimulator._query,
    b"subscribe request": RelaySimulator._subscribe,
    b"subscribe answer": RelaySimulator._take,
    b"unsubscribe": RelaySimulator._unsubscribe,
    b"start recording": RelaySimulator._record,
    b"stop recording": RelaySimulator._record,
}


def _key(name: bytes) -> str:
    return name.decode("latin-1")


def _text(message: NgDict, key: str) -> bytes:
    value = message.get(key.encode(), b"")
    assert isinstance(value, bytes)
    return value


def _error(reason: bytes) -> NgDict:
    return {b"result": b"error", b"error-reason": reason}


def _join(one: Tag, other: Tag) -> None:
    """Let two parties hear each other."""
    one.sources.add(other.key)
    other.sources.add(one.key)


def _described(call: Call, tag: Tag) -> NgDict:
    hearers = [each for each in call.tags.values() if tag.key in each.sources]
    sources = [call.tags[key] for key in sorted(tag.sources) if key in call.tags]
    return {
        b"tag": tag.name,
        b"created": 1795699011,
        b"subscriptions": [_of(each, copied=tag.listens) for each in sources],
        b"subscribers": [_of(each, copied=each.listens) for each in hearers],
        b"medias": [_media(number, tag) for number in range(tag.streams)],
    }


def _of(tag: Tag, *, copied: bool) -> NgDict:
    return {b"tag": tag.name, b"type": b"pub/sub" if copied else b"offer/answer"}


def _media(number: int, tag: Tag) -> NgDict:
    streams: list[NgValue] = [
        {b"flags": [kind], b"stats": {b"packets": count, b"bytes": 172 * count, b"errors": 0}}
        for kind, count in ((b"RTP", tag.packets if not number else 0), (b"RTCP", 0))
    ]
    return {b"index": number + 1, b"type": b"audio", b"streams": streams, b"flags": [b"send"]}
