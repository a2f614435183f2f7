"""Honest histories of any length: nothing is invented, and every answer is the true one.

Guards, people and nodes do what they should in any order, nodes cut off from time to time, so that
their receipts come late and they hear of a word to stop only when their lease ends.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.app.denial import Denied
from guard.core.answers import Verdict
from guard.core.ending import ending
from guard.core.fields import format_time
from guard.core.instruments import Instrument
from guard.core.interceptions import interceptions
from guard.core.receipt import ReceiptKind
from guard.core.silence import silence
from guard.core.window import Window
from tests.builders.chronicle import EVERY, Chronicle, Hand

LEASE = timedelta(seconds=30)
INSTRUMENTS = (Instrument.TICKET, Instrument.INTERCEPTION_ORDER, Instrument.EMERGENCY)
NODES = ("node-1", "node-2")
KINDS = ("open", "sign", "grant", "arm", "stop", "revoke", "pass", "cut", "restart")
FREQUENT = ("begin", "begin", "begin", "pass", "pass", "again")

Step = tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(KINDS + FREQUENT), st.integers(0, 11)), min_size=4, max_size=60
)


@dataclass
class Running:
    """A capture armed on a node: until when it may go on, and what it has sealed."""

    until: datetime
    sealed_to: datetime
    segments: int = 0


@dataclass
class Agent:
    """An honest node: it tells all, in order, and ends what it must in time."""

    hand: Hand
    running: dict[str, Running] = field(default_factory=dict)
    waiting: list[bytes] = field(default_factory=list)
    cut: bool = False
    alive: bool = True
    due: datetime | None = None
    armed_spans: list[tuple[datetime, datetime]] = field(default_factory=list)
    begun: dict[str, datetime] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.hand.house.clock.now()

    async def tell(self, envelope: bytes) -> None:
        self.waiting.append(envelope)
        while self.waiting and not self.cut:
            await self.hand.send(self.waiting.pop(0))

    async def join(self) -> None:
        self.cut = False
        while self.waiting:
            await self.hand.send(self.waiting.pop(0))

    async def cut_off(self) -> None:
        """Lose the guard, or find it again."""
        if self.cut:
            await self.join()
        else:
            self.cut = True

    async def beat(self, **about: str) -> None:
        numbers = {"every": EVERY, "part": 1, "parts": 1}
        listed = sorted(self.running)
        await self.tell(
            self.hand.receipt(None, ReceiptKind.HEARTBEAT, armed=listed, **numbers, **about)
        )
        self.due = self.now + timedelta(seconds=EVERY)

    async def arm(self, grant_id: str, until: datetime) -> None:
        self.running[grant_id] = Running(until=until, sealed_to=self.now)
        self.begun[grant_id] = self.now
        await self.tell(self.hand.receipt(grant_id))

    async def end(self, grant_id: str, why: str) -> None:
        one = self.running.pop(grant_id)
        self.armed_spans.append((self.begun.pop(grant_id), self.now))
        if self.now > one.sealed_to:
            one.segments += 1
            times = {
                "first": format_time(one.sealed_to),
                "last": format_time(self.now - timedelta(microseconds=1)),
            }
            await self.tell(self.hand.sealed(grant_id, one.segments, b"x", **times))
        await self.tell(self.hand.receipt(grant_id, ReceiptKind.DISARMED, reason=why))

    async def stop(self) -> None:
        for grant_id in list(self.running):
            await self.end(grant_id, "agent_stopped")
        await self.beat(at="stop")
        self.alive, self.due = False, None

    async def start(self) -> None:
        self.alive = True
        await self.beat(at="start")


class World:
    """A chronicle with its agents."""

    def __init__(self, log: Chronicle) -> None:
        self.log = log
        self.agents = {name: Agent(log.hands[name]) for name in NODES}
        self.authorities: list[str] = []
        self.grants: list[str] = []
        self.armed: set[str] = set()

    async def move(self, lasting: timedelta) -> None:
        """Let time pass; every agent does in time what is due."""
        target = self.log.now + lasting
        while True:
            dues = [
                due
                for agent in self.agents.values()
                for due in (agent.due, *(one.until for one in agent.running.values()))
                if due is not None
            ]
            at = min([*dues, target])
            self.log.clock.time = max(at, self.log.now)
            for agent in self.agents.values():
                for grant_id, one in list(agent.running.items()):
                    if one.until <= self.log.now:
                        await agent.end(grant_id, "expired")
                if agent.due is not None and agent.due <= self.log.now:
                    await agent.beat()
            await self.log.sweep.run()
            if at >= target:
                return

    async def do(self, kind: str, number: int) -> None:
        """Do one thing; what the guard denies is on record and no harm."""
        agent = self.agents[NODES[number % 2]]
        with suppress(Denied):
            match kind:
                case "open":
                    await self.open(INSTRUMENTS[number % 3], number)
                case "begin":
                    await self.open(INSTRUMENTS[number % 3], number)
                    await self.sign(self.authorities[-1])
                    await self.begin(self.authorities[-1], agent)
                case "pass":
                    await self.move(timedelta(seconds=1 + number * 37))
                case "cut":
                    await agent.cut_off()
                case "restart":
                    await (agent.stop() if agent.alive else agent.start())
                case "arm" | "stop":
                    await self.do_with(kind, self.grants, number, agent)
                case _:
                    await self.do_with(kind, self.authorities, number, agent)

    async def do_with(self, kind: str, known: list[str], number: int, agent: Agent) -> None:
        """Do something with one of the authorities or grants that there are."""
        if not known:
            return
        one = known[number % len(known)]
        match kind:
            case "sign":
                await self.sign(one)
            case "grant":
                await self.grant(one, agent)
            case "again":
                await self.begin(one, agent)
            case "arm":
                await self.arm(one)
            case "stop":
                await self.stop(one)
            case "revoke":
                await self.revoke(one)

    async def open(self, instrument: Instrument, number: int) -> None:
        window = Window(
            not_before=self.log.now, not_after=self.log.now + timedelta(minutes=10 + number * 5)
        )
        authority = self.log.site.authority(instrument, window=window, nodes=NODES)
        view = await self.log.register(self.log.site.register(authority))
        self.authorities.append(view.row.id)

    async def sign(self, authority_id: str) -> None:
        view = self.log.authorities.get(authority_id, self.log.auditor)
        second = "lead-1" if view.authority.registrant == "operator-1" else "legal-2"
        await self.log.sign(view, second)

    async def grant(self, authority_id: str, agent: Agent) -> None:
        view = self.log.authorities.get(authority_id, self.log.auditor)
        by = view.authority.registrant
        self.grants.append(await self.log.grant(authority_id, node=agent.hand.name, by=by))

    async def begin(self, authority_id: str, agent: Agent) -> None:
        await self.grant(authority_id, agent)
        await self.arm(self.grants[-1])

    async def arm(self, grant_id: str) -> None:
        with self.log.ledger.reads() as view:
            row = view.capture(grant_id)
        assert row is not None
        agent = self.agents[row.node]
        fresh = grant_id not in self.armed and str(row.state) == "granted"
        if (
            fresh
            and agent.alive
            and not agent.cut
            and row.not_before <= self.log.now < row.not_after
        ):
            self.armed.add(grant_id)
            await agent.arm(grant_id, row.not_after)

    async def told(self, grant_id: str, why: str) -> None:
        """Tell the node; one that is cut off ends with its lease."""
        for agent in self.agents.values():
            if grant_id in agent.running and agent.cut:
                one = agent.running[grant_id]
                one.until = min(one.until, self.log.now + LEASE)
            elif grant_id in agent.running:
                await agent.end(grant_id, why)

    async def stop(self, grant_id: str) -> None:
        await self.log.captures.stop(grant_id, self.log.site.principal("legal-1"))
        await self.told(grant_id, "stopped")

    async def revoke(self, authority_id: str) -> None:
        await self.log.authorities.revoke(authority_id, "done", self.log.site.principal("lead-1"))
        for grant_id in self.grants:
            if self.log.authority_of(grant_id) == authority_id:
                await self.told(grant_id, "revoked")

    def check(self) -> None:
        """Ask all three questions; every answer must be the true one."""
        history, begun, now = self.log.history(), self.log.site.now, self.log.now
        period = Window(not_before=begun, not_after=now + timedelta(seconds=1))
        answer = interceptions(history, period, now=now)
        assert answer.discrepancies == ()
        assert self.armed <= {each.grant_id for each in answer.interceptions}
        assert all(each.over is not None for each in answer.interceptions)
        for authority_id in self.authorities:
            ended = ending(history, authority_id, now=now)
            assert (ended.verdict, ended.discrepancies) == (Verdict.SHOWN, ())
        for name, agent in self.agents.items():
            for start, end in _periods(begun, now):
                silent = silence(history, name, Window(not_before=start, not_after=end))
                busy = any(a < end and (b > start or a >= start) for a, b in agent.armed_spans)
                assert (silent.verdict is Verdict.SHOWN) is not busy, silent.discrepancies


def _periods(begun: datetime, now: datetime) -> Sequence[tuple[datetime, datetime]]:
    parts = [begun + (now - begun) * number / 7 for number in range(8)]
    return [*pairwise(parts), (begun, now)]


async def live(folder: Path, doing: Sequence[Step]) -> None:
    async with Chronicle(folder) as log:
        world = World(log)
        for agent in world.agents.values():
            await agent.start()
        for kind, number in doing:
            await world.do(kind, number)
        for agent in world.agents.values():
            await agent.join()
            if not agent.alive:
                await agent.start()
        await world.move(timedelta(hours=2))
        for agent in world.agents.values():
            await agent.beat()
        world.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_nothing_is_invented_about_an_honest_history(doing: list[Step]) -> None:
    """Whatever honest people, guards and nodes do, there is no discrepancy, and silence is true."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), doing))
