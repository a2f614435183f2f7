"""Whatever happens in whatever order between proxy, gate and relay: the promises hold."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.core.ngcodec import Encoding, decode
from agents.core.recordings import HELD
from tests.sim.gate_simulator import MS, PROXY, SDP, VIDEO, Client, Gate
from tests.sim.relay_simulator import YIELDING

CALLS = (b"call-1", b"call-2")
PARTIES = (b"t", b"t2")
GRANTS = ("g1", "g2")
CALL, GRANT, TO = st.sampled_from(CALLS), st.sampled_from(GRANTS), st.sampled_from(PARTIES)
BODY = st.sampled_from([SDP, SDP + VIDEO])


class Watched(Gate):
    """A gate whose every word to relay and node is held against what may be said."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.wanted: dict[bytes, set[str]] = {call: set() for call in CALLS}
        self.since: dict[bytes, int] = {}
        self.gone = False

    def _do(self, command) -> None:
        super()._do(command)
        said = repr(command)
        assert "call-" not in said, "a Call-ID in a repr"
        assert "rtpmap" not in said, "a description in a repr"
        for call, keys in self.flows.items():
            assert not keys or self.wanted[call], "a flow that no live grant wants"

    def arms_first(self, data: bytes) -> None:
        super().arms_first(data)
        message = decode(data.partition(b" ")[2], Encoding.BENCODE)
        assert message[b"command"] not in YIELDING
        assert not {b"record-call", b"recording-file"} & message.keys()
        if message[b"command"] in {b"subscribe request", b"subscribe answer"}:
            tag = message[b"to-tag"]
            assert isinstance(tag, bytes)
            assert tag.startswith(self.rules._recordings._tags.mark), "a client's subscription"


