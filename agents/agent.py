"""The agent's composition root: from a configuration to a running agent, and back down.

1. Whatever is wrong refuses the start with one sentence: keys, state, spool, trust, kernel.
2. Everything that runs, runs in one task group: the death of one is the end of all, and whoever
   supervises the process starts it anew. The kernel's maps are emptied first.
3. The thread that follows the signalling comes before others (`process`): media begins as soon as
   the answer is on the wire, and what passes before its address is armed is lost.
4. SIGTERM and SIGINT disarm everything, seal what is open, and give the guard a moment to take the
   receipts; what it does not take, it gets after the next start.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from functools import partial
from importlib import metadata
from typing import Any, Protocol

import structlog

from agents import status
from agents.capture.drain import Ring
from agents.capture.engine import CaptureEngine
from agents.capture.sealing import SegmentLimits
from agents.capture.spool import Spool, SpoolUnsafe
from agents.clock import Clock, SystemClock
from agents.config import Config
from agents.core.armed import Memory
from agents.core.decision import Answered
from agents.core.events import RelayReport, Shutdown, SignallingSeen
from agents.core.flow import FlowKey
from agents.core.hearing import Hearing
from agents.core.node import Node
from agents.core.receipts import Chain
from agents.core.trustchain import TrustChain
from agents.decisions import server as decisions
from agents.decisions.place import PlaceError
from agents.driver import Driver, Parts
from agents.hands import Hands, KernelMaps
from agents.kernel.errors import KernelError
from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.identity import KEY_OCTETS
from agents.kernel.ring import RingSize
from agents.kernel.signalling import Frame
from agents.keys import KeyFileError, load_identity, load_signer
from agents.process import configure_logging, hurry, settle_memory
from agents.recorder import operators
from agents.recorder.gate import Gate, GateError
from agents.sentry.reporting import reporting
from agents.sentry.watch import Watch
from agents.session.channel import TlsPaths
from agents.session.client import Session
from agents.state import Kept, StateDir, StateError
from guard.core.level import Level
from guard.core.reasons import Refused
from guard.core.trust import parse_roots

__all__ = ["Kernel", "Signalling", "StartRefusedError", "open_kernel", "run", "serve"]

_SEALING = 10.0  # seconds that the last segments may take
_FAREWELL = 2.0  # seconds that the guard may take for the last receipts
_PACE = 0.05
# The kernel hands over a block every 20 ms though it is not full: the number of blocks is the time
# that the agent may be held up (7 s) before packets are dropped, their size the rate that it bears.
_RINGS = Rings(
    headers=RingSize(block_bytes=64 << 10, blocks=384),
    content=RingSize(block_bytes=256 << 10, blocks=384),
)
_COPIES = "lo"  # where the media relay sends its copies


class StartRefusedError(Exception):
    """The agent does not start; the message says why in one sentence."""


class Signalling(Protocol):
    """The socket that signalling arrives on."""

    def fileno(self) -> int:
        """Return the descriptor, readable when frames wait."""

    def read(self) -> list[Frame]:
        """Return the frames that wait."""


class Kernel(KernelMaps, Protocol):
    """Maps, sockets and rings; `KernelFilters` is it."""

    @property
    def signalling(self) -> Signalling:
        """Where signalling arrives."""

    @property
    def headers(self) -> Ring:
        """Where cut media arrives."""

    @property
    def content(self) -> Ring:
        """Where whole media arrives."""

    def flow_packets(self, level: Level, key: FlowKey) -> tuple[int, int] | None:
        """Return the packets and octets that passed since a flow was set; None if it is not."""

    def close(self) -> None:
        """Close everything."""


def open_kernel(config: Config) -> Kernel:
    """Load the filters and open their sockets; raises KernelError."""
    return KernelFilters(
        interfaces=config.interfaces,
        sip_ports=config.sip_ports,
        sip_tcp=config.sip_tcp,
        key=secrets.token_bytes(KEY_OCTETS),
        rings=_RINGS,
        copies=(_COPIES,) if config.relay is not None and config.relay.through else (),
    )


def run(config: Config) -> None:
    """Run until told to stop; raises StartRefusedError."""
    configure_logging()
    hurry()
    asyncio.run(serve(config))


async def serve(
    config: Config,
    *,
    clock: Clock | None = None,
    kernel_of: Callable[[Config], Kernel] = open_kernel,
    ready: Callable[[], None] | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or cancellation; ``ready`` is called once everything runs.

    Raises StartRefusedError, and whatever ends the agent.
    """
    with ExitStack() as stack:
        try:
            agent = _Agent(config, clock or SystemClock(), kernel_of, stack)
        except (KeyFileError, StateError, SpoolUnsafe, KernelError) as error:
            raise StartRefusedError(str(error)) from error
        except Refused as refused:
            raise StartRefusedError(f"roots or trust policy: {refused}") from refused
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise StartRefusedError(f"{name}{error.strerror or error}") from error
        try:
            await agent.run(ready)
        except (GateError, PlaceError) as error:
            raise StartRefusedError(str(error)) from error


