"""NG over TCP: where one message ends and the next begins.

1. Nothing stands between messages: each is a cookie, a space and one bencoded dictionary, and the
   relay finds the end of the one by the end of the other. It frames no JSON, so neither is it here.
2. However the stream is cut, the messages are the same, and so is whether it is refused.
3. Every octet is looked at once: a reader that is fed octet by octet does no more work.
4. The first octet that cannot belong to a message ends the stream; there is no way back into step.
   So does a message that grows beyond what a datagram could carry.
5. What is found is whole, not yet well formed: `ngcodec.decode` says that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.core.ngcodec import MAX_COOKIE, MAX_DEPTH, MAX_DIGITS, MAX_MESSAGE, NgMalformed

_COOKIE = re.compile(rb"[!-~]{0,%d}" % MAX_COOKIE)
_PLAIN_INTEGER = re.compile(rb"i-?[0-9]{0,19}")
_END, _INT, _OPENERS = ord("e"), ord("i"), b"dl"
_DIGITS = re.compile(rb"[0-9]{1,%d}" % MAX_DIGITS)


class Frames:
    """The messages of one connection's stream."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._at = 0  # up to here the octets have been looked at
        self._depth = 0
        self._cookie = True  # the octets looked at are all of the cookie
        self._broken: str | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take octets in, and go through the messages that are whole now.

        Raises NgMalformed after the last message before the fault, and from then on.
        """
        if self._broken is None:
            self._octets += chunk
        return self._messages()

    @property
    def waiting(self) -> int:
        """How many octets of a message that is not whole are kept."""
        return len(self._octets)

    def _messages(self) -> Iterator[bytes]:
        while self._broken is None:
            try:
                whole = self._advance()
            except NgMalformed as fault:
                self._broken = str(fault)
                self._octets.clear()
                break
            if not whole:
                return
            message = bytes(self._octets[: self._at])
            del self._octets[: self._at]
            self._at, self._cookie = 0, True
            yield message
        raise NgMalformed(self._broken or "")

    def _advance(self) -> bool:
        """Go on to the end of the message (True) or of what has come (False)."""
        if self._cookie and not self._pass_cookie():
            return False
        while self._at < len(self._octets):
            if not self._pass_token():
                break
            if self._at > MAX_MESSAGE:
                raise NgMalformed("the message is longer than a datagram can be")
            if not self._depth:
                return True
        return False

    def _pass_cookie(self) -> bool:
        octets = self._octets
        found = _COOKIE.match(octets)
        end = found.end() if found else 0
        if end == len(octets):
            return False
        if not end or octets[end] != ord(" "):
            raise NgMalformed("the message does not begin with a cookie and a space")
        if end + 1 == len(octets):
            return False
        if octets[end + 1] != ord("d"):
            raise NgMalformed("the body is not a bencoded dictionary")
        self._at, self._depth, self._cookie = end + 2, 1, False
        return True

    def _pass_token(self) -> bool:
        """Go over one token; False when it has not come as a whole.

        A string is gone over as soon as its length is known: its octets need no looking at.
        """
        kind = self._octets[self._at]
        if kind == _END:
            self._depth -= 1
            self._at += 1
        elif kind in _OPENERS:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise NgMalformed("the body is nested too deeply")
            self._at += 1
        else:
            return self._pass_scalar(kind == _INT)
        return True

    def _pass_scalar(self, integer: bool) -> bool:  # noqa: FBT001 - one of two kinds
        octets = self._octets
        found = (_PLAIN_INTEGER if integer else _DIGITS).match(octets, self._at)
        if found is None:
            raise NgMalformed("the body holds what is no bencode")
        end = found.end()
        if end == len(octets):
            return False
        if octets[end] != ord("e" if integer else ":"):
            raise NgMalformed("the body holds what is no bencode")
        self._at = end + 1 if integer else end + 1 + int(found[0])
        return True
