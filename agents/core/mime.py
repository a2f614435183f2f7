"""The parts of a message body, and where each stands (RFC 2046 §5.1, RFC 5621).

1. Nothing here raises: a multipart body without its boundary is one part of unknown meaning.
2. Nesting and the number of parts are bounded; what lies beyond is in no part, and what is in no
   part is never taken for a session description.
3. A part that is encoded (Content-Encoding, base64) is not read, so it is not a session
   description either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

_SDP = "application/sdp"
_DEEPEST = 3
_MOST_PARTS = 16
_PLAIN = frozenset(("", "identity", "binary", "8bit", "7bit"))
_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"([^"]+)"|([^;\s"]+))', re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a body: `start` is where its delimiter or, alone, its body starts.

    `offset` and `end` frame its body. All are places in the octets that the message was read from.
    """

    content_type: str
    encoded: bool
    start: int
    offset: int
    end: int
    body: bytes = field(repr=False)

    @property
    def is_sdp(self) -> bool:
        """Whether this is a session description that can be read."""
        return self.content_type == _SDP and not self.encoded


def media_type(value: str) -> str:
    """Return the type of a Content-Type, lower-case, without its parameters."""
    return value.partition(";")[0].strip().lower()


def read_parts(body: bytes, content_type: str, encoding: str, offset: int) -> tuple[Part, ...]:
    """Take a body apart; `offset` is its place in the message."""
    whole = Part(
        content_type=media_type(content_type),
        encoded=encoding.strip().lower() not in _PLAIN,
        start=offset,
        offset=offset,
        end=offset + len(body),
        body=body,
    )
    return tuple(_taken_apart(whole, content_type, _DEEPEST))[:_MOST_PARTS]


def _taken_apart(part: Part, content_type: str, depth: int) -> Iterator[Part]:
    found = _BOUNDARY.search(content_type)
    if not part.content_type.startswith("multipart/") or not found or part.encoded or not depth:
        yield part
        return
    boundary = (found[1] or found[2]).encode("utf-8", "surrogateescape")
    for start, end in _between(part.body, b"--" + boundary):
        yield from _inner(part, start, end, depth)


def _between(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part's delimiter line starts and where the part ends."""
    line = re.compile(rb"^" + re.escape(delimiter) + rb"(--)?[ \t]*(?=\r?$)", re.MULTILINE)
    found = list(islice(line.finditer(body), _MOST_PARTS + 1))
    for number, match in enumerate(found[:_MOST_PARTS]):
        if match[1]:
            return
        following = number + 1
        yield match.start(), found[following].start() if following < len(found) else len(body)


def _inner(outer: Part, start: int, end: int, depth: int) -> Iterator[Part]:
    line = outer.body.find(b"\n", start, end)
    if line < 0:
        return
    # The blank line may follow the delimiter at once: a part without headers is text.
    blank = _END.search(outer.body, line - 1 if outer.body[line - 1] == 0x0D else line, end)  # noqa: PLR2004 - CR
    if blank is None:
        return
    headers = _headers(outer.body[line + 1 : blank.end()])
    named = headers.get("content-type", "text/plain")
    encodings = (headers.get("content-encoding", ""), headers.get("content-transfer-encoding", ""))
    part = Part(
        content_type=media_type(named),
        encoded=any(each.lower() not in _PLAIN for each in encodings),
        start=outer.offset + start,
        offset=outer.offset + blank.end(),
        end=outer.offset + end,
        body=outer.body[blank.end() : end],
    )
    yield from _taken_apart(part, named, depth - 1)


def _headers(octets: bytes) -> dict[str, str]:
    text = _FOLD.sub(" ", octets.decode("utf-8", "surrogateescape"))
    pairs = (line.partition(":") for line in text.split("\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
