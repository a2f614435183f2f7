"""Following the subjects' calls by their signalling, so that media is open from its first packet.

1. A message belongs to the grant when it involves a subject, or is of a call that did before.
2. Every address that is offered or answered is opened at once, and closed when `offers` has it out
   of force, after a grace for packets on their way. Which of them this node sees is not asked here:
   the media filter takes what comes in.
3. A call that began before the grant is followed from its next message with a description.
4. A call ends by BYE or by failure of every branch; without a message for very long it ends too.
   Its messages are written a while longer, then its Call-ID is no longer watched.
5. What cannot be followed is said once per call, as `NotFollowed`.
6. Calls are bounded in number. Over the bound messages are still written; ended calls give way.
7. Octets that are no SIP, and messages that are of no subject, change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from agents.core.dialogevents import (
    CallEnded,
    CallFinding,
    CallSeen,
    CloseFlow,
    DialogEvent,
    NotFollowed,
    OpenFlow,
    UnwatchCall,
    WatchCall,
    Write,
)
from agents.core.flow import FlowKey
from agents.core.instant import NANOSECONDS, Instant
from agents.core.matching import Matcher
from agents.core.offers import FINAL, OFFERED, PROVISIONAL, Dialog, Offers, transaction
from agents.core.packet import Datagram
from agents.core.redact import redact
from agents.core.sdp import SdpFinding, read_description
from agents.core.sip import NotSip, SipMessage, read_message
from guard.core.level import Level
from guard.core.subjects import Subject

__all__ = [
    "CallEnded",
    "CallFinding",
    "CallSeen",
    "CloseFlow",
    "DialogEvent",
    "DialogLimits",
    "DialogTracker",
    "NotFollowed",
    "OpenFlow",
    "UnwatchCall",
    "WatchCall",
    "Write",
]

_OFFERING = frozenset(("INVITE", "UPDATE", "PRACK"))
_OF_CALLS = _OFFERING | {"ACK", "BYE", "CANCEL", "INFO"}
_WITHIN = frozenset(("INFO", "UPDATE", "PRACK"))
_STALE = 64
_UNAUTHORIZED = frozenset((401, 407))


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogLimits:
    """Bounds. Times in nanoseconds.

    `grace_ns`: how long an address stays open after it went out of force. `linger_ns`: how long the
    messages of an ended call are still its own (RFC 3261 timers B, F and H: 32 s), and how long a
    BYE may stay unanswered. `early_ns`, `idle_ns`: how long a call may be silent before and after
    it is established.
    """

    calls: int = 4096
    flows: int = 64
    grace_ns: int = NANOSECONDS
    linger_ns: int = 32 * NANOSECONDS
    early_ns: int = 600 * NANOSECONDS
    idle_ns: int = 12 * 3600 * NANOSECONDS


@dataclass(slots=True)
class _Call:
    """One Call-ID. `leaving`: open addresses out of force, and when each closes."""

    call_id: str
    heard_ns: int
    offers: Offers = field(default_factory=Offers)
    open: set[FlowKey] = field(default_factory=set)
    leaving: dict[FlowKey, int] = field(default_factory=dict)
    byes: dict[Dialog, int] = field(default_factory=dict)
    findings: set[SdpFinding | CallFinding] = field(default_factory=set)
    is_call: bool = False
    over_ns: int | None = None
    told_end: bool = False
    watched: bool = False
    scheduled_ns: int | None = None


class DialogTracker:
    """The calls of one grant: messages in, events out. Opened addresses are per call.

    Call `expire` when `next_deadline` has come; `handle` does it too.
    """

    def __init__(
        self, subjects: tuple[Subject, ...], *, level: Level, limits: DialogLimits | None = None
    ) -> None:
        self._matcher = Matcher(subjects)
        self._level = level
        self._limits = limits or DialogLimits()
        self._calls: dict[str, _Call] = {}
        # When to look at which call. An entry that is not its call's `scheduled_ns` is stale.
        self._schedule: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def open_flows(self) -> frozenset[FlowKey]:
        """The addresses that are open now."""
        return frozenset(key for call in self._calls.values() for key in call.open)

    def follows(self, call_id: str) -> bool:
        """Whether a call of this Call-ID is under way."""
        call = self._calls.get(call_id)
        return call is not None and call.is_call and call.over_ns is None

    def next_deadline(self) -> int | None:
        """Return when `expire` is to be called, on the boot clock in nanoseconds."""
        while self._schedule:
            due, call_id = self._schedule[0]
            call = self._calls.get(call_id)
            if call is not None and call.scheduled_ns == due:
                return due
            heappop(self._schedule)
        return None

    def handle(self, datagram: Datagram, now: Instant) -> list[DialogEvent]:
        """Take one datagram, whole (`fragments`) and once (`crossing`)."""
        events = self.expire(now)
        try:
            message = read_message(datagram.payload)
        except NotSip:
            return events
        call_id = message.call_id
        call = self._calls.get(call_id) if call_id is not None else None
        if call is None and not self._matcher.involves(message, datagram):
            return events
        if call_id is not None:
            call = call or self._begin(call_id, now, events)
            if call is not None:
                self._follow(call, message, datagram, now, events)
        events.append(Write(frame=redact(datagram, message, self._level)))
        return events

    def expire(self, now: Instant) -> list[DialogEvent]:
        """Close and end what is due."""
        events: list[DialogEvent] = []
        while self._schedule and self._schedule[0][0] <= now.boot_ns:
            due, call_id = heappop(self._schedule)
            call = self._calls.get(call_id)
            if call is None or call.scheduled_ns != due:
                continue
            call.scheduled_ns = None
            if self._deadline(call) <= now.boot_ns:
                self._advance(call, now.boot_ns, events)
            self._plan(call, now.boot_ns)
        return events

    def _plan(self, call: _Call, now_ns: int) -> None:
        """See to it that a call is looked at when something of it is due."""
        if call.call_id not in self._calls:
            return
        due = max(self._deadline(call), now_ns + 1)
        if call.scheduled_ns is None or due < call.scheduled_ns:
            call.scheduled_ns = due
            heappush(self._schedule, (due, call.call_id))
        if len(self._schedule) > 2 * len(self._calls) + _STALE:
            self._schedule = [
                (each.scheduled_ns, each.call_id)
                for each in self._calls.values()
                if each.scheduled_ns is not None
            ]
            heapify(self._schedule)

    def _begin(self, call_id: str, now: Instant, events: list[DialogEvent]) -> _Call | None:
        if len(self._calls) >= self._limits.calls and not self._make_room(events):
            finding = CallFinding.TOO_MANY_CALLS
            events.append(NotFollowed(call_id=call_id, finding=finding))
            return None
        call = self._calls[call_id] = _Call(call_id, now.boot_ns)
        # A Call-ID that is a subject is watched anyway; one that is no text names nothing that the
        # filter could be told.
        if not self._matcher.names_call(call_id) and _is_text(call_id):
            call.watched = True
            events.append(WatchCall(call_id=call_id))
        return call

    def _make_room(self, events: list[DialogEvent]) -> bool:
        """Let an ended call go before its time (6)."""
        for call in self._calls.values():
            if call.over_ns is not None and not call.open:
                self._forget(call, events)
                return True
        return False

    def _follow(
        self,
        call: _Call,
        message: SipMessage,
        datagram: Datagram,
        now: Instant,
        events: list[DialogEvent],
    ) -> None:
        call.heard_ns = now.boot_ns
        method = _method(message)
        if method in _OF_CALLS:
            if not call.is_call:
                call.is_call = True
                events.append(CallSeen(call_id=call.call_id))
            self._note(call, message, method, datagram, events)
        self._advance(call, now.boot_ns, events)
        self._plan(call, now.boot_ns)

    def _note(
        self,
        call: _Call,
        message: SipMessage,
        method: str,
        datagram: Datagram,
        events: list[DialogEvent],
    ) -> None:
        """Take note of what a message of a call's methods says."""
        dialog = frozenset((message.from_tag, message.to_tag))
        if method == "BYE":
            self._note_bye(call, message, dialog)
        elif method in _OFFERING or method == "ACK":
            self._note_offer(call, message, method, datagram, events)
        if message.status is None and message.to_tag and method in _WITHIN:
            call.offers.met(dialog)

    def _note_bye(self, call: _Call, message: SipMessage, dialog: Dialog) -> None:
        if message.status is None:
            if call.offers.knows(dialog):
                call.byes.setdefault(dialog, call.heard_ns + self._limits.linger_ns)
        elif message.status in _UNAUTHORIZED:
            call.byes.pop(dialog, None)
        elif message.status >= 200 and call.offers.knows(dialog):  # noqa: PLR2004 - final
            call.byes.pop(dialog, None)
            call.offers.ended(dialog)

    def _note_offer(
        self,
        call: _Call,
        message: SipMessage,
        method: str,
        datagram: Datagram,
        events: list[DialogEvent],
    ) -> None:
        sequence = message.cseq
        if sequence is None:
            return
        request = (message.from_tag, sequence[0])
        where = transaction(message, datagram)
        if message.status is None:
            if method != "ACK":
                call.offers.requested(request, message.to_tag, where)
            keys = self._described(call, message, answer=method == "ACK", events=events)
            if keys is not None:
                if method == "ACK":
                    # Only the ACK of a success describes anything: the answer to a late offer.
                    call.offers.answered(request, message.to_tag, where, 200, invite=True)
                call.offers.described(request, message.from_tag, where, OFFERED, keys)
            return
        invite = method == "INVITE"
        call.offers.answered(request, message.to_tag, where, message.status, invite=invite)
        if 100 < message.status < 300:  # noqa: PLR2004 - provisional answers and successes
            answer = call.offers.has_offer(request)
            keys = self._described(call, message, answer=answer, events=events)
            if keys is not None:
                rank = PROVISIONAL if message.status < 200 else FINAL  # noqa: PLR2004 - as above
                call.offers.described(request, message.to_tag, where, rank, keys)

    def _described(
        self, call: _Call, message: SipMessage, *, answer: bool, events: list[DialogEvent]
    ) -> frozenset[FlowKey] | None:
        """Return the addresses that a message describes; None when it describes nothing."""
        bodies = message.sdp()
        if not bodies:
            return None
        keys: set[FlowKey] = set()
        for body in bodies:
            description = read_description(body, answer=answer)
            for flow in description.flows:
                keys.add(flow.rtp)
                if flow.rtcp is not None:
                    keys.add(flow.rtcp)
            for finding in description.findings:
                _tell(call, finding, events)
        return frozenset(keys)

    def _advance(self, call: _Call, now_ns: int, events: list[DialogEvent]) -> None:
        """Bring a call to this moment: dialogs that ended, addresses, the end of the call."""
        for dialog, due in list(call.byes.items()):
            if due <= now_ns:
                del call.byes[dialog]
                call.offers.ended(dialog)
        if self._silent_ns(call) <= now_ns:
            self._forget(call, events)
            return
        self._settle(call, now_ns, events)
        if call.is_call and call.offers.alive:
            call.over_ns = None
            if call.told_end:
                call.told_end = False
                events.append(CallSeen(call_id=call.call_id))
            return
        if call.over_ns is None:
            call.over_ns = now_ns
        if not call.open and now_ns >= call.over_ns + self._limits.grace_ns:
            self._tell_end(call, events)
        if now_ns >= call.over_ns + self._limits.linger_ns:
            self._forget(call, events)

    def _settle(self, call: _Call, now_ns: int, events: list[DialogEvent]) -> None:
        """Open what is in force, close what has been out of force for the grace."""
        wanted = call.offers.wanted()
        for key in sorted(wanted - call.open, key=lambda key: (key.address, key.port)):
            if len(call.open) >= self._limits.flows:
                _tell(call, CallFinding.TOO_MANY_ADDRESSES, events)
                break
            call.open.add(key)
            events.append(OpenFlow(key=key, call_id=call.call_id))
        for key in list(call.open):
            if key in wanted:
                call.leaving.pop(key, None)
            elif call.leaving.setdefault(key, now_ns + self._limits.grace_ns) <= now_ns:
                self._close(call, key, events)

    def _close(self, call: _Call, key: FlowKey, events: list[DialogEvent]) -> None:
        call.open.discard(key)
        call.leaving.pop(key, None)
        events.append(CloseFlow(key=key, call_id=call.call_id))

    def _tell_end(self, call: _Call, events: list[DialogEvent]) -> None:
        if call.is_call and not call.told_end:
            call.told_end = True
            events.append(CallEnded(call_id=call.call_id))

    def _forget(self, call: _Call, events: list[DialogEvent]) -> None:
        for key in list(call.open):
            self._close(call, key, events)
        self._tell_end(call, events)
        if call.watched:
            events.append(UnwatchCall(call_id=call.call_id))
        del self._calls[call.call_id]

    def _silent_ns(self, call: _Call) -> int:
        """Return when a call ends because nobody says anything (4)."""
        limit = self._limits.idle_ns if call.offers.established else self._limits.early_ns
        return call.heard_ns + limit

    def _deadline(self, call: _Call) -> int:
        """Return when something of a call is due."""
        due = min((self._silent_ns(call), *call.byes.values(), *call.leaving.values()))
        if call.over_ns is not None:
            # With an address still open, its own deadline comes first.
            ended = call.told_end or call.open or not call.is_call
            wait = self._limits.linger_ns if ended else self._limits.grace_ns
            due = min(due, call.over_ns + wait)
        return due


def _method(message: SipMessage) -> str:
    """Return the method that a message is about; empty when it contradicts itself."""
    sequence = message.cseq
    if sequence is None or (message.method is not None and message.method != sequence[1]):
        return ""
    return sequence[1]


def _tell(call: _Call, finding: SdpFinding | CallFinding, events: list[DialogEvent]) -> None:
    """Say once per call what is not followed (5)."""
    if finding not in call.findings:
        call.findings.add(finding)
        events.append(NotFollowed(call_id=call.call_id, finding=finding))


def _is_text(call_id: str) -> bool:
    try:
        call_id.encode()
    except UnicodeEncodeError:
        return False
    return True
