"""The gate's rules beside a simulated relay, driven as the agent drives them, in simulated time.

``Gate`` carries commands out, and fails when they are out of order: a flow armed without its sink,
a relay told to send before its flow is armed, a tag given up that was never held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.core.flow import FlowKey
from agents.core.ngcodec import Encoding, NgDict, NgValue, decode, encode
from agents.core.nggate import Asker, ToAsker, ToRelay
from agents.core.relay import Relay
from agents.core.relaycommands import (
    CloseFlows,
    CloseSinks,
    OpenFlows,
    OpenSinks,
    OperatorTold,
    RelayCommand,
    Report,
    Subscribed,
    Unsubscribed,
)
from tests.sim.relay_simulator import RelaySimulator

MS = 1_000_000
START = 1_000_000 * MS
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
VIDEO = b"m=video 40100 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


@dataclass(frozen=True)
class Client:
    """A SIP proxy's way back; equal by name."""

    name: str

    def send(self, data: bytes) -> None:
        raise AssertionError("the driver sends")


PROXY = Asker("udp 127.0.0.1:5000", Client("proxy"))
JSON = Asker("udp 127.0.0.1:5001", Client("json"), Encoding.JSON)


@dataclass
class Gate:
    """One relay, one gate. ``lose`` decides of each datagram to and from the relay."""

    relay: RelaySimulator = field(default_factory=RelaySimulator)
    lose: Callable[[bytes], bool] = lambda _: False
    delay: int = 0
    now: int = START
    sinks_free: bool = True

    def __post_init__(self) -> None:
        self.words = 0
        self.rules = Relay(self._word)
        self.wire: list[tuple[int, bool, bytes]] = []
        self.flows: dict[bytes, set[FlowKey]] = {}
        self.sinks: dict[int, tuple[int, ...]] = {}
        self.ports = 20000
        self.held: set[tuple[bytes, bytes]] = set()
        self.tags: Counter[str] = Counter()
        self.reports: list[Report] = []
        self.answers: list[tuple[Asker, bytes]] = []
        self.asked_at: dict[bytes, int] = {}
        self.told: list[OperatorTold] = []
        self.arrived: dict[int, int] = {}
        self.cookies = 0

    def _word(self) -> bytes:
        self.words += 1
        return b"%024x" % self.words

    # -- what comes in ----------------------------------------------------------------------------

    def find(self) -> None:
        """Meet the relay, and look it through."""
        self.do(self.rules.relay_found(self.now))
        self.settle()

    def say(
        self, asker: Asker = PROXY, *, cookie: bytes = b"", **message: NgValue
    ) -> NgDict | None:
        """Ask as a SIP proxy; return the answer when it is there at once."""
        cookie = cookie or self.cookie()
        self.send(asker, cookie, message)
        return self.answer(cookie)

    def send(self, asker: Asker, cookie: bytes, message: dict[str, NgValue]) -> list[RelayCommand]:
        """Send a message as a SIP proxy does; underscores in keys stand for hyphens."""
        question: NgDict = {key.replace("_", "-").encode(): v for key, v in message.items()}
        data = cookie + b" " + encode(question, asker.encoding)
        commands = self.rules.asked(asker, data, self.now)
        self.do(commands)
        self.settle()
        return commands

    def cookie(self) -> bytes:
        self.cookies += 1
        return b"c%d" % self.cookies

    def answer(self, cookie: bytes) -> NgDict | None:
        """Return what was answered under a cookie last."""
        for asker, data in reversed(self.answers):
            if data.startswith(cookie + b" "):
                return decode(data.partition(b" ")[2], asker.encoding)
        return None

    def offer(
        self, call: bytes, tag: bytes = b"f", to: bytes = b"", sdp: bytes = SDP
    ) -> NgDict | None:
        more: dict[str, NgValue] = {"to_tag": to} if to else {}
        return self.say(command=b"offer", call_id=call, from_tag=tag, sdp=sdp, **more)

    def accept(
        self, call: bytes, tag: bytes = b"f", to: bytes = b"t", sdp: bytes = SDP
    ) -> NgDict | None:
        return self.say(command=b"answer", call_id=call, from_tag=tag, to_tag=to, sdp=sdp)

    def delete(self, call: bytes, tag: bytes = b"f") -> NgDict | None:
        return self.say(command=b"delete", call_id=call, from_tag=tag)

    def want(self, call: bytes, grant: str = "g1") -> None:
        self.do(self.rules.record(call, grant, self.now))
        self.settle()

    def release(self, call: bytes, grant: str = "g1") -> None:
        self.do(self.rules.release(call, grant, self.now))
        self.settle()

    def restart(self, *, found: bool = True) -> None:
        """Let the relay be started anew, and found again."""
        self.wire.clear()
        self.relay.restart()
        self.do(self.rules.relay_gone())
        if found:
            self.find()

    # -- time -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Deliver what has come through by now."""
        self.wait(0)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, awake at every deadline and whenever something arrives."""
        end = self.now + milliseconds * MS
        for _ in range(100_000):
            if self._deliver():
                continue
            dues = [at for at, _, _ in self.wire]
            wake_up = self.rules.next_deadline()
            if wake_up is not None:
                dues.append(wake_up)
            if not dues or min(dues) > end:
                self.now = max(self.now, end)
                return
            self.now = max(self.now, min(dues))
            if wake_up is not None and wake_up <= self.now:
                self.do(self.rules.wake_up(self.now, dict(self.arrived)))
                later = self.rules.next_deadline()
                assert later is None or later > self.now, "what is due was not done"
        raise AssertionError("it never comes to rest")

    def _deliver(self) -> bool:
        for each in self.wire:
            at, to_relay, data = each
            if at > self.now:
                continue
            self.wire.remove(each)
            if to_relay:
                self.arms_first(data)
                answer = self.relay.take(data)
                if answer is not None:
                    self._put(to_relay=False, data=answer)
            else:
                self.do(self.rules.answered(data, self.now))
            return True
        return False

    def _put(self, *, to_relay: bool, data: bytes) -> None:
        if not self.lose(data):
            self.wire.append((self.now + self.delay, to_relay, data))

    def talk(self, call: bytes) -> None:
        """Let the parties talk for a second; what is copied arrives."""
        self.relay.talk(call)
        copied = self.relay.copies(call)
        for serial in self.sinks:
            if any((call, tag) in self.held for tag in copied):
                self.arrived[serial] = self.arrived.get(serial, 0) + 100

    # -- carrying out -----------------------------------------------------------------------------

    def do(self, commands: list[RelayCommand]) -> None:
        for command in commands:
            self._do(command)

    def _do(self, command: RelayCommand) -> None:  # noqa: C901 - one case per command
        match command:
            case ToRelay(data=data):
                self._put(to_relay=True, data=data)
            case ToAsker(asker=asker, data=data):
                self.answers.append((asker, data))
            case OpenSinks(serial=serial, streams=streams):
                self.do(self.rules.sinks(serial, self._bind(serial, streams), self.now))
            case CloseSinks(serial=serial):
                gone = self.sinks.pop(serial, ())
                self.arrived.pop(serial, None)
                armed = {key.port for keys in self.flows.values() for key in keys}
                assert armed.isdisjoint(gone), "sinks given up before their flows"
            case OpenFlows(call_id=call, keys=keys):
                bound = {
                    port + more
                    for ports in self.sinks.values()
                    for port in ports
                    for more in (0, 1)
                }
                assert {key.port for key in keys} <= bound, "a flow without a sink"
                self.flows.setdefault(call, set()).update(keys)
            case CloseFlows(call_id=call, keys=keys):
                assert set(keys) <= self.flows[call], "a flow that was never armed"
                self.flows[call] -= set(keys)
            case Subscribed(call_id=call, tag=tag):
                assert (call, tag) not in self.held
                self.held.add((call, tag))
            case Unsubscribed(call_id=call, tag=tag):
                self.held.remove((call, tag))
            case Report():
                self.reports.append(command)
            case OperatorTold():
                self.told.append(command)
            case _:
                raise AssertionError(f"nobody carries this out: {command}")

    def _bind(self, serial: int, streams: int) -> tuple[int, ...] | None:
        if not self.sinks_free:
            return None
        first, self.ports = self.ports, self.ports + 2 * streams
        self.sinks[serial] = tuple(range(first, self.ports, 2))
        return self.sinks[serial]

    def arms_first(self, data: bytes) -> None:
        """See that the agent's own questions come when they may."""
        message = decode(data.partition(b" ")[2], Encoding.BENCODE)
        call, tag = message.get(b"call-id"), message.get(b"to-tag")
        if message.get(b"command") in {b"subscribe request", b"subscribe answer"}:
            assert isinstance(call, bytes)
            assert (call, tag) in self.held, "the dead man's switch does not know of it"

    # -- looking ----------------------------------------------------------------------------------

    def what(self) -> list[str]:
        """Return what was reported."""
        return [each.what for each in self.reports]

    def recorded(self, call: bytes) -> bool:
        """Say whether exactly one subscription of ours has all of a call, and is armed."""
        copies = self.relay.copies(call)
        ours = {tag for of, tag in self.held if of == call}
        return (
            len(copies) == 1
            and set(copies) == ours
            and next(iter(copies.values())) == self.relay.parties(call)
            and bool(self.flows.get(call))
        )

    def quiet(self, call: bytes) -> bool:
        """Say whether nothing of a call is recorded, held or armed."""
        held = any(of == call for of, _ in self.held)
        return not self.relay.copies(call) and not held and not self.flows.get(call)
