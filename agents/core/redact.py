"""What of a message may be written below the level `content`.

1. At `content` a frame is written as it came.
2. Below, of a body only session descriptions stay. The rest (texts, digits in INFO, KPML, parts of
   other messages, what follows the body, and bodies that cannot be read) is overwritten where a
   session description follows, and cut off behind the last one. A frame cut is shorter than what
   was on the wire; every place that is left is where it was.
3. In what stays, keys of media are overwritten: `a=crypto` (RFC 4568), `a=key-mgmt` (RFC 4567) and
   `k=` (RFC 4566), as are the headers that carry words of the parties: Subject and User-to-User
   (RFC 7433), and lines of headers and descriptions that are none.
4. A message that came in fragments is written as the one frame rebuilt from them: then no other
   frame holds what is cut.
"""

from __future__ import annotations

import re

from agents.core.packet import Datagram
from agents.core.sip import SipMessage
from guard.core.level import Level

_MASK = b"x"
# What starts a line that continues a header stays, the rest of a line is overwritten.
_EACH = re.compile(rb"(\r?\n[ \t]*|\r)|.", re.DOTALL)
# A line of SDP may end in CR, LF or both; white space is taken as endpoints may take it.
_KEYS = re.compile(
    rb"(?:\A|[\r\n])[ \t]*(?:k[ \t]*=|a[ \t]*=[ \t]*(?:crypto|key-mgmt)[ \t]*:)([^\r\n]*)",
    re.IGNORECASE,
)
# A line of a description that is none: no reader takes it, so nobody needs it.
_ODD = re.compile(rb"(?:\A|[\r\n])(?![ \t]*[a-z][ \t]*=)([^\r\n]+)", re.IGNORECASE)
# A line among the headers that is none: what a reader skips may be words.
_LOOSE = re.compile(rb"\n(?![ \t])([^:\n]+)(?=\n|\Z)")
# What the headers of a part hold beside its delimiter and what its content is.
_UNKNOWN = re.compile(rb"\n(?!content-)([^\n]+)", re.IGNORECASE)
# A header with the lines that continue it.
_WORDS = re.compile(
    rb"\n[ \t]*(?:subject|s|user-to-user)[ \t]*:[ \t]*((?:[^\n]|\n[ \t])*)", re.IGNORECASE
)


def redact(datagram: Datagram, message: SipMessage, level: Level) -> bytes:
    """Return the octets of the frame that may be written at a level.

    `message` is what was read from the datagram's payload.
    """
    if level is Level.CONTENT:
        return datagram.frame
    start = datagram.payload_offset
    head = _masked(_LOOSE, _masked(_WORDS, datagram.payload[: message.body_offset]))
    return datagram.frame[:start] + head + _bodies(datagram.payload, message)


def _bodies(payload: bytes, message: SipMessage) -> bytes:
    """Return the body up to the end of its last session description, the rest overwritten."""
    kept = bytearray()
    place = message.body_offset
    for part in message.parts():
        if part.is_sdp:
            kept += _MASK * (part.start - place)
            kept += _masked(_UNKNOWN, payload[part.start : part.offset])
            kept += _masked(_ODD, _masked(_KEYS, part.body))
            place = part.end
    return bytes(kept)


def _masked(pattern: re.Pattern[bytes], octets: bytes) -> bytes:
    """Overwrite the first group of every match; line ends stay, so that lines stay lines."""
    found = list(pattern.finditer(octets))
    if not found:
        return octets
    result = bytearray(octets)
    for match in found:
        start, end = match.span(1)
        if b"\n" in match[1] or b"\r" in match[1]:
            result[start:end] = _EACH.sub(lambda found: found[1] or _MASK, match[1])
        else:
            result[start:end] = _MASK * (end - start)
    return bytes(result)
