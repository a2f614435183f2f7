"""Whatever happens in whatever order: what the node commands keeps the promises."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Command
from agents.core.health import Health, unproven
from agents.core.instant import NANOSECONDS, nanoseconds
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.evidence import Evidence
from guard.core.instruments import Instrument
from guard.core.reasons import Reason
from guard.core.receipt import ReceiptKind
from guard.core.window import Window
from tests.agents.core.calls import message, sdp
from tests.builders.deployment import SUBJECT, Deployment
from tests.sim.playbook import Playbook, grant_id

NAMES = (f"{SUBJECT}@voip.example", "bob@example.org")
MADE = Deployment()
LASTS = {"short": 20, "long": 500}
INSTRUMENTS = {
    "ticket": Instrument.TICKET,
    "order": Instrument.INTERCEPTION_ORDER,
    "pen": Instrument.PEN_REGISTER,
}
AUTHORITIES = {
    (instrument, lasts): MADE.approved(
        INSTRUMENTS[instrument],
        window=Window(
            not_before=MADE.now - timedelta(minutes=1),
            not_after=MADE.now + timedelta(seconds=LASTS[lasts]),
        ),
    )
    for instrument in INSTRUMENTS
    for lasts in LASTS
}
STRICT = MADE.approved(Instrument.INTERCEPTION_ORDER, enforcement=Enforcement.KILL)
LEASE = 7  # seconds
WHICH = st.integers(0, 5)


class NodeMachine(RuleBasedStateMachine):
    """Tells the node anything; a model of the few facts that count stands beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Playbook(MADE)
        self.play.tell(on.Started())
        self.play.session()
        self.offered: list[Evidence] = []
        self.ends: dict[str, int] = {}
        self.spoken: dict[str, int] = {}
        self.open: set[str] = set()
        self.closing: set[str] = set()
        self.over: set[str] = set()
        self.receipts: Counter[tuple[str, ReceiptKind]] = Counter()
        self.opened: Counter[str] = Counter()
        self.health = unproven(SentryMode.OBSERVE)
        self.strict: set[str] = set()

    def see(self, commands: list[Command]) -> None:
        """Hold every command against what may be commanded now."""
        for command in commands:
            match command:
                case do.OpenCapture(grant=grant, deadline=deadline):
                    name = grant.grant.id
                    assert name not in self.over, "what has ended was armed again"
                    assert name not in self.open
                    self.open.add(name)
                    self.opened[name] += 1
                    self.spoken[name] = self.play.boot_ns
                    self.bounded({name}, deadline)
                case do.MoveDeadline(grant_id=name, deadline=deadline):
                    self.bounded({name}, deadline)
                case (
                    do.SetFlow(grants=grants, deadline=deadline)
                    | do.WatchIdentity(grants=grants, deadline=deadline)
                ):
                    self.bounded(set(grants), deadline)
                case do.WriteSignalling(grant_id=name):
                    self.bounded({name}, self.play.boot_ns + 1)
                case do.EndCapture(grant_id=name):
                    self.open.remove(name)
                    self.closing.add(name)
                case do.PersistEnded(grant_id=name):
                    self.over.add(name)
                case do.SendReceipt(draft=draft) if draft.kind is ReceiptKind.HEARTBEAT:
                    assert set(draft.armed) == self.open, "a heartbeat names what is armed"
                    assert draft.health == self.health.stated(), "and how the sentry does"
                case do.SendReceipt(draft=draft):
                    self.receipts[draft.grant_id, draft.kind] += 1
                case _:
                    pass

    def bounded(self, grants: set[str], deadline: int) -> None:
        """No deadline beyond the authority's end, or one lease after the guard's last word."""
        assert grants <= self.open, "something is done for a grant that is not armed"
        latest = max(min(self.ends[g], self.spoken[g] + LEASE * NANOSECONDS) for g in grants)
        assert deadline <= latest

    # -- what may happen -----------------------------------------------------------------------

    @rule(instrument=st.sampled_from(sorted(INSTRUMENTS)), lasts=st.sampled_from(sorted(LASTS)))
    def offer(self, instrument: str, lasts: str) -> None:
        """Offer a new grant."""
        authority = AUTHORITIES[instrument, lasts]
        grant = MADE.grant(authority, lease=timedelta(seconds=LEASE))
        evidence = MADE.evidence(authority, grant)
        self.offered.append(evidence)
        left = nanoseconds(grant.window.not_after - self.play.guard_now)
        self.ends[grant.id] = self.play.boot_ns + left
        self.see(self.play.offer(evidence))

    @rule()
    def demand(self) -> None:
        """Offer a grant that only a sentry that kills may have armed."""
        grant = MADE.grant(STRICT, lease=timedelta(seconds=LEASE))
        self.strict.add(grant.id)
        self.offered.append(MADE.evidence(STRICT, grant))
        self.ends[grant.id] = self.play.boot_ns + nanoseconds(
            grant.window.not_after - self.play.guard_now
        )
        self.see(self.play.offer(self.offered[-1]))

    @rule(which=WHICH)
    def offer_again(self, which: int) -> None:
        """Offer an old one again, running or over."""
        if self.offered:
            self.see(self.play.offer(self.offered[which % len(self.offered)]))

    @rule(age=st.integers(0, 9))
    def renew(self, age: int) -> None:
        """Renew every lease, by a word that took so many seconds."""
        now = self.play.boot_ns
        ids = tuple(map(grant_id, self.offered))
        if not self.play.step and age * NANOSECONDS < now:
            for name in self.open:
                self.spoken[name] = max(self.spoken[name], now - age * NANOSECONDS)
        said = self.play.guard_now - timedelta(seconds=age)
        self.see(self.play.tell(on.LeaseRenewed(grant_ids=ids, guard_time=said)))

    @rule(which=WHICH, revoked=st.booleans())
    def withdraw(self, which: int, revoked: bool) -> None:
        """End one."""
        if self.offered:
            reason = Reason.REVOKED if revoked else Reason.STATE_NOT_PERMITTED
            gone = on.Withdrawal(
                grant_id=grant_id(self.offered[which % len(self.offered)]), reason=reason
            )
            self.see(self.play.tell(on.StateDelta(revision=3, withdrawn=(gone,))))

    @rule(call=st.sampled_from(["c1", "c2", "c3"]), port=st.sampled_from([20000, 20002]))
    def ring(self, call: str, port: int) -> None:
        """Let the subject call."""
        said = message("INVITE", call=call, names=NAMES, body=sdp("192.0.2.1", port))
        self.see(self.play.tell(on.SignallingSeen(message=said)))

    @rule(seconds=st.floats(0.1, 12))
    def wait(self, seconds: float) -> None:
        """Let time pass, the driver awake at every deadline."""
        end = self.play.boot_ns + round(seconds * 1_000_000) * 1000
        while (due := self.play.node.next_deadline()) is not None and due <= end:
            self.play.boot_ns = max(self.play.boot_ns, due)
            self.see(self.play.tell(on.WakeUp()))
        self.play.boot_ns = end

    @rule(seconds=st.floats(0.1, 12))
    def freeze(self, seconds: float) -> None:
        """Let time pass with nobody awake."""
        self.play.boot_ns += round(seconds * 1_000_000) * 1000

    @rule(hours=st.sampled_from([0, -24, 24]))
    def set_the_clock(self, hours: int) -> None:
        """Set the wall clock, or put it right."""
        self.play.step = timedelta(hours=hours)

    @rule()
    def close_one(self) -> None:
        """Let the engine seal what was told to end."""
        if self.closing:
            name = self.closing.pop()
            closed = on.CaptureClosed(grant_id=name, packets=1, bytes=1, drops=0)
            self.see(self.play.tell(closed))

    @rule(which=WHICH)
    def fail(self, which: int) -> None:
        """Let the disk be full for one."""
        if self.open:
            name = sorted(self.open)[which % len(self.open)]
            self.see(self.play.tell(on.CaptureFailed(grant_id=name, detail="for the test")))

    @rule(open_=st.booleans())
    def session(self, open_: bool) -> None:
        """Open a new session, or lose it."""
        if open_:
            self.see(self.play.tell(on.SessionOpened()))
            self.see(self.play.speak())
        else:
            self.see(self.play.tell(on.SessionClosed()))

    @rule(door=st.sampled_from(["detect", "kill"]), challenge=st.sampled_from(["", "ab" * 32]))
    def prove(self, door: str, challenge: str) -> None:
        """Let the sentry prove its doors; a change of more than the challenge is told at once."""
        before = self.health
        self.health = Health("enforce", door, {"packet_socket": door}, (), challenge)
        commands = self.play.tell(on.HealthSeen(health=self.health))
        told = [
            each
            for each in commands
            if isinstance(each, do.SendReceipt) and each.draft.kind is ReceiptKind.HEARTBEAT
        ]
        assert bool(told) == (not self.health.same_as(before))
        self.see(commands)

    @rule()
    def kill(self) -> None:
        """Kill the agent and start it again."""
        self.play.restart()
        self.health = unproven(SentryMode.OBSERVE)
        self.open.clear()
        self.closing.clear()
        self.see(self.play.tell(on.Started()))
        self.see(self.play.session())

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def what_is_armed_is_what_was_opened(self) -> None:
        """Compare the node's own count with its commands; it knows when it is at rest."""
        assert {each.grant_id for each in self.play.node.armed(self.play.now)} == self.open
        assert self.play.node.idle == (not self.open and not self.closing)

    @invariant()
    def what_is_demanded_is_enforced(self) -> None:
        """Nothing that demands a sentry that kills is armed without one."""
        assert self.health.enforcement == "kill" or not self.strict & self.open

    @invariant()
    def every_beginning_is_on_record(self) -> None:
        """Count one receipt for each time that a capture was opened."""
        for name, times in self.opened.items():
            assert self.receipts[name, ReceiptKind.ARMED] == times


TestNode = NodeMachine.TestCase
TestNode.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
