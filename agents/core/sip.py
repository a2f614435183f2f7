"""A reader of SIP messages (RFC 3261) that takes what endpoints take.

An intercept that a stray space defeats is no intercept: the reader is made for messages that some
endpoint would act on, not for those alone that follow the grammar.

1. `NotSip` is the only error, for octets without a SIP start line.
2. Lines end in CRLF or LF; blank lines before the message are skipped; a line that starts with
   white space continues the one before it; names may be compact, in any case and followed by white
   space; what is no header is skipped.
3. Octets that are not UTF-8 become lone surrogates (`surrogateescape`), so that nothing is lost.
4. Content-Length is obeyed when every one given says the same and the datagram holds as much; then
   what follows is no part of the message (RFC 3261 §18.3). Otherwise the body is the rest.
5. Where a header that stands once is repeated, the first counts for what the message belongs to
   (Call-ID, CSeq, tags), and each counts for who is named.
6. Time is linear in the size of the message: no pattern here backtracks over repeated input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agents.core.mime import Part, media_type, read_parts

MOST_LISTED = 256
_COMPACT = {
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "v": "via",
    "x": "session-expires",
}
_LISTS = (
    "p-asserted-identity",
    "p-preferred-identity",
    "remote-party-id",
    "p-called-party-id",
    "diversion",
    "history-info",
)
_BLANK = b" \t\r\n\0"
_SPACE = " \t\r\n"
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_STATUS = re.compile(r"[1-6][0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,32}")
_QUOTED_REST = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_TAG = re.compile(r";[ \t]*tag[ \t]*=[ \t]*([^;,\s]+)", re.IGNORECASE)
_BRANCH = re.compile(r";[ \t]*branch[ \t]*=[ \t]*([^;,\s]+)", re.IGNORECASE)


class NotSip(ValueError):  # noqa: N818 - says what the octets are, and is the documented name
    """The octets are not a SIP message. The text never holds any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SipMessage:
    """One message. A request has `method` and `request_uri`, a response has `status`.

    `headers` are by lower-case long name, each value unfolded, in order. `body_offset` is the place
    of the body in the octets read; `body` ends where Content-Length says (4).
    """

    method: str | None
    status: int | None
    request_uri: str | None = field(repr=False)
    headers: Mapping[str, tuple[str, ...]] = field(repr=False)
    body_offset: int
    body: bytes = field(repr=False)

    def first(self, name: str) -> str | None:
        """Return the first value of a header by its lower-case long name."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def call_id(self) -> str | None:
        """The Call-ID, exactly as written; None when there is none."""
        return self.first("call-id") or None

    @property
    def cseq(self) -> tuple[int, str] | None:
        """The number and the method of CSeq."""
        words = (self.first("cseq") or "").split()
        if len(words) != 2 or not _NUMBER.fullmatch(words[0]):  # noqa: PLR2004 - number, method
            return None
        return int(words[0]), words[1]

    @property
    def from_tag(self) -> str:
        """The tag of From; empty when there is none (RFC 2543)."""
        return _tag(self.first("from"))

    @property
    def to_tag(self) -> str:
        """The tag of To; empty before the other side has answered."""
        return _tag(self.first("to"))

    @property
    def branch(self) -> str:
        """The branch of the topmost Via; empty when there is none."""
        top = (self.first("via") or "").partition(",")[0]
        found = _BRANCH.search(top)
        return found[1] if found else ""

    @property
    def content_type(self) -> str:
        """The media type of the body, lower-case; SDP when the body starts as SDP untyped."""
        named = self.first("content-type")
        if named:
            return media_type(named)
        return "application/sdp" if self.body.startswith(b"v=") else ""

    def identities(self) -> tuple[str, ...]:
        """Return the URIs of those whom the message is from, to or on behalf of, as written.

        Request-URI, From, To, P-Asserted-Identity and P-Preferred-Identity (RFC 3325),
        Remote-Party-ID, P-Called-Party-ID (RFC 7315), Diversion (RFC 5806), History-Info
        (RFC 7044).
        """
        found: dict[str, None] = {}
        if self.request_uri is not None:
            found[self.request_uri.strip(_SPACE + "<>")] = None
        for name in ("from", "to"):
            for value in self.headers.get(name, ()):
                found[address(value)[0]] = None
        for name in _LISTS:
            for value in self.headers.get(name, ()):
                found.update((address(each)[0], None) for each in comma_list(value))
        found.pop("", None)
        return tuple(found)

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the body, with multipart ones taken apart (RFC 5621)."""
        if not self.body:
            return ()
        named = self.first("content-type") or self.content_type
        encoding = self.first("content-encoding") or ""
        return read_parts(self.body, named, encoding, self.body_offset)

    def sdp(self) -> tuple[bytes, ...]:
        """Return the session descriptions in the body that can be read."""
        return tuple(part.body for part in self.parts() if part.is_sdp)


