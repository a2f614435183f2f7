"""The gate as it runs: carries out what the rules about the relay say, and tells the node.

1. One thread, the event loop's. What the rules command is done in order.
2. Before the first message is taken, the fence stands, the dead man's switch runs, and both are
   watched: the death of either is the end of the agent.
3. A relay that ends is noticed at once (its process) or with the next message (its port). One that
   answers again is looked through before it gets a new call.
4. A failure here is the agent's end: a gate that does not know what it does lets nothing through.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from agents.config import Endpoint, RelayConfig
from agents.core import events as on
from agents.core.events import Event
from agents.core.flow import FlowKey
from agents.core.instant import NANOSECONDS
from agents.core.ngcodec import Encoding, NgDict
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
from agents.recorder.asker import who_asked
from agents.recorder.deadman import DeadMan, DeadManGone
from agents.recorder.fence import Fence, FenceError
from agents.recorder.fencerules import Fenced
from agents.recorder.relaywatch import RelayWatch
from agents.recorder.sinks import Sinks
from agents.recorder.tcp import listen_tcp
from agents.recorder.udp import UdpListener
from agents.recorder.upstream import Upstream

__all__ = ["Gate", "GateError"]

_SOONEST = 0.002
_PING = 0.1
_PULSE = 0.5
_UNANSWERED = 4
_NAMES = 16  # how many askers' users are looked up in a pulse


class GateError(Exception):
    """The gate cannot be set up; the message says what to do."""


class Gate:
    """One relay's gate.

    ``now`` reads the boot clock in nanoseconds, ``deliver`` tells the node, ``packets`` counts what
    arrived at a flow, ``fail`` ends the agent.
    """

    def __init__(
        self,
        config: RelayConfig,
        *,
        now: Callable[[], int],
        deliver: Callable[[Event], None],
        packets: Callable[[FlowKey], int],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._clock = now
        self._deliver = deliver
        self._packets = packets
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._relay = Relay(_cookie, through=config.through)
        self._sinks = Sinks()
        self._encoding = Encoding.JSON if config.json else Encoding.BENCODE
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0
        self._names = _NAMES
        self._questions: dict[int, asyncio.Future[NgDict | None]] = {}
        self._question = 0
        self._gone = asyncio.Event()
        self._watch = RelayWatch(config, report=self._put_on_record, stop=self._stop_recording)
        self._upstream: Upstream
        self._fence: Fence
        self._dead_man: DeadMan

    # -- what the node wants ----------------------------------------------------------------------

    def record(self, call_id: str, grant_id: str) -> None:
        """Let a live content grant have a call."""
        self._carry_out(self._relay.record(_octets(call_id), grant_id, self._now))

    def release(self, call_id: str, grant_id: str) -> None:
        """Let a grant have a call no more."""
        self._carry_out(self._relay.release(_octets(call_id), grant_id, self._now))

    def status(self) -> dict[str, Any]:
        """Say how the gate stands, without a call."""
        return {"ready": self._relay.ready, "recordings": self._relay.recordings}

    async def operator(self, question: NgDict, who: str) -> NgDict | None:
        """Ask the relay for an operator of the node, on record; None when it does not answer."""
        verb, call_id = question[b"command"], question.get(b"call-id")
        details = {"verb": _text(verb) if isinstance(verb, bytes) else "", "who": who}
        call = call_id if isinstance(call_id, bytes) else None
        self._put_on_record(Report("operator_asked", call, details))
        return await self.ask(question)

    async def ask(self, question: NgDict) -> NgDict | None:
        """Ask the relay something; None when it does not answer."""
        self._question += 1
        number = self._question
        answer = self._questions[number] = self._loop.create_future()
        self._carry_out(self._relay.operator(question, number, self._now))
        try:
            reply: NgDict | None = await answer
        finally:
            self._questions.pop(number, None)
        return reply

    # -- running ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for as long as the block does; raises GateError when it cannot be set up."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                await self._set_up(stack)
            except FenceError as error:
                raise GateError(str(error)) from error
            except OSError as error:
                name = f"{error.filename}: " if error.filename else ""
                raise GateError(f"{name}{error.strerror or error}") from error
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(each) for each in self._tasks()]
            try:
                yield
            finally:
                for each in running:
                    each.cancel()

    async def _set_up(self, stack: contextlib.AsyncExitStack) -> None:
        """Rule 2."""
        config = self._config
        self._upstream = Upstream(config.control, self._answered, self._gone.set)
        stack.callback(self._stop)
        host, port = config.control.host.strip("[]"), config.control.port
        self._fence = Fence(self._fenced(port))
        self._dead_man = DeadMan((host, port), self._upstream.source)
        stack.push_async_callback(asyncio.to_thread, self._dead_man.close)
        stack.callback(self._upstream.close)  # First: the switch asks from the same address.
        if not await asyncio.to_thread(self._dead_man.ready):
            raise GateError("the dead man's switch does not start")
        await self._fence.install()
        for endpoint in config.listen:
            await self._listen(endpoint, stack)

    async def _listen(self, endpoint: Endpoint, stack: contextlib.AsyncExitStack) -> None:
        try:
            await self._listen_at(endpoint, stack)
        except OSError as error:
            where = f"{endpoint.transport}:{endpoint.host}:{endpoint.port}"
            raise GateError(f"cannot listen at {where}: {_remedy(error)}") from error

    async def _listen_at(self, endpoint: Endpoint, stack: contextlib.AsyncExitStack) -> None:
        if endpoint.transport == "udp":
            stack.callback(UdpListener(endpoint, self._encoding, self._asked).close)
        elif endpoint.transport == "tcp":
            stack.callback((await listen_tcp(endpoint, self._encoding, self._asked)).close)
        else:
            from agents.recorder.http import listen_http  # noqa: PLC0415 - where it is configured

            http = await listen_http(endpoint, self._encoding, self._asked, self._put_on_record)
            stack.push_async_callback(http.close)

    def _fenced(self, control: int) -> Fenced:
        address, port = self._upstream.source
        closed = self._config.closed_ports
        return Fenced(
            ng=control, address=address, port=port, owner=os.geteuid(), tcp=closed, udp=closed
        )

    def _tasks(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self._attend()
        yield self._guard_switch()
        yield self._fence.watch(self._breached)
        yield self._watch.watch_folders()

    def _breached(self, how: str) -> None:
        self._put_on_record(Report("fence_breached", None, {"found": how, "done": "restored"}))

    def _stop_recording(self, call_id: bytes) -> None:
        question: NgDict = {b"command": b"stop recording", b"call-id": call_id}
        self._carry_out(self._relay.operator(question, None, self._now))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._watch.close()
        self._upstream.close()
        self._sinks.close_all()

    async def _attend(self) -> None:
        """Find the relay, look after it, and find it again (rule 3)."""
        while True:
            await self._meet()
            self._gone.clear()
            await self._watch.meet()
            self._carry_out(self._relay.relay_found(self._now))
            await self._until_gone()
            self._carry_out(self._relay.relay_gone())
            self._put_on_record(Report("relay_ended"))

    async def _meet(self) -> None:
        # Nothing tells when a relay has begun to listen but that it answers.
        while await self._ping() is None:  # noqa: ASYNC110
            await asyncio.sleep(_PING)

    async def _until_gone(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            signs = [
                tasks.create_task(self._watch.exited()),
                tasks.create_task(self._silent()),
                tasks.create_task(self._refused()),
            ]
            await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
            for each in signs:
                each.cancel()

    async def _refused(self) -> None:
        await self._gone.wait()

    async def _silent(self) -> None:
        missed = 0
        while missed < _UNANSWERED:
            await asyncio.sleep(_PULSE)
            missed = missed + 1 if await self._ping() is None else 0

    async def _ping(self) -> NgDict | None:
        return await self.ask({b"command": b"ping"})

    async def _guard_switch(self) -> None:
        while True:
            await asyncio.sleep(_PULSE)
            self._names = _NAMES
            if not self._dead_man.alive():
                raise DeadManGone("the dead man's switch has died")

    # -- what comes in ----------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._clock()

    def _asked(self, asker: Asker, data: bytes) -> bool:
        try:
            commands = self._relay.asked(asker, data, self._now)
            self._carry_out(commands)
        except Exception as error:  # noqa: BLE001 - rule 4
            self._fail(error)
            return False
        return any(isinstance(each, ToRelay) for each in commands)

    def _answered(self, data: bytes) -> None:
        try:
            self._carry_out(self._relay.answered(data, self._now))
        except Exception as error:  # noqa: BLE001 - rule 4
            self._fail(error)

    def _wake_up(self) -> None:
        self._timer = None
        try:
            arrived = {
                serial: sum(self._packets(FlowKey.to(host, port)) for port in ports)
                for serial, host, ports in self._sinks.bound()
            }
            self._carry_out(self._relay.wake_up(self._now, arrived))
        except Exception as error:  # noqa: BLE001 - rule 4
            self._fail(error)

    # -- what is to be done -----------------------------------------------------------------------

    def _carry_out(self, commands: Iterable[RelayCommand]) -> None:
        for command in commands:
            self._do(command)
        self._set_timer()

    def _do(self, command: RelayCommand) -> None:  # noqa: C901 - one case per command
        match command:
            case ToRelay(data=data):
                self._upstream.send(data)
            case ToAsker(asker=asker, data=data):
                asker.way.send(data)
            case OpenSinks(serial=serial, streams=streams, host=host):
                ports = self._sinks.open(serial, streams, host)
                self._carry_out(self._relay.sinks(serial, ports, self._now))
            case CloseSinks(serial=serial):
                self._sinks.close(serial)
            case OpenFlows(call_id=call_id, keys=keys):
                self._deliver(on.RelayFlows(call_id=_text(call_id), keys=keys, open=True))
            case CloseFlows(call_id=call_id, keys=keys):
                self._deliver(on.RelayFlows(call_id=_text(call_id), keys=keys, open=False))
            case Subscribed(call_id=call_id, tag=tag):
                self._dead_man.holds(call_id, tag)
            case Unsubscribed(call_id=call_id, tag=tag):
                self._dead_man.forgets(call_id, tag)
            case Report():
                self._put_on_record(command)
            case OperatorTold(token=number, reply=reply):
                self._reply(number, reply)
            case _:
                raise AssertionError("the rules ask the relay themselves")

    def _put_on_record(self, report: Report) -> None:
        call = _text(report.call_id) if report.call_id is not None else None
        details = dict(report.details)
        if "who" in details and self._names > 0:  # It takes a look through the kernel's sockets.
            self._names -= 1
            details["who"] = _named(str(details["who"]))
        self._deliver(on.RelayReport(what=report.what, call_id=call, details=details))

    def _reply(self, number: object, reply: NgDict | None) -> None:
        answer = self._questions.get(number) if isinstance(number, int) else None
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _set_timer(self) -> None:
        due = self._relay.next_deadline()
        if due is None or (self._timer is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        seconds = max(_SOONEST, (due - self._now) / NANOSECONDS)
        self._timer = self._loop.call_later(seconds, self._wake_up)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; if the relay has it, let that listen at relay.control instead"
    return os.strerror(error.errno) if error.errno else str(error)


def _named(where: str) -> str:
    """Say also which user it was, where that can be told."""
    protocol, _, address = where.partition(" ")
    host, _, port = address.rpartition(":")
    # A user on this host has no address, and is named already.
    return who_asked(protocol, host.strip("[]"), int(port)) if host and port.isdecimal() else where


def _cookie() -> bytes:
    return secrets.token_hex(12).encode()


def _octets(call_id: str) -> bytes:
    return call_id.encode("utf-8", "surrogateescape")


def _text(call_id: bytes) -> str:
    return call_id.decode("utf-8", "surrogateescape")
