"""The tracker against a plain model of what two people on the telephone would want open.

The model knows calls, not messages: who listens where. It has no transactions, exchanges or tags.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.core.dialogs import CallEnded, CallSeen, NotFollowed, UnwatchCall, WatchCall
from agents.core.flow import FlowKey
from agents.core.packet import Datagram
from tests.agents.core.calls import CALLEE, CALLER, PROXY, Ear, message, pair, sdp
from tests.agents.core.wire import datagram

BACK = {"src": PROXY, "dst": CALLER}
MOST_CALLS = 3
FORKS = ("b1", "b2", "b3")


@dataclass
class Telephone:
    """One call as its people see it. `listens`: who listens where, by name."""

    call: str
    phase: str = "ringing"
    listens: dict[str, set[FlowKey]] = field(default_factory=dict)
    offered: set[FlowKey] = field(default_factory=set)
    mover: str = ""
    peer: str = ""
    number: int = 1
    history: list[Datagram] = field(default_factory=list)
    over: float = 0.0

    def wanted(self) -> set[FlowKey]:
        return set().union(*self.listens.values(), self.offered)


class Switchboard(RuleBasedStateMachine):
    """Calls that ring, fork, are answered, move and end, with everything sent again at will."""

    def __init__(self) -> None:
        super().__init__()
        self.ear = Ear()
        self.calls: list[Telephone] = []
        self.port = 10000
        self.released: dict[FlowKey, float] = {}

    def fresh(self) -> int:
        self.port += 2
        return self.port

    def pick(self, data: st.DataObject, *phases: str) -> Telephone:
        return data.draw(st.sampled_from([each for each in self.calls if each.phase in phases]))

    def say(self, call: Telephone, *said: Datagram) -> None:
        call.history += said
        self.ear.hear(*said)

    def release(self, before: set[FlowKey], call: Telephone) -> None:
        for each in before - call.wanted():
            self.released[each] = self.ear.now

    def any_in(self, *phases: str) -> bool:
        return any(each.phase in phases for each in self.calls)

    @precondition(lambda self: len(self.calls) < MOST_CALLS)
    @rule()
    def ring(self) -> None:
        call, port = Telephone(f"call-{len(self.calls)}"), self.fresh()
        call.listens["a"] = pair(CALLER, port)
        self.calls.append(call)
        self.say(call, message("INVITE", call=call.call, body=sdp(CALLER, port)))

    @precondition(lambda self: self.any_in("ringing"))
    @rule(data=st.data(), tag=st.sampled_from(FORKS))
    def early_media(self, data: st.DataObject, tag: str) -> None:
        call = self.pick(data, "ringing")
        if tag not in call.listens:
            port = self.fresh()
            call.listens[tag] = pair(CALLEE, port)
            self.say(
                call,
                message("183 P", call=call.call, ends=("a", tag), body=sdp(CALLEE, port), **BACK),
            )

    @precondition(lambda self: self.any_in("ringing"))
    @rule(data=st.data(), tag=st.sampled_from(FORKS))
    def answer(self, data: st.DataObject, tag: str) -> None:
        self.connect(self.pick(data, "ringing"), tag)

    @precondition(lambda self: len(self.calls) < MOST_CALLS)
    @rule()
    def talk(self) -> None:
        """Begin with a call that is answered at once: most of what can go wrong comes later."""
        self.ring()
        self.connect(self.calls[-1], FORKS[0])

    def connect(self, call: Telephone, tag: str) -> None:
        before, port = call.wanted(), self.fresh()
        call.listens = {"a": call.listens["a"], tag: pair(CALLEE, port)}
        call.phase, call.peer = "talking", tag
        common = {"call": call.call, "ends": ("a", tag)}
        self.say(call, message("200 OK", body=sdp(CALLEE, port), **common, **BACK))
        self.say(call, message("ACK", cseq="1 ACK", branch="k", **common))
        self.release(before, call)

    @precondition(lambda self: self.any_in("ringing"))
    @rule(data=st.data(), status=st.sampled_from(["486 Busy", "487 Gone", "404 Who"]))
    def fail(self, data: st.DataObject, status: str) -> None:
        call = self.pick(data, "ringing")
        self.say(call, message(status, call=call.call, ends=("a", "x"), **BACK))
        self.finish(call)

    @precondition(lambda self: self.any_in("talking"))
    @rule(data=st.data(), method=st.sampled_from(["INVITE", "UPDATE"]))
    def caller_moves(self, data: st.DataObject, method: str) -> None:
        self.move(self.pick(data, "talking"), method, CALLER)

    @precondition(lambda self: self.any_in("talking"))
    @rule(data=st.data(), method=st.sampled_from(["INVITE", "UPDATE"]))
    def callee_moves(self, data: st.DataObject, method: str) -> None:
        self.move(self.pick(data, "talking"), method, CALLEE)

    def move(self, call: Telephone, method: str, host: str) -> None:
        port = self.fresh()
        call.number += 1
        call.mover = "a" if host == CALLER else call.peer
        call.offered = pair(host, port)
        call.phase = method
        self.say(call, self.within(call, method, sdp(host, port)))

    @precondition(lambda self: self.any_in("INVITE", "UPDATE"))
    @rule(data=st.data(), moves=st.booleans())
    def agree(self, data: st.DataObject, moves: bool) -> None:
        """Let the other side agree, moving too or staying where it is."""
        call = self.pick(data, "INVITE", "UPDATE")
        before, other = call.wanted(), call.peer if call.mover == "a" else "a"
        host = CALLER if other == "a" else CALLEE
        port = self.fresh() if moves else min(each.port for each in call.listens[other])
        call.listens = {call.mover: call.offered, other: pair(host, port)}
        self.say(call, self.within(call, call.phase, sdp(host, port), "200 OK"))
        call.phase, call.offered = "talking", set()
        self.release(before, call)

    @precondition(lambda self: self.any_in("INVITE", "UPDATE"))
    @rule(data=st.data(), status=st.sampled_from(["488 No", "491 Wait", "500 No"]))
    def refuse(self, data: st.DataObject, status: str) -> None:
        call = self.pick(data, "INVITE", "UPDATE")
        before = call.wanted()
        self.say(call, self.within(call, call.phase, "", status))
        call.phase, call.offered = "talking", set()
        self.release(before, call)

    @precondition(lambda self: self.any_in("talking", "INVITE", "UPDATE"))
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        call = self.pick(data, "talking", "INVITE", "UPDATE")
        common = {"call": call.call, "ends": ("a", call.peer), "cseq": "99 BYE", "branch": "bye"}
        self.say(call, message("BYE", **common), message("200 OK", **common, **BACK))
        self.finish(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """Anything said before comes again, late and out of order."""
        call = data.draw(st.sampled_from(self.calls))
        if call.phase != "over" or self.ear.now - call.over < 30:
            for each in data.draw(st.lists(st.sampled_from(call.history), max_size=4)):
                self.ear.hear(each)

    @rule(data=st.data())
    def noise(self, data: st.DataObject) -> None:
        """Strangers' calls, broken messages and no messages at all."""
        stranger = message("INVITE", call="other", names=("x@y.z", "y@y.z"), body=sdp(CALLER, 9))
        broken = [
            each.payload[: data.draw(st.integers(0, 60))]
            for call in self.calls
            for each in call.history[:1]
        ]
        self.ear.hear(stranger, datagram(b"\r\n\r\n"), *map(datagram, broken))

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.ear.wait(seconds)

    @invariant()
    def open_is_what_people_listen_to(self) -> None:
        wanted = set().union(*(call.wanted() for call in self.calls))
        # What somebody stopped listening to stays for the grace of a second, and no longer.
        leaving = {each for each, since in self.released.items() if self.ear.now - since < 1}
        assert wanted <= self.ear.open <= wanted | leaving

    @invariant()
    def each_call_is_told_once(self) -> None:
        assert self.ear.count(CallSeen) == self.ear.count(WatchCall) == len(self.calls)
        assert self.ear.count(CallEnded) <= sum(call.phase == "over" for call in self.calls)
        assert self.ear.count(UnwatchCall) <= self.ear.count(CallEnded)
        assert self.ear.count(NotFollowed) == 0

    def teardown(self) -> None:
        self.ear.wait(13 * 3600)
        assert (self.ear.open, len(self.ear.tracker)) == (set(), 0)
        assert self.ear.count(CallEnded) == self.ear.count(UnwatchCall) == len(self.calls)

    def finish(self, call: Telephone) -> None:
        before = call.wanted()
        call.listens, call.offered, call.phase, call.over = {}, set(), "over", self.ear.now
        self.release(before, call)

    def within(self, call: Telephone, method: str, body: str, start: str = "") -> Datagram:
        """Say something within the dialog; the side that moves is the requester."""
        ends = ("a", call.peer) if call.mover == "a" else (call.peer, "a")
        number = f"{call.number} {method}"
        return message(
            start or method,
            call=call.call,
            ends=ends,
            cseq=number,
            branch=f"m{call.number}",
            body=body,
        )


Switchboard.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestSwitchboard = Switchboard.TestCase
