"""The agent's own recordings through the relay, without I/O: which calls, since when, until when.

1. A call is recorded while a live content grant wants it, and through one subscription however
   many grants do: to each its own end, in the kernel's map of flows and in the engine.
2. The order of a beginning: the relay offers its streams, sinks are bound, their flows are armed,
   then the relay is told to send. `endings` says the order of an end.
3. The relay's answer to the proxy is held until the recording stands, `HELD` at the longest: a
   recording never costs a call.
4. A call whose streams or parties have changed is subscribed anew, the new before the old is ended.
   What could not be made is tried again for as long as the call is wanted.
5. `ok` proves nothing. What the relay says to `query` and what arrives at the sinks does: that it
   sends, and that it goes on sending.
6. A call that others' parties join without the gate having seen it (a merge) is recorded no more:
   the authority covers the subject's call, not what it was made into.
7. Who subscribes beside the agent is ended and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.core.endings import Endings, over
from agents.core.flow import FlowKey
from agents.core.instant import NANOSECONDS
from agents.core.ngcodec import NgDict
from agents.core.nggate import Passing, Reached
from agents.core.owntags import OwnTags, subscribe
from agents.core.recordedcall import RecordedCall, Subscription, parties_of
from agents.core.relaycommands import (
    AskRelay,
    CloseSinks,
    OpenFlows,
    OpenSinks,
    RelayCommand,
    Report,
    Subscribed,
)
from agents.core.relayview import CallView, read_query, text_of
from agents.core.seencalls import SeenCalls
from agents.core.subscription import Unanswerable, answer_to, left_out, sink_for, streams_of

__all__ = ["HELD", "Recordings"]

HELD: Final = NANOSECONDS // 4
_VERIFY: Final = NANOSECONDS
_EACH: Final = 10_000_000  # many recordings are verified more seldom
_RETRY: Final = NANOSECONDS // 2
_SOON: Final = NANOSECONDS // 10
_EXPEL: Final = ("expel", 0)


class Recordings:
    """The calls of one relay. Times are boot-clock nanoseconds; Call-IDs are NG's octets."""

    def __init__(self, tags: OwnTags) -> None:
        self._tags = tags
        self._endings = Endings(tags)
        self._calls: dict[bytes, RecordedCall] = {}
        self._seen = SeenCalls()
        self._by_serial: dict[int, RecordedCall] = {}
        self._serial = 0
        self._due: int | None = None  # Nothing of the calls is due before this.

    def __len__(self) -> int:
        """Count the recordings that stand."""
        return sum(call.stands is not None for call in self._calls.values())

    def stands(self, call_id: bytes) -> bool:
        """Say whether this call is being recorded now."""
        call = self._calls.get(call_id)
        return call is not None and call.stands is not None

    # -- what the node wants ----------------------------------------------------------------------

    def want(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a live content grant have this call from now on."""
        call = self._calls.setdefault(call_id, RecordedCall(call_id))
        call.grants.add(grant_id)
        begun = list(call.subscriptions())
        if begun or call.merged:
            # The flows are armed for everybody who wants the call: this grant comes to them too.
            return [OpenFlows(call_id, each.keys) for each in begun if each.keys]
        answered = self._seen.answered(call_id)
        if answered:
            return self._subscribe(call)
        if answered is None:  # It may have begun before the agent did, or be on its way here.
            self._retry(call, now + _SOON)
        return []

    def let_go(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a grant have this call no more; the last one's word ends the recording."""
        call = self._calls.get(call_id)
        if call is None:
            return []
        call.grants.discard(grant_id)
        if call.grants:
            return []
        del self._calls[call_id]
        return self._stop_all(call, now)

    # -- what the proxy does ----------------------------------------------------------------------

    def passing(self, message: Passing, now: int) -> None:
        """Take note of what a message may do to a call, whether or not the relay says so."""
        call = self._calls.get(message.call_id)
        if call is None:
            return
        call.parties.update(parties_of(message.request))
        if message.request[b"command"] == b"answer" and not call.merged:
            self._retry(call, now + _RETRY)

    def reached(self, done: Reached, now: int) -> list[RelayCommand]:
        """Take note of what the relay did for a proxy; its answer goes out, now or later."""
        call = self._calls.get(done.call_id)
        if done.verb == "delete":
            return [done.answer, *self._deleted(done.call_id, call)]
        if done.verb not in {"offer", "answer"}:
            return [done.answer]
        answered = self._seen.note(done)
        self._endings.leftovers.begun(done.call_id)
        if call is None:
            return [done.answer]
        call.parties.update(parties_of(done.request))
        call.describe(done)
        if not answered:  # Its answer is on the way, and with it both sides' streams.
            call.retry = None
        if done.verb == "offer" or call.merged:
            return [done.answer]
        return self._answered(call, done, now)

    def _answered(self, call: RecordedCall, done: Reached, now: int) -> list[RelayCommand]:
        """Rules 3 and 4."""
        covered = call.is_covered(done.request)
        if covered and call.coming is None:
            call.retry = None
            return [done.answer]
        call.hold(done.answer, now + HELD)
        self._remind(call.held_until)
        if call.coming is None:
            return self._subscribe(call)
        call.again = call.again or not covered
        return []

    def _deleted(self, call_id: bytes, call: RecordedCall | None) -> list[RelayCommand]:
        """Look whether the call is over: a branch may be, or the relay may wait a while."""
        self._seen.forget(call_id)
        left = self._endings.leftovers.deleted(call_id, recorded=call is not None)
        if call is None:
            return left
        call.described.clear()  # If the Call-ID is used again, it is for something else.
        for each in call.subscriptions():
            each.covers.clear()
        return left if call.stands is None else [*left, self._query(call, call.stands)]

    # -- what the relay says ----------------------------------------------------------------------

    def told(self, token: object, reply: NgDict | None, now: int) -> list[RelayCommand]:
        """Take the relay's answer to a question of this module's."""
        step, serial = token if isinstance(token, tuple) else ("", 0)
        call = self._by_serial.get(serial)
        if call is None:
            return self._endings.told(step, serial, reply, now)
        subscription = next(each for each in call.subscriptions() if each.serial == serial)
        match step:
            case "request":
                return self._offered(call, subscription, reply, now)
            case "answer":
                return self._started(call, subscription, reply, now)
            case "query":
                return self._viewed(call, subscription, read_query(reply), now)
            case _:
                return []

    def sinks(self, serial: int, ports: tuple[int, ...] | None, now: int) -> list[RelayCommand]:
        """Take the sinks' ports in order of the streams; None: they could not be bound."""
        call = self._by_serial.get(serial)
        if call is None or call.coming is None or call.coming.serial != serial:
            return [CloseSinks(serial)]
        subscription = call.coming
        try:
            answer = answer_to(subscription.offer, bound := ports or ())
        except Unanswerable as error:
            return self._failed(call, subscription, str(error), now)
        host = sink_for(subscription.offer)
        subscription.keys = tuple(FlowKey.to(host, port + n) for port in bound for n in (0, 1))
        question: NgDict = {
            b"command": b"subscribe answer",
            b"call-id": call.id,
            b"to-tag": subscription.tag,
            b"sdp": answer,
        }
        return [OpenFlows(call.id, subscription.keys), AskRelay(question, ("answer", serial))]

    def relay_gone(self) -> list[RelayCommand]:
        """Take note that the relay has ended, and every call in it: it sends nothing any more."""
        commands = self._endings.relay_gone()
        for call in self._calls.values():
            for each in call.subscriptions():
                commands += over(call.id, each, self._tags)
            commands += self._release(call)
            call.stands = call.coming = call.known = call.retry = None
            call.again = False
            call.described.clear()
        self._by_serial.clear()
        self._seen.clear()
        return commands

    def relay_found(self, now: int) -> None:
        """Look whether a relay that is there again has kept the calls."""
        for call in self._calls.values():
            if not call.merged and not any(call.subscriptions()):
                self._retry(call, now + _SOON)

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has something to do, or a little earlier."""
        dues = (self._due, self._endings.next_deadline())
        return min((due for due in dues if due is not None), default=None)

    def wake_up(self, now: int, arrived: Mapping[int, int]) -> list[RelayCommand]:
        """Do what is due; ``arrived``: packets at the sinks of each subscription, by serial."""
        commands = self._endings.wake_up(now)
        if self._due is None or self._due > now:
            return commands
        self._due = None
        for call in self._calls.values():
            commands += self._do_due(call, arrived, now)
            self._remind(call.held_until if call.held else None)
            self._remind(call.retry)
            self._remind(call.stands.due if call.stands is not None else None)
        return commands

    def _do_due(
        self, call: RecordedCall, arrived: Mapping[int, int], now: int
    ) -> list[RelayCommand]:
        commands: list[RelayCommand] = []
        if call.held and call.held_until <= now:
            commands += self._release(call)
        if call.retry is not None and call.retry <= now:
            call.retry = None
            if call.coming is None:
                commands += self._subscribe(call)
        subscription = call.stands
        if subscription is not None and subscription.due <= now:
            subscription.due = now + self._interval
            count = arrived.get(subscription.serial, 0)
            if count != subscription.arrived:  # Something came: silence is counted anew.
                subscription.arrived, subscription.came_in = count, None
            commands.append(self._query(call, subscription))
        return commands

    @property
    def _interval(self) -> int:
        return max(_VERIFY, _EACH * len(self._by_serial))

    def _remind(self, due: int | None) -> None:
        if due is not None and (self._due is None or due < self._due):
            self._due = due

    def _retry(self, call: RecordedCall, due: int) -> None:
        call.retry = due
        self._remind(due)

    # -- beginning --------------------------------------------------------------------------------

    def _subscribe(self, call: RecordedCall) -> list[RelayCommand]:
        self._serial += 1
        tag = self._tags.new()
        call.coming = Subscription(self._serial, tag, dict(call.described))
        call.again, call.retry = False, None
        self._by_serial[self._serial] = call
        question = subscribe(call.id, tag)
        return [Subscribed(call.id, tag), AskRelay(question, ("request", self._serial))]

    def _offered(
        self, call: RecordedCall, subscription: Subscription, reply: NgDict | None, now: int
    ) -> list[RelayCommand]:
        subscription.pending = False
        offer, tag = text_of(reply, b"sdp"), text_of(reply, b"to-tag")
        if offer is None:  # The relay does not have the call, yet or any more; or is silent.
            why = "the relay describes no stream" if text_of(reply, b"result") == b"ok" else ""
            return self._failed(call, subscription, why, now, made=bool(why) or reply is None)
        if tag != subscription.tag:
            return self._failed(call, subscription, "the relay gives a tag of its own", now)
        subscription.offer = offer
        try:
            taken = OpenSinks(subscription.serial, streams_of(offer), sink_for(offer))
        except Unanswerable as error:
            return self._failed(call, subscription, str(error), now)
        said = f"{left} streams are not taken" if (left := left_out(offer)) else ""
        return [*(self._report_once(call, "recording_partial", said) if said else ()), taken]

    def _started(
        self, call: RecordedCall, subscription: Subscription, reply: NgDict | None, now: int
    ) -> list[RelayCommand]:
        if text_of(reply, b"result") != b"ok":
            return self._failed(call, subscription, "the relay takes no answer", now)
        call.coming, before, call.stands = None, call.stands, subscription
        subscription.due = now + self._interval
        self._remind(subscription.due)
        # The call was answered while this one was made: it may lack a stream.
        commands = self._subscribe(call) if call.again else self._release(call)
        if before is not None:
            commands += self._end(call, before, now)
        return [*commands, self._query(call, subscription)]

    def _failed(
        self,
        call: RecordedCall,
        subscription: Subscription,
        why: str,
        now: int,
        *,
        made: bool = True,
    ) -> list[RelayCommand]:
        """Give a beginning up; the call is tried again for as long as it is wanted.

        ``made``: there may be a subscription to end.
        """
        call.coming, call.again = None, False
        self._retry(call, now + _RETRY)
        report = self._report_once(call, "recording_failed", why) if why else []
        commands = [*self._release(call), *report]
        if made:
            return commands + self._end(call, subscription, now)
        del self._by_serial[subscription.serial]
        return commands + over(call.id, subscription, self._tags)

    @staticmethod
    def _release(call: RecordedCall) -> list[RelayCommand]:
        held, call.held = call.held, []
        return list(held)

    # -- verifying --------------------------------------------------------------------------------

    @staticmethod
    def _query(call: RecordedCall, subscription: Subscription) -> RelayCommand:
        question: NgDict = {b"command": b"query", b"call-id": call.id}
        return AskRelay(question, ("query", subscription.serial))

    def _viewed(
        self, call: RecordedCall, subscription: Subscription, view: CallView | None, now: int
    ) -> list[RelayCommand]:
        if view is None or subscription is not call.stands:
            return []  # No answer: the next look decides.
        if not view.exists:
            return self._vanished(call, subscription, now)
        return self._check(call, subscription, view, now)

    def _check(
        self, call: RecordedCall, subscription: Subscription, view: CallView, now: int
    ) -> list[RelayCommand]:
        """Look whether what stands does what it should (rules 5 to 7)."""
        commands = self._tags.expel(call.id, view, _EXPEL)
        if call.is_merged(view):
            call.merged, call.retry = True, None
            report = self._report_once(call, "call_merged", "parties joined behind the gate")
            return [*commands, *report, *self._stop_all(call, now)]
        here = subscription.tag in view.subscribers
        silent = subscription.is_silent(view)
        if (here and not silent) or call.coming is not None:
            return commands
        why = "the relay sends nothing" if here else "the relay has dropped the subscription"
        commands += self._report_once(call, "recording_lost", why)
        return [*commands, *self._subscribe(call)]

    def _vanished(
        self, call: RecordedCall, subscription: Subscription, now: int
    ) -> list[RelayCommand]:
        """Take note that the relay has the call no more; its Call-ID may come again."""
        self._seen.forget(call.id)
        del self._by_serial[subscription.serial]
        call.stands = call.known = None
        call.described.clear()
        if call.coming is None:
            self._retry(call, now + _RETRY)
        return over(call.id, subscription, self._tags)

    # -- ending -----------------------------------------------------------------------------------

    def _stop_all(self, call: RecordedCall, now: int) -> list[RelayCommand]:
        commands = self._release(call)
        for each in list(call.subscriptions()):
            commands += self._end(call, each, now)
        call.stands = call.coming = None
        return commands

    def _end(self, call: RecordedCall, subscription: Subscription, now: int) -> list[RelayCommand]:
        del self._by_serial[subscription.serial]
        return self._endings.end(call.id, subscription, now)

    @staticmethod
    def _report_once(call: RecordedCall, what: str, why: str) -> list[RelayCommand]:
        if what in call.told:
            return []
        call.told.add(what)
        return [Report(what, call.id, {"why": why})]