class RelayMachine(RuleBasedStateMachine):
    """Two calls, two grants, one proxy, one relay, a network that loses."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Watched()
        self.gate.find()
        self.answered: set[bytes] = set()
        self.merged: set[bytes] = set()
        self.losing = ""
        self.foreign = False
        self.gate.lose = self.lose
        self.lossy = 0
        self.restarted = False

    def lose(self, data: bytes) -> bool:
        self.lossy = self.lossy * 5 // 6
        return bool(self.lossy & 1)

    def ask(self, command: bytes, call: bytes, **more) -> bytes:
        cookie = self.gate.cookie()
        self.gate.send(PROXY, cookie, {"command": command, "call_id": call, **more})
        return cookie

    # -- what may happen --------------------------------------------------------------------------

    @rule(call=CALL, grant=GRANT)
    def want(self, call: bytes, grant: str) -> None:
        self.gate.wanted[call].add(grant)
        self.gate.want(call, grant)

    @rule(call=CALL, grant=GRANT)
    def release(self, call: bytes, grant: str) -> None:
        self.gate.wanted[call].discard(grant)
        last = not self.gate.wanted[call]
        commands = self.gate.rules.release(call, grant, self.gate.now)
        # What is carried out before the flows are closed is still of the grant that ends.
        kept, self.gate.wanted[call] = self.gate.wanted[call], {grant}
        self.gate.do(commands)
        self.gate.wanted[call] = kept
        assert not last or not self.gate.flows.get(call), "a flow outlived its last grant"
        self.gate.settle()
        if last:
            self.merged.discard(call)

    @rule(call=CALL, body=BODY, again=st.booleans())
    def offer(self, call: bytes, body: bytes, again: bool) -> None:
        more = {"to_tag": b"t"} if again and call in self.answered else {}
        self.ask(b"offer", call, from_tag=b"f", sdp=body, record_call=b"yes", **more)

    @rule(call=CALL, body=BODY, to=TO)
    def accept(self, call: bytes, body: bytes, to: bytes) -> None:
        self.ask(b"answer", call, from_tag=b"f", to_tag=to, sdp=body)
        self.answered.add(call)

    @rule(call=CALL, to=TO)
    def talk(self, call: bytes, to: bytes) -> None:
        """Set a call up at once: most of what can go wrong comes later."""
        self.offer(call, SDP, again=False)
        self.accept(call, SDP, to)

    @rule(call=CALL, whole=st.booleans())
    def delete(self, call: bytes, whole: bool) -> None:
        self.ask(b"delete", call, from_tag=b"f" if whole else b"nobody")

    @rule(
        call=CALL,
        command=st.sampled_from(sorted(YIELDING | {b"subscribe request", b"subscribe answer"})),
    )
    def try_to_tap(self, call: bytes, command: bytes) -> None:
        before = len(self.gate.relay.served)
        cookie = self.ask(command, call, from_tag=b"f", to_tag=b"spy")
        told = self.gate.answer(cookie)
        assert told is not None
        if told[b"result"] == b"ok":
            assert command == b"start recording"
            assert self.gate.wanted[call]
        done = self.gate.relay.served[before:]
        assert all(each.get(b"command") != command for each in done)

    @rule(call=CALL)
    def name_the_agents_tag(self, call: bytes) -> None:
        for of, tag in list(self.gate.held):
            if of == call:
                cookie = self.ask(b"unsubscribe", call, to_tag=tag)
                told = self.gate.answer(cookie)
                assert told is not None
                assert told[b"result"] == b"error"

    @rule(call=CALL)
    def tap_behind_the_gate(self, call: bytes) -> None:
        if not self.gate.relay.silent:
            self.gate.relay.ask(
                command=b"subscribe request", call_id=call, to_tag=b"spy", flags=[b"all"]
            )
            self.foreign = True

    @rule(call=CALL)
    def drop(self, call: bytes) -> None:
        for tag in self.gate.relay.copies(call):
            self.gate.relay.drop(tag)

    @rule(call=CALL)
    def merge(self, call: bytes) -> None:
        if call in self.gate.relay.calls and self.gate.recorded(call):
            self.quiet()
            if self.gate.recorded(call):
                self.gate.relay.merge(call, b"stranger")
                self.merged.add(call)

    @rule(losses=st.integers(1, 1 << 40))
    def lose_some(self, losses: int) -> None:
        self.lossy = losses

    @rule(lying=st.sampled_from([b"unsubscribe", b"subscribe answer", b"subscribe request"]))
    def lie(self, lying: bytes) -> None:
        self.gate.relay.lying = {lying}

    @rule(milliseconds=st.sampled_from([0, 5, 40]))
    def slow_down(self, milliseconds: int) -> None:
        self.gate.delay = milliseconds * MS

    @rule(quietly=st.booleans())
    def fall_silent(self, quietly: bool) -> None:
        self.gate.relay.silent = quietly

    @rule()
    def restart(self) -> None:
        self.gate.restart()
        self.answered.clear()
        self.merged.clear()
        self.restarted = True

    @rule(milliseconds=st.sampled_from([1, 30, 260, 1200, 3000]))
    def wait(self, milliseconds: int) -> None:
        self.gate.wait(milliseconds)

    def quiet(self) -> None:
        """Let everything be as it should for as long as it takes."""
        self.lossy, self.gate.delay = 0, 0
        self.gate.relay.silent = False
        self.gate.relay.lying = set()
        self.gate.wait(9000)

    @rule()
    def come_to_rest(self) -> None:
        """Exactly the calls that are wanted and there have one subscription, which is ours."""
        self.quiet()
        for call in CALLS:
            if not self.gate.wanted[call] or self.is_merged(call):
                assert self.gate.quiet(call)
            elif len(self.gate.relay.parties(call)) > 1:
                assert self.gate.recorded(call)
            elif not self.gate.relay.parties(call):
                assert self.gate.quiet(call)
        assert len(self.gate.sinks) == len(self.gate.held)
        assert self.gate.rules.ready

    def is_merged(self, call: bytes) -> bool:
        recorded = self.gate.rules._recordings._calls.get(call)
        merged = recorded is not None and recorded.merged
        assert not merged or call in self.merged or b"stranger" in self.named(call), "no merge"
        return merged

    def named(self, call: bytes) -> set[bytes]:
        relayed = self.gate.relay.calls.get(call)
        return {tag.name for tag in relayed.tags.values()} if relayed is not None else set()

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def answers_are_not_held_too_long(self) -> None:
        for call in self.gate.rules._recordings._calls.values():
            assert not call.held or call.held_until <= self.gate.now + HELD
            assert not call.held or call.held_until > self.gate.now

    @invariant()
    def only_what_was_not_ours_is_called_foreign(self) -> None:
        assert self.foreign or "foreign_subscription" not in self.gate.what()

    @invariant()
    def answers_tell_nothing_of_the_agent(self) -> None:
        mark = self.gate.rules._recordings._tags.mark
        assert all(mark not in data for _, data in self.gate.answers)

    def teardown(self) -> None:
        """Let every grant go: nothing is left."""
        for call in CALLS:
            for grant in list(self.gate.wanted[call]):
                self.release(call, grant)
        self.quiet()
        for call in CALLS:
            assert self.gate.quiet(call)
        assert not self.gate.sinks
        assert not self.gate.held


TestRelayMachine = RelayMachine.TestCase
TestRelayMachine.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
