"""The witness's service, C2SP tlog-witness v1.1.0.

`POST /add-checkpoint` cosigns a checkpoint that continues the last one; `GET /HASH/checkpoint`,
with the hex SHA-256 of a log's origin, returns the newest that was cosigned.

1. A checkpoint is checked and kept without giving way to another request in between, and it is on
   the disk before its cosignature leaves.
2. A witness sees sizes and hashes, never records. Checkpoints are public, so plain HTTP does.
3. At most 64 connections are served at a time. One whose peer does not take its answers within ten
   seconds is ended, so that its place is free again.
4. With two keys each checkpoint gets a cosignature of each, of the same time.
5. A view that the log signed and that is refused is kept as evidence. Whether or not that succeeds,
   it stays refused.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from guard.app.ports import Clock
from guard.core.checkpoint import CosigningKey, cosign, cosigner_key
from guard.core.note import Note
from guard.core.witnessing import MAX_REQUEST_BYTES, WitnessRefusal, check_add_checkpoint
from guard.witness.config import WitnessConfig
from guard.witness.evidence import Evidence
from guard.witness.http import MAX_HEAD, Answer, BadRequest, Request, read_request
from guard.witness.state import Memory

_LOG = structlog.get_logger("callguard.witness")
_PARTING: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many are served at a time, and how many seconds one has to take an answer (rule 3)."""

    places: int = 64
    taking: float = 10.0


_BOUNDS: Final = Bounds()


class Witness:
    """Answers requests; reads no socket itself. Raises WitnessUnusable at the start."""

    def __init__(
        self, config: WitnessConfig, *, keys: Sequence[CosigningKey], clock: Clock
    ) -> None:
        self._name = config.name
        self._keys = keys
        self._clock = clock
        self._logs = {log.name: log for log in config.logs}
        own = [cosigner_key(config.name, key) for key in keys]
        self._memory = Memory(config.state_dir, logs=config.logs, own=own)
        self._evidence = Evidence(config.state_dir)

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        match request.method, request.target.split("/"):
            case "POST", ["", "add-checkpoint"]:
                return self._add_checkpoint(request.body)
            case "GET", ["", origin_hash, "checkpoint"]:
                return self._checkpoint(origin_hash)
            case _, ["", "add-checkpoint"] | ["", _, "checkpoint"]:
                return _plain(405, "not by this method")
            case _:
                return _plain(404, "no such place")

    def close(self) -> None:
        """Let another process have the state."""
        self._memory.close()

    def _add_checkpoint(self, body: bytes) -> Answer:
        now = self._clock.now()
        try:
            origin, state, note = check_add_checkpoint(body, self._logs, self._memory.states, now)
        except WitnessRefusal as refusal:
            if refusal.view is not None:
                self._evidence.keep(refusal.view, self._memory, now)  # Rule 5.
            return _refused(refusal)
        lines = [cosign(note, self._name, key, now) for key in self._keys]
        # Of the other signatures nothing is known, so they are not kept.
        kept = Note(text=note.text, signatures=(*note.by(self._logs[origin]), *lines))
        try:
            self._memory.keep(origin, state, kept)  # Rule 1.
        except OSError as error:
            _LOG.error("checkpoint_not_kept", origin=origin, why=str(error))
            return _plain(500, "the checkpoint cannot be kept")
        _LOG.debug("cosigned", origin=origin, size=state.size)
        return Answer(status=200, body=b"".join(line.line() for line in lines))

    def _checkpoint(self, origin_hash: str) -> Answer:
        note = self._memory.note(origin_hash)
        if note is None:
            return _plain(404, "no checkpoint was cosigned for this origin")
        return Answer(status=200, body=note)


async def serve(
    config: WitnessConfig,
    *,
    keys: Sequence[CosigningKey],
    clock: Clock,
    ready: Callable[[int], None] = lambda _port: None,
    bounds: Bounds = _BOUNDS,
) -> None:
    """Serve until cancelled; `ready` is told the port when connections are accepted.

    The first of `keys` is the Ed25519 key by which the witness knows its own memory.

    Raises WitnessUnusable, or OSError when the address cannot be had.
    """
    witness = Witness(config, keys=keys, clock=clock)
    places = asyncio.Semaphore(bounds.places)
    peers: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers[asyncio.current_task()] = writer
        try:
            async with places:
                await _converse(witness, reader, writer, bounds.taking)
        finally:
            del peers[asyncio.current_task()]

    try:
        server = await asyncio.start_server(connected, config.host, config.port, limit=MAX_HEAD)
        port: int = server.sockets[0].getsockname()[1]
        _LOG.info("witness_ready", name=config.name, port=port)
        ready(port)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            await _part(peers)
    finally:
        witness.close()


async def _part(peers: Mapping[asyncio.Task[None] | None, asyncio.StreamWriter]) -> None:
    """End every conversation; an idle peer would hold up the end for as long as it is patient."""
    for writer in peers.values():
        writer.transport.abort()
    tasks = [task for task in peers if task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=_PARTING)


def run(
    config: WitnessConfig,
    *,
    keys: Sequence[CosigningKey],
    clock: Clock,
    ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(_until_signal(serve(config, keys=keys, clock=clock, ready=ready)))


async def _until_signal(service: Coroutine[None, None, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(service)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        _LOG.info("witness_stopped")


async def _converse(
    witness: Witness, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taking: float
) -> None:
    try:
        last = False
        while not last:
            answer, last = await _next_answer(witness, reader)
            if answer is None:
                return
            writer.write(answer.encode(last=last))
            async with asyncio.timeout(taking):
                await writer.drain()
    except TimeoutError:
        writer.transport.abort()  # Closing would wait for the peer, too.
    except ConnectionError:
        return
    finally:
        writer.close()


async def _next_answer(
    witness: Witness, reader: asyncio.StreamReader
) -> tuple[Answer | None, bool]:
    try:
        request = await read_request(reader, limit=MAX_REQUEST_BYTES)
    except BadRequest as error:
        return _plain(error.status, error.detail), True
    if request is None:
        return None, True
    return witness.answer(request), request.last


def _refused(refusal: WitnessRefusal) -> Answer:
    if refusal.size is None:
        return _plain(refusal.status, refusal.detail)
    size = f"{refusal.size}\n".encode()
    return Answer(status=refusal.status, body=size, content_type="text/x.tlog.size")


def _plain(status: int, detail: str) -> Answer:
    return Answer(status=status, body=f"{detail}\n".encode())
