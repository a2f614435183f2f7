"""The agent's own recordings through the relay, without I/O: which calls, since when, until when.

1. A call is recorded while a live content grant wants it, and through one subscription however
   many grants do: to each its own end, in the kernel's map of flows and in the engine.
2. The order of a beginning: the relay offers its streams, sinks are bound, their flows are armed,
   then the relay is told to send. Of an end: the flows are disarmed, the relay is told to stop,
   and only when it has stopped are the sinks given up.
3. The relay's answer to the proxy is held until the recording stands, `HELD` at the longest: a
   recording never costs a call.
4. A call whose streams have changed is subscribed anew, the new before the old is ended.
5. `ok` proves nothing. What the relay says to `query` and what arrives at the sinks does: that it
   sends, that it goes on sending, and that it has stopped.
6. A call that others' parties join without the gate having seen it (a merge) is recorded no more:
   the authority covers the subject's call, not what it was made into.
7. Who subscribes beside the agent is ended and reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agents.core.flow import FlowKey
from agents.core.instant import NANOSECONDS
from agents.core.ngcodec import NgDict
from agents.core.nggate import Reached
from agents.core.recordedcall import RecordedCall, State, Subscription
from agents.core.relaycommands import (
    AskRelay,
    CloseFlows,
    CloseSinks,
    OpenFlows,
    OpenSinks,
    RelayCommand,
    Report,
    Subscribed,
    Unsubscribed,
)
from agents.core.relayview import CallView, read_query, text_of
from agents.core.subscription import Unanswerable, answer_to, streams_of

__all__ = ["HELD", "Recordings"]

HELD: Final = NANOSECONDS // 4
_VERIFY: Final = NANOSECONDS
_EACH: Final = 10_000_000  # many recordings are verified more seldom
_RETRY: Final = NANOSECONDS // 2
_SOON: Final = NANOSECONDS // 10
_MOST_SEEN: Final = 262_144
_STOPPING: Final = 5


class Recordings:
    """The calls of one relay. Times are boot-clock nanoseconds; Call-IDs are NG's octets."""

    def __init__(self) -> None:
        self._calls: dict[bytes, RecordedCall] = {}
        self._seen: dict[bytes, bool] = {}  # calls that passed the gate; whether answered
        self._by_serial: dict[int, tuple[RecordedCall, Subscription]] = {}
        self._serial = 0

    def __len__(self) -> int:
        """Count the recordings that stand."""
        return sum(call.stands is not None for call in self._calls.values())

    @property
    def tags(self) -> frozenset[bytes]:
        """The agent's own tags on the relay."""
        return frozenset(sub.tag for _, sub in self._by_serial.values() if sub.tag)

    # -- what the node wants ----------------------------------------------------------------------

    def want(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a live content grant have this call from now on."""
        call = self._calls.setdefault(call_id, RecordedCall(call_id))
        call.grants.add(grant_id)
        if call.stands is not None:
            # The flows are armed for everybody who wants the call: this grant comes to them too.
            return [OpenFlows(call_id, call.stands.keys)]
        if call.coming is not None or call.merged:
            return []
        answered = self._seen.get(call_id)
        if answered:
            return self._subscribe(call)
        if answered is None:  # It may have begun before the agent did, or be on its way here.
            call.retry = now + _SOON
        return []

    def let_go(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a grant have this call no more; the last one's word ends the recording."""
        call = self._calls.get(call_id)
        if call is None:
            return []
        call.grants.discard(grant_id)
        return [] if call.grants else self._end_call(call, now)

    # -- what the proxy does ----------------------------------------------------------------------

    def reached(self, done: Reached, now: int) -> list[RelayCommand]:
        """Take note of what the relay did for a proxy; its answer goes out, now or later."""
        self._note_seen(done)
        call = self._calls.get(done.call_id)
        if call is None or not call.grants or done.verb not in {"offer", "answer"}:
            return [done.answer]
        call.parties.update(_parties(done.request))
        changed = call.note_shape(done)
        if done.verb == "offer" or call.merged or (call.stands is not None and not changed):
            return [done.answer]
        call.held.append(done.answer)
        call.held_until = now + HELD
        if call.coming is None:
            return self._subscribe(call)
        call.again = True
        return []

    def _note_seen(self, done: Reached) -> None:
        if done.verb == "delete":
            self._seen.pop(done.call_id, None)
            return
        if done.verb not in {"offer", "answer"}:
            return
        call = self._calls.get(done.call_id)
        if call is not None:
            call.retry = None
        self._seen[done.call_id] = done.verb == "answer" or self._seen.get(done.call_id, False)
        if len(self._seen) > _MOST_SEEN:  # Calls that nobody deleted.
            del self._seen[next(iter(self._seen))]

    # -- what the relay says ----------------------------------------------------------------------

    def told(self, token: object, reply: NgDict | None, now: int) -> list[RelayCommand]:
        """Take the relay's answer to a question of this module's."""
        step, serial, call_id = token if isinstance(token, tuple) else ("", 0, b"")
        found = self._by_serial.get(serial)
        if found is None:
            return _give_back(step, call_id, reply)
        call, subscription = found
        match step:
            case "request":
                return self._offered(call, subscription, reply, now)
            case "answer":
                return self._started(call, subscription, reply, now)
            case "query":
                return self._viewed(call, subscription, read_query(reply), now)
            case "stop":
                subscription.verified = now
                return [self._query(call, subscription)]
            case _:
                return []

    def sinks(self, serial: int, ports: tuple[int, ...] | None, now: int) -> list[RelayCommand]:
        """Take the sinks' ports in order of the streams; None: they could not be bound."""
        found = self._by_serial.get(serial)
        if found is None:
            return [CloseSinks(serial)]
        call, subscription = found
        try:
            answer = answer_to(subscription.offer, bound := ports or ())
        except Unanswerable as error:
            return self._failed(call, subscription, str(error), now)
        subscription.keys = tuple(
            FlowKey.to("127.0.0.1", port + more) for port in bound for more in (0, 1)
        )
        subscription.state = State.ANSWERED
        question: NgDict = {
            b"command": b"subscribe answer",
            b"call-id": call.id,
            b"to-tag": subscription.tag,
            b"sdp": answer,
        }
        return [
            OpenFlows(call.id, subscription.keys),
            AskRelay(question, ("answer", serial, call.id)),
        ]

    def relay_gone(self) -> list[RelayCommand]:
        """Take note that the relay has ended, and every call in it: it sends nothing any more."""
        commands: list[RelayCommand] = []
        for call in list(self._calls.values()):
            for subscription in (call.stands, call.coming, *call.ending):
                if subscription is not None:
                    commands += self._over(call, subscription)
            call.stands = call.coming = None
            call.ending.clear()
            call.shapes.clear()
            call.known = None
            commands += self._release(call)
            if not call.grants:
                del self._calls[call.id]
        self._seen.clear()
        return commands

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has something to do."""
        dues = [call.held_until for call in self._calls.values() if call.held]
        dues += [call.retry for call in self._calls.values() if call.retry is not None]
        dues += [each.verified + self._interval for _, each in self._checked()]
        return min(dues, default=None)

    def wake_up(self, now: int, arrived: Mapping[int, int]) -> list[RelayCommand]:
        """Do what is due; ``arrived``: packets at the sinks of each subscription, by serial."""
        commands: list[RelayCommand] = []
        for call in list(self._calls.values()):
            if call.held and call.held_until <= now:
                commands += self._release(call)
            if call.retry is not None and call.retry <= now:
                call.retry = None
                if call.grants and call.stands is None and call.coming is None:
                    commands += self._subscribe(call)
        for call, subscription in self._checked():
            if subscription.verified + self._interval <= now:
                subscription.verified = now
                count = arrived.get(subscription.serial, 0)
                if count != subscription.arrived:  # Something came: silence is counted anew.
                    subscription.arrived, subscription.came_in = count, None
                commands.append(self._query(call, subscription))
        return commands

    @property
    def _interval(self) -> int:
        return max(_VERIFY, _EACH * len(self._by_serial))

    def _checked(self) -> list[tuple[RecordedCall, Subscription]]:
        return [
            found
            for found in self._by_serial.values()
            if found[1].state in {State.STANDS, State.ENDING}
        ]

    # -- beginning --------------------------------------------------------------------------------

    def _subscribe(self, call: RecordedCall) -> list[RelayCommand]:
        self._serial += 1
        call.coming = Subscription(self._serial)
        self._by_serial[self._serial] = call, call.coming
        question: NgDict = {
            b"command": b"subscribe request",
            b"call-id": call.id,
            b"flags": [b"all"],
            b"transport-protocol": b"RTP/AVP",
        }
        return [AskRelay(question, ("request", self._serial, call.id))]

    def _offered(
        self, call: RecordedCall, subscription: Subscription, reply: NgDict | None, now: int
    ) -> list[RelayCommand]:
        offer, tag = text_of(reply, b"sdp"), text_of(reply, b"to-tag")
        if offer is None or tag is None:
            return self._failed(call, subscription, "", now)
        subscription.tag, subscription.offer = tag, offer
        opened: list[RelayCommand] = [Subscribed(call.id, tag)]
        try:
            return [*opened, OpenSinks(subscription.serial, streams_of(offer))]
        except Unanswerable as error:
            return opened + self._failed(call, subscription, str(error), now)

    def _started(
        self, call: RecordedCall, subscription: Subscription, reply: NgDict | None, now: int
    ) -> list[RelayCommand]:
        if text_of(reply, b"result") != b"ok":
            return self._failed(call, subscription, "the relay takes no answer", now)
        if subscription is not call.coming:
            return []
        call.coming, before, call.stands = None, call.stands, subscription
        subscription.state, subscription.verified = State.STANDS, now
        commands: list[RelayCommand] = []
        if call.again:  # The call was answered while this one was made: it may lack a stream.
            call.again = False
            commands += self._subscribe(call)
        else:
            commands += self._release(call)
        if before is not None:
            commands += self._stop(call, before, now)
        return [*commands, self._query(call, subscription)]

    def _failed(
        self, call: RecordedCall, subscription: Subscription, why: str, now: int
    ) -> list[RelayCommand]:
        """Give a beginning up; the call is tried again for as long as it is wanted."""
        if subscription is not call.coming:
            return []
        call.coming, call.again = None, False
        call.retry = now + _RETRY
        commands = self._release(call)
        if why:  # Without one the relay does not have the call, yet or any more.
            commands += self._report_once(call, "recording_failed", why=why)
        if subscription.tag:
            return commands + self._stop(call, subscription, now)
        return commands + self._over(call, subscription)

    def _release(self, call: RecordedCall) -> list[RelayCommand]:
        held, call.held = call.held, []
        return list(held)

    # -- verifying --------------------------------------------------------------------------------

    def _query(self, call: RecordedCall, subscription: Subscription) -> RelayCommand:
        question: NgDict = {b"command": b"query", b"call-id": call.id}
        return AskRelay(question, ("query", subscription.serial, call.id))

    def _viewed(
        self, call: RecordedCall, subscription: Subscription, view: CallView | None, now: int
    ) -> list[RelayCommand]:
        if view is None:
            return []  # No answer: the next look decides.
        if not view.exists:
            return self._vanished(call, subscription)
        here = subscription.tag in view.subscribers
        if subscription.state is State.ENDING:
            return self._check_end(call, subscription, here=here, now=now)
        if subscription is not call.stands:
            return []
        return self._check(call, subscription, view, now)

    def _check(
        self, call: RecordedCall, subscription: Subscription, view: CallView, now: int
    ) -> list[RelayCommand]:
        """Look whether what stands does what it should (rules 5 to 7)."""
        here = subscription.tag in view.subscribers
        commands = self._expel(call, view)
        if call.is_merged(view):
            return [*commands, *self._merge(call, now)]
        silent = subscription.is_silent(view)
        if here and not silent:
            return commands
        why = "the relay sends nothing" if here else "the relay has dropped the subscription"
        commands += self._report_once(call, "recording_lost", why=why)
        return commands if call.coming is not None else [*commands, *self._subscribe(call)]

    def _merge(self, call: RecordedCall, now: int) -> list[RelayCommand]:
        call.merged = True
        report = self._report_once(call, "call_merged", why="parties joined behind the gate")
        return [*report, *self._stop_all(call, now)]

    def _expel(self, call: RecordedCall, view: CallView) -> list[RelayCommand]:
        """Rule 7."""
        commands: list[RelayCommand] = []
        for tag in sorted(view.subscribers - self.tags):
            commands += [
                Report("foreign_subscription", call.id, {"done": "unsubscribed"}),
                AskRelay(unsubscribe(call.id, tag), ("expel", 0, call.id)),
            ]
        return commands

    def _vanished(self, call: RecordedCall, subscription: Subscription) -> list[RelayCommand]:
        """Take note that the relay has the call no more."""
        self._seen.pop(call.id, None)
        if subscription is call.stands:
            call.stands, call.known = None, None
            call.shapes.clear()
        elif subscription in call.ending:
            call.ending.remove(subscription)
        commands = self._over(call, subscription)
        self._drop_if_done(call)
        return commands

    # -- ending -----------------------------------------------------------------------------------

    def _end_call(self, call: RecordedCall, now: int) -> list[RelayCommand]:
        commands = self._release(call) + self._stop_all(call, now)
        self._drop_if_done(call)
        return commands

    def _stop_all(self, call: RecordedCall, now: int) -> list[RelayCommand]:
        stands, coming = call.stands, call.coming
        call.stands = call.coming = None
        commands: list[RelayCommand] = []
        for subscription in (stands, coming):
            if subscription is not None:
                commands += self._stop(call, subscription, now)
        return commands

    def _stop(self, call: RecordedCall, subscription: Subscription, now: int) -> list[RelayCommand]:
        """Rule 2: disarm, then tell the relay; `_check_end` gives the sinks up."""
        closing: list[RelayCommand] = []
        if subscription.keys:
            closing.append(CloseFlows(call.id, subscription.keys))
        if not subscription.tag:
            return closing + self._over(call, subscription, closed=True)
        subscription.state, subscription.verified = State.ENDING, now
        call.ending.append(subscription)
        question = unsubscribe(call.id, subscription.tag)
        return [*closing, AskRelay(question, ("stop", subscription.serial, call.id))]

    def _check_end(
        self, call: RecordedCall, subscription: Subscription, *, here: bool, now: int
    ) -> list[RelayCommand]:
        if not here:
            call.ending.remove(subscription)
            commands = self._over(call, subscription, closed=True)
            self._drop_if_done(call)
            return commands
        subscription.tries += 1
        subscription.verified = now
        commands = []
        if subscription.tries == _STOPPING:
            commands += self._report_once(call, "recording_not_stopped", why="the relay goes on")
        question = unsubscribe(call.id, subscription.tag)
        return [*commands, AskRelay(question, ("stop", subscription.serial, call.id))]

    def _over(
        self, call: RecordedCall, subscription: Subscription, *, closed: bool = False
    ) -> list[RelayCommand]:
        """Give up what a subscription had on the node."""
        self._by_serial.pop(subscription.serial, None)
        commands: list[RelayCommand] = []
        if subscription.keys and not closed and subscription.state is not State.ENDING:
            commands.append(CloseFlows(call.id, subscription.keys))
        commands.append(CloseSinks(subscription.serial))
        if subscription.tag:
            commands.append(Unsubscribed(call.id, subscription.tag))
        return commands

    def _drop_if_done(self, call: RecordedCall) -> None:
        busy = call.grants or call.stands or call.coming or call.ending
        if not busy:
            self._calls.pop(call.id, None)

    def _report_once(self, call: RecordedCall, what: str, **details: str) -> list[RelayCommand]:
        if what in call.told:
            return []
        call.told.add(what)
        return [Report(what, call.id, details)]


def unsubscribe(call_id: bytes, tag: bytes) -> NgDict:
    """Write the message that ends a subscription."""
    return {b"command": b"unsubscribe", b"call-id": call_id, b"to-tag": tag}


def _give_back(step: str, call_id: bytes, reply: NgDict | None) -> list[RelayCommand]:
    """End what the relay gave to a call that was let go before its answer came."""
    tag = text_of(reply, b"to-tag") if step == "request" else None
    return [] if tag is None else [AskRelay(unsubscribe(call_id, tag), ("expel", 0, call_id))]


def _parties(request: NgDict) -> Iterable[bytes]:
    for key in (b"from-tag", b"to-tag"):
        tag = request.get(key)
        if isinstance(tag, bytes):
            yield tag