class _Agent:
    """Everything put together; what must be closed is on the stack."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        kernel_of: Callable[[Config], Kernel],
        stack: ExitStack,
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = structlog.get_logger("callguard.agent").bind(node=config.node)
        self._hearing = Hearing()
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._closing = False
        self._gate: Gate | None = None
        signer = load_signer(config.signing_key)
        state = StateDir(config.state_dir)
        stack.callback(state.close)
        self._kept = kept = state.load()
        node = self._node(kept)
        spool = Spool(config.spool_dir, quota=config.spool_bytes)
        stack.callback(spool.close)
        self._kernel = kernel_of(config)
        stack.callback(self._kernel.close)
        self._engine = self._make_engine(spool)
        self._hands = Hands(self._kernel, self._engine, interfaces=config.interfaces)
        parts = Parts(
            node=node,
            chain=Chain.restore(config.node, list(kept.receipts)),
            signer=signer,
            state=state,
            spool=spool,
            hands=self._hands,
            clock=clock,
            log=self._log,
            session_of=self._session,
            sentry_of=self._make_watch,
            recorder_of=self._make_gate if config.relay is not None else None,
        )
        self._driver = Driver(parts, on_failure=self._fail)
        stack.callback(self._watch.close)

    def _node(self, kept: Kept) -> Node:
        pinned = parse_roots(self._config.roots.read_bytes())
        return Node(
            self._config.node,
            [load_identity(self._config.sealing_key)],
            TrustChain(pinned, kept.trust),
            Memory(
                ended=kept.ended,
                revoked=kept.revoked,
                progress=kept.progress,
                latest=kept.latest,
            ),
            start=self._clock.now(),
            undecided="fragments,tcp" if self._config.sip_tcp else "fragments",
            relay=self._config.relay is not None,
            through_relay=self._config.relay is not None and self._config.relay.through,
            receipt_seconds=self._config.receipt_seconds,
        )

    def _make_engine(self, spool: Spool) -> CaptureEngine:
        return CaptureEngine(
            headers=self._kernel.headers,
            content=self._kernel.content,
            spool=spool,
            clock=self._clock.nanoseconds,
            deliver=self._from_thread(lambda told: self._driver.outcome(told)),  # noqa: PLW0108 - made later
            limits=SegmentLimits(
                octets=self._config.segment_bytes,
                seconds=self._config.segment_length.total_seconds(),
            ),
        )

    def _serving_operators(self) -> AbstractAsyncContextManager[None]:
        if self._gate is None:
            return nullcontext()
        return operators.serving(self._config.state_dir, self._gate.operator)

    def _deciding(self) -> AbstractAsyncContextManager[None]:
        """Answer recorders that ask, where the configuration says that they may."""
        if self._config.decisions is None:
            return nullcontext()
        decide = partial(self._driver.decide, node=self._config.node)
        return decisions.serving(self._config.decisions, decide, self._answered)

    def _answered(self, answer: Answered) -> None:
        """Put on record what a recorder was answered."""
        what = "recording_permitted" if answer.permitted else "recording_denied"
        self._driver.happened(RelayReport(what=what, call_id=None, details=answer.details()))

    def _make_gate(self, driver: Driver) -> Gate:
        assert self._config.relay is not None  # noqa: S101 - asked for only with one
        self._gate = Gate(
            self._config.relay,
            now=lambda: self._clock.nanoseconds()[0],
            deliver=driver.happened,
            packets=self._arrived,
            fail=self._fail,
        )
        return self._gate

    def _make_watch(self, driver: Driver) -> Watch:
        self._watch = reporting(
            self._config.sentry,
            now=lambda: self._clock.nanoseconds()[0],
            report=self._from_thread(driver.happened),
            fail=self._from_thread(self._fail),
        )
        return self._watch

    def _arrived(self, flow: FlowKey) -> int:
        counted = self._kernel.flow_packets(Level.CONTENT, flow)
        return counted[0] if counted is not None else 0

    def _session(self, driver: Driver) -> Session:
        tls = self._config.tls
        return Session(
            address=self._config.guard,
            tls=TlsPaths(certificate=tls.certificate, key=tls.key, ca=tls.ca),
            version=_version(),
            rules=driver,
        )

    # -- running ---------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None] | None) -> None:
        """Run until told to stop, or until something fails (rules 2 and 4)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._engine.start()
        try:
            async with (
                self._gate.running() if self._gate is not None else nullcontext(),
                self._deciding(),
                self._serving_operators(),
                asyncio.TaskGroup() as tasks,
                status.serving(self._config.state_dir, self._status),
            ):
                self._driver.take_up(self._kept)
                self._loop.add_reader(self._kernel.signalling.fileno(), self._read)
                self._watch.start()
                conversation = tasks.create_task(self._driver.session.run())
                self._log.info("running", guard=self._config.guard)
                settle_memory()
                if ready is not None:
                    ready()
                await self._stopping.wait()
                await self._wind_down()
                conversation.cancel()
        finally:
            await self._close()
        self._log.info("stopped")

    async def _wind_down(self) -> None:
        self._raise_failure()
        self._log.info("stopping")
        self._driver.happened(Shutdown())
        await self._wait(lambda: self._driver.disarmed, _SEALING)
        await self._wait(lambda: self._driver.at_rest, _FAREWELL)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _wait(self, reached: Callable[[], bool], seconds: float) -> None:
        end = self._loop.time() + seconds
        # What is waited for comes from threads, the guard and the disk: no one event stands for it.
        while not reached() and self._loop.time() < end and self._failure is None:  # noqa: ASYNC110
            await asyncio.sleep(_PACE)

    async def _close(self) -> None:
        # From here on the engine's words are nobody's: what it still seals is found at the next
        # start, and a capture that ends with the agent has not ended for good.
        self._closing = True
        self._loop.remove_reader(self._kernel.signalling.fileno())
        self._driver.stop_timer()
        self._hands.disarm()
        await asyncio.to_thread(self._watch.close)
        await asyncio.to_thread(self._engine.stop)
        await asyncio.to_thread(self._driver.close)

    def _status(self) -> dict[str, Any]:
        return {
            "node": self._config.node,
            "guard": self._config.guard,
            "version": _version(),
            **self._driver.status(),
            **({"relay": self._gate.status()} if self._gate is not None else {}),
            "sentry": self._watch.status(),
            "messages_lost": self._hearing.lost,
        }

    # -- what the kernel and the engine bring ------------------------------------------------------

    def _read(self) -> None:
        try:
            for frame in self._kernel.signalling.read():
                self._hear(frame)
        except BaseException as error:  # noqa: BLE001 - a callback's error would only be logged
            self._fail(error)

    def _hear(self, frame: Frame) -> None:
        messages = self._hearing.hear(
            frame.data,
            self._clock.now(),
            timestamp_ns=frame.timestamp_ns,
            interface=frame.interface,
            outgoing=frame.outgoing,
            original_length=frame.original_length,
        )
        for message in messages:
            self._driver.happened(SignallingSeen(message=message))

    def _from_thread(self, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """Have what another thread tells taken on the loop's; later than the end it is dropped."""

        def taken(told: object) -> None:
            try:
                if not self._closing:
                    take(told)
            except BaseException as error:  # noqa: BLE001 - as above
                self._fail(error)

        def tell(told: object) -> None:
            try:
                self._loop.call_soon_threadsafe(taken, told)
            except RuntimeError:
                self._log.warning("told_too_late", kind=type(told).__name__)

        return tell

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopping.set()


def _version() -> str:
    try:
        return metadata.version("callguard")
    except metadata.PackageNotFoundError:
        return "0"
