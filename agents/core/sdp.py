"""Where a session description (RFC 8866) asks media to be sent.

1. Nothing here raises. What cannot be followed is a finding, named without its content.
2. Every stream counts, whatever its kind, unless its port is 0 (rejected, RFC 3264 §6) or it runs
   over TCP. A stream on hold keeps its address; the old hold address 0.0.0.0 is no address.
3. RTCP goes where `a=rtcp` says (RFC 3605), else to the next port. With `a=rtcp-mux` in an answer,
   or `a=rtcp-mux-only` anywhere, it has no port of its own (RFC 5761 §5.1.1, RFC 8858); in an offer
   it keeps one, since the answer may decline.
4. ICE candidates (RFC 8839): which pair is chosen is not in the signalling, so every UDP candidate
   offered counts.
5. Names of hosts are not resolved: the node would have to ask somebody. They are a finding.
6. At most `MOST_FLOWS` flows of one description are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from agents.core.flow import FlowKey, mapped

MOST_FLOWS = 64
_MOST_PORTS = 16
_HIGHEST = 65535
_LINES = re.compile(rb"[\r\n]+")
_PORTS = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?")
_ATTRIBUTES = frozenset(("rtcp", "rtcp-mux", "rtcp-mux-only", "candidate"))
# foundation component transport priority address port "typ" type
_CANDIDATE_WORDS = 6


class SdpFinding(StrEnum):
    """Why a part of a session description is not followed."""

    HOST_NAME = "host_name"
    NO_ADDRESS = "no_address"
    MALFORMED_MEDIA = "malformed_media"
    TOO_MANY_FLOWS = "too_many_flows"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFlow:
    """Where the packets of one stream, and its control packets, are to be sent."""

    rtp: FlowKey
    rtcp: FlowKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one session description asks for."""

    flows: tuple[MediaFlow, ...] = field(repr=False)
    findings: frozenset[SdpFinding] = frozenset()


@dataclass(slots=True)
class _Media:
    """An m= line and what follows it."""

    port: int
    count: int
    rtp: bool
    addresses: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)


def media_flows(sdp: bytes, *, answer: bool = False) -> tuple[MediaFlow, ...]:
    """Return where media is to be sent. `answer` decides what `a=rtcp-mux` means (3)."""
    return read_description(sdp, answer=answer).flows


def read_description(sdp: bytes, *, answer: bool = False) -> Description:
    """Read a session description with its findings."""
    findings: set[SdpFinding] = set()
    flows: dict[MediaFlow, None] = {}
    for media in _media(sdp, findings):
        for flow in _flows(media, findings, answer=answer):
            if len(flows) >= MOST_FLOWS:
                findings.add(SdpFinding.TOO_MANY_FLOWS)
                break
            flows[flow] = None
    return Description(flows=tuple(flows), findings=frozenset(findings))


def _media(sdp: bytes, findings: set[SdpFinding]) -> list[_Media]:
    session: list[str] = []
    found: list[_Media] = []
    skipped = False
    for line in _LINES.split(sdp):
        kind, equals, rest = line.decode("latin-1").partition("=")
        kind, rest = kind.strip(), rest.strip()
        if not equals:
            continue
        if kind == "m":
            media = _media_line(rest, findings)
            skipped = media is None
            if media:
                found.append(media)
        elif skipped:
            continue
        elif kind == "c":
            (found[-1].addresses if found else session).append(rest)
        elif kind == "a" and found:
            name, _, value = rest.partition(":")
            if name.strip().lower() in _ATTRIBUTES:
                found[-1].attributes.append((name.strip().lower(), value.strip()))
    for media in found:
        media.addresses = media.addresses or session
    return found


def _media_line(rest: str, findings: set[SdpFinding]) -> _Media | None:
    """Read `<media> <port>[/<count>] <proto> <formats>`; None when nothing is to be followed."""
    words = rest.split()
    ports = _PORTS.fullmatch(words[1]) if len(words) > 2 else None  # noqa: PLR2004 - as above
    if not ports or int(ports[1]) > _HIGHEST:
        findings.add(SdpFinding.MALFORMED_MEDIA)
        return None
    transport = words[2].upper()
    if int(ports[1]) == 0 or transport.startswith("TCP"):
        return None
    count = min(int(ports[2] or 1), _MOST_PORTS)
    return _Media(int(ports[1]), count, "RTP/" in transport)


def _flows(media: _Media, findings: set[SdpFinding], *, answer: bool) -> Iterator[MediaFlow]:
    names = {name for name, _ in media.attributes}
    alone = "rtcp-mux-only" in names or (answer and "rtcp-mux" in names)
    for line in media.addresses or [""]:
        address = _connection(line, findings)
        if address is None:
            continue
        for number in range(max(media.count, 1)):
            port = media.port + number * (2 if media.rtp else 1)
            if port <= _HIGHEST:
                rtcp = None if alone or not media.rtp else _rtcp(media, address, port)
                yield MediaFlow(rtp=FlowKey(address=address, port=port), rtcp=rtcp)
    for name, value in media.attributes:
        key = _candidate(value, findings) if name == "candidate" else None
        if key:
            yield MediaFlow(rtp=key)


def _rtcp(media: _Media, address: bytes, port: int) -> FlowKey | None:
    given = next((value for name, value in media.attributes if name == "rtcp"), None)
    if given is not None and media.count == 1:
        words = given.split()
        if words and _PORTS.fullmatch(words[0]) and 0 < int(words[0]) <= _HIGHEST:
            there = _address(words[-1]) if len(words) > 1 else None
            return FlowKey(address=there or address, port=int(words[0]))
    return FlowKey(address=address, port=port + 1) if port < _HIGHEST else None


def _connection(line: str, findings: set[SdpFinding]) -> bytes | None:
    """Read `IN IP4 <address>[/<ttl>[/<count>]]`."""
    words = line.split()
    if not words:
        findings.add(SdpFinding.NO_ADDRESS)
        return None
    return _address_or_finding(words[-1].partition("/")[0], findings)


def _candidate(value: str, findings: set[SdpFinding]) -> FlowKey | None:
    words = value.split()
    if len(words) < _CANDIDATE_WORDS or words[2].upper() != "UDP":
        return None
    ports = _PORTS.fullmatch(words[5])
    if not ports or not 0 < int(ports[1]) <= _HIGHEST:
        return None
    address = _address_or_finding(words[4], findings)
    return FlowKey(address=address, port=int(ports[1])) if address else None


def _address_or_finding(text: str, findings: set[SdpFinding]) -> bytes | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        findings.add(SdpFinding.HOST_NAME)
        return None
    return _packed(parsed)


def _address(text: str) -> bytes | None:
    try:
        return _packed(ip_address(text))
    except ValueError:
        return None


def _packed(parsed: IPv4Address | IPv6Address) -> bytes | None:
    return None if parsed.is_unspecified else mapped(str(parsed))
