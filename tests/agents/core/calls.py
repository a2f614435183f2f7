"""The two sides of a call, and what they say, for tests of whoever listens."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.core.dialogs import CloseFlow, DialogEvent, DialogLimits, DialogTracker, OpenFlow
from agents.core.flow import FlowKey
from agents.core.packet import Datagram
from guard.core.level import Level
from guard.core.subjects import Subject, SubjectKind, parse_subject
from tests.agents.core.wire import at, datagram, key

ALICE = parse_subject(SubjectKind.SIP_URI, "alice@example.com")
CALLER, PROXY, CALLEE = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def sdp(address: str, port: int, more: str = "") -> str:
    family = "IP6" if ":" in address else "IP4"
    return (
        f"v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\n{more}"
    )


def message(
    start: str,
    *,
    call: str = "call-1",
    cseq: str = "1 INVITE",
    ends: tuple[str, str] = ("a", ""),
    branch: str = "1",
    body: str = "",
    src: str = CALLER,
    dst: str = PROXY,
    more: str = "",
    kind: str = "application/sdp",
    names: tuple[str, str] = ("alice@example.com", "bob@example.org"),
) -> Datagram:
    """One message; `start` is a method, or a status with its reason."""
    first = f"SIP/2.0 {start}" if start[0].isdigit() else f"{start} sip:{names[1]} SIP/2.0"
    tags = [f";tag={tag}" if tag else "" for tag in ends]
    text = (
        f"{first}\r\nVia: SIP/2.0/UDP {src};branch=z9hG4bK{branch}\r\n"
        f"From: <sip:{names[0]}>{tags[0]}\r\nTo: <sip:{names[1]}>{tags[1]}\r\n"
        f"Call-ID: {call}\r\nCSeq: {cseq}\r\n{more}"
    )
    if body:
        text += f"Content-Type: {kind}\r\n"
    text += f"Content-Length: {len(body)}\r\n\r\n{body}"
    return datagram(text.encode(), src, dst)


@dataclass
class Ear:
    """A tracker, the clock it is told, and what it has open by its events."""

    subjects: tuple[Subject, ...] = (ALICE,)
    limits: DialogLimits = field(default_factory=DialogLimits)
    level: Level = Level.SIGNALLING
    now: float = 0.0
    held: set[tuple[FlowKey, str]] = field(default_factory=set)
    events: list[DialogEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tracker = DialogTracker(self.subjects, level=self.level, limits=self.limits)

    @property
    def open(self) -> set[FlowKey]:
        return {key for key, _ in self.held}

    def hear(self, *datagrams: Datagram) -> list[DialogEvent]:
        heard = []
        for each in datagrams:
            heard += self._take(self.tracker.handle(each, at(self.now)))
        return heard

    def wait(self, seconds: float) -> list[DialogEvent]:
        """Let time pass as a driver does: awake at each deadline, and only then."""
        end, heard = self.now + seconds, []
        while (due := self.tracker.next_deadline()) is not None and due <= round(end * 1e9):
            assert due > round(self.now * 1e9) or due == 0
            self.now = due / 1e9
            heard += self._take(self.tracker.expire(at(self.now)))
        self.now = end
        return heard

    def _take(self, events: list[DialogEvent]) -> list[DialogEvent]:
        for event in events:
            if isinstance(event, OpenFlow):
                assert (event.key, event.call_id) not in self.held
                self.held.add((event.key, event.call_id))
            elif isinstance(event, CloseFlow):
                self.held.remove((event.key, event.call_id))
        self.events += events
        assert self.open == self.tracker.open_flows
        return events

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def pair(address: str, port: int) -> set[FlowKey]:
    """Return the addresses of media and of its control."""
    return {key(address, port), key(address, port + 1)}