def read_message(payload: bytes) -> SipMessage:
    """Read one message from the start of a datagram, or raise NotSip."""
    start = len(payload) - len(payload.lstrip(_BLANK))
    end = _END.search(payload, start)
    head_end, offset = end.span() if end else (len(payload), len(payload))
    line_end = payload.find(b"\n", start, head_end)
    line_end = head_end if line_end < 0 else line_end
    method, uri, status = _start_line(_text(payload[start:line_end]))
    headers = _headers(_text(payload[line_end + 1 : head_end]))
    body = payload[offset : offset + _body_length(headers, len(payload) - offset)]
    return SipMessage(
        method=method,
        status=status,
        request_uri=uri,
        headers=headers,
        body_offset=offset,
        body=body,
    )


def address(value: str) -> tuple[str, str]:
    """Take apart `"Name" <uri>;params` or `uri;params` into the URI and the parameters."""
    blanked = _blank_quoted(value)
    left = blanked.find("<")
    right = blanked.find(">", left)
    if left >= 0 and right >= 0:
        return value[left + 1 : right].strip(_SPACE), blanked[right + 1 :]
    uri, semicolon, params = blanked.partition(";")
    return uri.strip(_SPACE + "<"), semicolon + params


def comma_list(value: str) -> Iterator[str]:
    """Split at commas outside of quotes and angle brackets, into at most `MOST_LISTED` values."""
    blanked = _blank_bracketed(_blank_quoted(value))
    start = 0
    for _ in range(MOST_LISTED - 1):
        comma = blanked.find(",", start)
        if comma < 0:
            break
        yield value[start:comma]
        start = comma + 1
    yield value[start:]


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _start_line(line: str) -> tuple[str | None, str | None, int | None]:
    words = line.split()
    if len(words) > 1 and _VERSION.fullmatch(words[0]) and _STATUS.fullmatch(words[1]):
        return None, None, int(words[1])
    if len(words) > 2 and _VERSION.fullmatch(words[-1]) and _METHOD.fullmatch(words[0]):  # noqa: PLR2004 - method, URI, version
        return words[0], " ".join(words[1:-1]), None
    raise NotSip("no start line of a request or a response")


def _headers(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in _FOLD.sub(" ", text).split("\n"):
        name, colon, value = line.partition(":")
        name = name.strip(_SPACE).lower()
        if not colon or not _METHOD.fullmatch(name):
            continue
        name = _COMPACT.get(name, name)
        found.setdefault(name, []).append(value.strip(_SPACE))
    return {name: tuple(values) for name, values in found.items()}


def _body_length(headers: Mapping[str, tuple[str, ...]], there: int) -> int:
    """How much of what is there is the body (4)."""
    given = set(headers.get("content-length", ()))
    if len(given) != 1:
        return there
    text = given.pop()
    return min(int(text), there) if _NUMBER.fullmatch(text) else there


def _blank_quoted(value: str) -> str:
    """Overwrite quoted strings by blanks; an unbalanced quote ends the search."""
    pieces, done = [], 0
    while (start := value.find('"', done)) >= 0:
        rest = _QUOTED_REST.match(value, start + 1)
        end = rest.end() if rest else len(value)
        if end >= len(value) or value[end] != '"':
            break
        pieces += [value[done:start], " " * (end + 1 - start)]
        done = end + 1
    return "".join((*pieces, value[done:])) if pieces else value


def _blank_bracketed(value: str) -> str:
    pieces, done = [], 0
    while (start := value.find("<", done)) >= 0:
        end = value.find(">", start)
        if end < 0:
            break
        pieces += [value[done:start], " " * (end + 1 - start)]
        done = end + 1
    return "".join((*pieces, value[done:])) if pieces else value


def _tag(value: str | None) -> str:
    if value is None:
        return ""
    found = _TAG.search(address(value)[1])
    return found[1] if found else ""
