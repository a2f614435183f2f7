"""The agent's one conversation with its guard, for as long as both live.

1. The agent calls; it resumes by revision: its first message says what it has applied.
2. A session that breaks is followed by another, after a pause (`pauses`). One that held for
   `HELD` seconds counts as a success.
3. Words that are not of the contract end the session (`GarbageError`).
4. Every call is cancelled and every channel closed, whatever happened; cancellation is passed on.
5. New TLS files end the session in favour of one that uses them, when they fit together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from grpc import aio

from agents.core.commands import SendHeartbeat
from agents.core.events import Event, SegmentStored, SessionClosed, SessionOpened
from agents.session import translate
from agents.session.channel import Credentials, CredentialsError, TlsPaths, open_channel
from agents.session.outbox import Outbox
from agents.session.pauses import Pauses
from agents.session.translate import GarbageError, SegmentWanted
from agents.session.uploads import Upload, Uploads
from guard.api.v1 import node_service_pb2 as pb
from guard.api.v1.node_service_pb2_grpc import NodeServiceStub

__all__ = ["Rules", "Session", "Standing"]

Call = aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

HELD = 5.0
LOOK_AT_FILES = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the agent's first message says of it."""

    revision: int
    trust_version: int
    receipt_sequence: int


class Rules(Protocol):
    """Whom the session serves. Called from the event loop, never from another thread."""

    def standing(self) -> Standing:
        """Say where the agent stands, for the first message."""

    def happened(self, event: Event) -> None:
        """Take an event."""

    def log(self, event: str, **fields: str | int) -> None:
        """Tell the operator of the node."""


class Session:
    """Keeps one session open. `run` it in a task; everything else is called beside it."""

    def __init__(self, *, address: str, tls: TlsPaths, version: str, rules: Rules) -> None:
        self._address = address
        self._tls = tls
        self._version = version
        self._rules = rules
        self._credentials: Credentials | None = None
        self._outbox: Outbox | None = None
        self.uploads = Uploads()

    @property
    def open(self) -> bool:
        """Whether there is a session now."""
        return self._outbox is not None

    def offer(self, upload: Upload) -> None:
        """Upload a segment, now or in a later session."""
        self.uploads.add(upload)
        if self._outbox is not None:
            self._outbox.notice()

    def send_receipt(self, envelope: bytes) -> None:
        """Send a receipt; without a session it comes with the next `resend`."""
        if self._outbox is not None:
            self._outbox.put_receipt(envelope)

    def resend(self, envelopes: Sequence[bytes]) -> None:
        """Begin a session with the receipts that the guard has not accepted, oldest first."""
        if self._outbox is not None:
            self._outbox.catch_up(envelopes)

    def send_heartbeat(self, beat: SendHeartbeat) -> None:
        """Send a heartbeat; without a session it is nobody's."""
        if self._outbox is not None:
            self._outbox.put_heartbeat(translate.heartbeat(beat))

    async def run(self) -> None:
        """Converse until cancelled."""
        pauses = Pauses(random.random)
        while True:
            began = asyncio.get_running_loop().time()
            why = await self._attempt()
            held = asyncio.get_running_loop().time() - began
            self._rules.log("session_closed", why=why)
            await asyncio.sleep(pauses.after(success=held >= HELD))

    async def _attempt(self) -> str:
        """Hold one session and say why it ended."""
        try:
            self._credentials = Credentials.load(self._tls)
        except CredentialsError as error:
            if self._credentials is None:
                return str(error)
            self._rules.log("tls_files_refused", why=str(error))
        channel = open_channel(self._address, self._credentials)
        try:
            return await self._converse(channel, self._credentials)
        finally:
            self.uploads.restart()
            if self._outbox is not None:
                self._outbox = None
                self._rules.happened(SessionClosed())
            await channel.close(grace=None)

    async def _converse(self, channel: aio.Channel, credentials: Credentials) -> str:
        # The stubs do not know that the requests may be written one by one instead.
        call: Call = NodeServiceStub(channel).Session()  # type: ignore[call-arg]
        why = "the session ended"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(call, self._rules.standing()))
                tasks.create_task(self._read(call))
                tasks.create_task(self._watch_files(credentials))
        except* aio.AioRpcError as errors:
            why = _words(_first(errors))
        except* (GarbageError, _OverError) as errors:
            why = str(_first(errors))
        finally:
            call.cancel()  # Rule 4.
        return why

    async def _write(self, call: Call, standing: Standing) -> None:
        hello = translate.hello(
            agent_version=self._version,
            revision=standing.revision,
            trust_version=standing.trust_version,
            receipt_sequence=standing.receipt_sequence,
        )
        with _finished_call():
            await call.write(hello)
        outbox = self._outbox = Outbox(self.uploads)
        self._rules.happened(SessionOpened())
        while True:
            message = await outbox.next()
            with _finished_call():
                await call.write(message)

    async def _read(self, call: Call) -> None:
        with _finished_call():
            async for message in call:
                self._take(translate.from_guard(message))
        raise _OverError("the guard has closed the session")

    def _take(self, event: Event | SegmentWanted) -> None:
        match event:
            case SegmentWanted(grant_id=grant_id, number=number, offset=offset):
                now = asyncio.get_running_loop().time()
                try:
                    self.uploads.wanted(grant_id, number, offset, now=now)
                except ValueError as error:
                    raise GarbageError(str(error)) from error
            case SegmentStored(grant_id=grant_id, number=number):
                self.uploads.drop(grant_id, number)
                self._rules.happened(event)
            case _:
                self._rules.happened(event)
        if self._outbox is not None:
            self._outbox.notice()

    async def _watch_files(self, credentials: Credentials) -> None:
        """End the session once there are new TLS files that fit together (rule 5)."""
        seen = credentials.seen
        while True:
            await asyncio.sleep(LOOK_AT_FILES)
            if self._tls.seen() == seen:
                continue
            seen = self._tls.seen()
            try:
                Credentials.load(self._tls)
            except CredentialsError as error:
                self._rules.log("tls_files_refused", why=str(error))
                continue
            raise _OverError("new TLS files")


class _OverError(Exception):
    """The session is over without anybody's fault."""


@contextmanager
def _finished_call() -> Iterator[None]:
    """Tell a call that the guard has finished from a task that somebody here has cancelled.

    grpc.aio says both with CancelledError, and the first also with InvalidStateError.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _OverError("the guard has cancelled the session") from None
    except asyncio.InvalidStateError:
        raise _OverError("the guard has ended the session") from None


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """Return the first of the errors that ended the tasks."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _words(error: BaseException) -> str:
    """Say in one line why a call failed."""
    if not isinstance(error, aio.AioRpcError):
        return type(error).__name__
    details = " ".join((error.details() or "").split())
    return f"{error.code().name.lower()}: {details[:200]}"
