"""Whether a message involves a subject: exactly, after both are brought to one spelling.

1. A telephone number is E.164 digits behind `+`. In a message it stands in a `tel:` URI or as the
   user of a SIP URI, with `+`, `00` or nothing before the country code, with visual separators
   (RFC 3966 §5.1.1), percent-escapes and parameters (`;npdi;rn=…`, `;phone-context=…`).
2. A number with a `phone-context` is local: it counts only behind the digits of that context.
3. A SIP URI is `user@host`: user percent-decoded and compared with its case, host in lower case,
   without port, password, parameters and headers. Parameters of the user part belong to the user,
   except behind a telephone number.
4. A Call-ID is compared octet by octet. A peer address is an address of the datagram, with its
   port where the subject names one.
5. An empty list of subjects matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote

from agents.core.flow import mapped
from agents.core.packet import Datagram
from agents.core.sip import SipMessage
from guard.core.subjects import Subject, SubjectKind

_SCHEME = re.compile(r"[ \t]*(sips?|tel):", re.IGNORECASE)
_PORT = re.compile(r":[0-9]*$")
_SEPARATORS = str.maketrans("", "", "-.() \t")
_DIGITS = re.compile(r"\+?[0-9]+")
_PEER = re.compile(r"\[(?P<v6>[^\]]+)\]:(?P<p6>[0-9]+)|(?P<v4>[^:]+):(?P<p4>[0-9]+)")


class Matcher:
    """The subjects of one grant, ready to be compared with messages."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self._named: dict[SubjectKind, set[str]] = {kind: set() for kind in SubjectKind}
        for subject in subjects:
            self._named[subject.kind].add(subject.value)
        self._peers = {_peer(text) for text in self._named[SubjectKind.PEER_ADDRESS]}

    def names_call(self, call_id: str) -> bool:
        """Whether a Call-ID is itself a subject."""
        return call_id in self._named[SubjectKind.CALL_ID]

    def involves(self, message: SipMessage, datagram: Datagram) -> bool:
        """Whether a message names a subject or goes between peers of whom one is a subject."""
        if message.call_id is not None and self.names_call(message.call_id):
            return True
        if self._peers and not self._peers.isdisjoint(_ends(datagram)):
            return True
        numbers = self._named[SubjectKind.TELEPHONE]
        addresses = self._named[SubjectKind.SIP_URI]
        if not numbers and not addresses:
            return False
        return any(self.names(uri) for uri in message.identities())

    def names(self, uri: str) -> bool:
        """Whether a `sip:`, `sips:` or `tel:` URI is one of a subject."""
        found = _SCHEME.match(uri)
        if not found:
            return False
        rest = uri[found.end() :]
        if found[1].lower() == "tel":
            return telephone(rest) in self._named[SubjectKind.TELEPHONE]
        user, at, where = rest.partition("@")
        if not at:
            return False
        if telephone(user) in self._named[SubjectKind.TELEPHONE]:
            return True
        return not self._named[SubjectKind.SIP_URI].isdisjoint(_addresses(user, where))


def telephone(text: str) -> str | None:
    """Read the telephone number at the start of a `tel:` URI or user part (1, 2), `+` first."""
    number, _, params = unquote(text).partition(";")
    number = number.partition(":")[0].partition("?")[0].translate(_SEPARATORS)
    if not _DIGITS.fullmatch(number):
        return None
    if number.startswith("+"):
        return number
    context = _context(params)
    if context is not None:
        return context + number if _DIGITS.fullmatch(context) else None
    digits = number.removeprefix("00")
    return "+" + digits if digits else None


def _context(params: str) -> str | None:
    """Return the value of `phone-context`: a global prefix in digits, or a domain name."""
    for param in params.split(";"):
        name, _, value = param.partition("=")
        if name.strip().lower() == "phone-context":
            value = value.translate(_SEPARATORS)
            return value if value.startswith("+") else ""
    return None


def _addresses(user: str, where: str) -> Iterator[str]:
    """Yield the spellings of `user@host` that a SIP URI stands for (3)."""
    host = _host(where)
    name = unquote(user.partition(":")[0])
    yield f"{name}@{host}"
    number, semicolon, _ = name.partition(";")
    if semicolon and _DIGITS.fullmatch(number.translate(_SEPARATORS)):
        yield f"{number}@{host}"


def _host(where: str) -> str:
    host = re.split(r"[;?]", where, maxsplit=1)[0].strip(" \t").lower()
    if not host.endswith("]"):
        host = _PORT.sub("", host)
    bare = host.strip("[]").removesuffix(".")
    if ":" not in bare:
        return bare
    try:
        address = ip_address(bare)
    except ValueError:
        return bare
    # An IPv4 address in its IPv6 form is the same host, and a subject is named by the former.
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(inner) if inner else f"[{address}]"


def _ends(datagram: Datagram) -> tuple[tuple[bytes, int | None], ...]:
    src, dst = datagram.src, datagram.dst
    return (src, None), (src, datagram.sport), (dst, None), (dst, datagram.dport)


def _peer(text: str) -> tuple[bytes, int | None]:
    found = _PEER.fullmatch(text)
    if found is None:
        return mapped(text), None
    return mapped(found["v6"] or found["v4"]), int(found["p6"] or found["p4"])
