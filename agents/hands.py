"""Carries out what the rules want of the kernel and of the capture engine.

1. The order of the engine is kept: a capture is opened and routed before the kernel is armed, and
   the kernel is disarmed before a capture is unrouted or closed.
2. Two identities may have one hash in the kernel; it is watched as long as either is wanted.
3. What fails is told as the failure of the captures that it concerns; the others go on. A capture
   that never opened is closed as soon as it is told to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, assert_never

from agents.capture.engine import CaptureEngine, DeadlinePassed, NotOpen
from agents.core import commands as do
from agents.core.commands import Identity
from agents.core.events import CaptureClosed, CaptureFailed
from agents.core.flow import FlowKey, mapped
from agents.kernel.errors import KernelError
from guard.core.level import Level
from guard.core.subjects import SubjectKind

__all__ = ["Hands", "KernelMaps", "Manual"]

Manual = (
    do.OpenCapture
    | do.MoveDeadline
    | do.WatchIdentity
    | do.UnwatchIdentity
    | do.SetFlow
    | do.ClearFlow
    | do.WriteSignalling
    | do.EndCapture
)
"""The commands that are carried out here."""

_Entry = tuple[str, int] | tuple[str, bytes, int]


class KernelMaps(Protocol):
    """What can be armed in the kernel; `KernelFilters` is it."""

    def set_flow(self, level: Level, key: FlowKey, deadline_boot_ns: int) -> None:
        """Let media pass until the deadline."""

    def clear_flow(self, level: Level, key: FlowKey) -> None:
        """Let it pass no more."""

    def set_identity(self, identity_hash: int, deadline_boot_ns: int) -> None:
        """Let messages pass that hold an identity."""

    def clear_identity(self, identity_hash: int) -> None:
        """Let them pass no more."""

    def set_peer(self, address: bytes, port: int, deadline_boot_ns: int) -> None:
        """Let messages pass from and to an address; port 0 means any."""

    def clear_peer(self, address: bytes, port: int) -> None:
        """Let them pass no more."""

    def identity_hashes(self, subject_kind: str, value: str) -> tuple[int, ...]:
        """Hash an identity every way a message may name it; ValueError when none can."""


class Hands:
    """The kernel's maps and the engine, and what stands in them. Used from one thread."""

    def __init__(
        self, kernel: KernelMaps, engine: CaptureEngine, *, interfaces: Sequence[str]
    ) -> None:
        self._kernel = kernel
        self._engine = engine
        self._interfaces = tuple(interfaces)
        self._open: set[str] = set()
        self._flows: dict[tuple[Level, FlowKey], frozenset[str]] = {}
        self._watched: dict[_Entry, dict[Identity, int]] = {}

    @property
    def open(self) -> frozenset[str]:
        """The captures that are open in the engine."""
        return frozenset(self._open)

    def counters(self, grant_id: str) -> tuple[int, int, int]:
        """Return packets, bytes and drops of an open capture."""
        totals = self._engine.counters(grant_id)
        return totals.packets, totals.bytes, totals.drops

    def carry_out(self, command: Manual) -> list[CaptureFailed | CaptureClosed]:
        """Carry out a command; return what came of it at once (rule 3)."""
        if isinstance(command, do.EndCapture) and command.grant_id not in self._open:
            return [CaptureClosed(grant_id=command.grant_id, packets=0, bytes=0, drops=0)]
        try:
            self._carry_out(command)
        except (KernelError, DeadlinePassed, NotOpen, RuntimeError, ValueError) as error:
            return self._failed(command, error)
        return []

    def disarm(self) -> None:
        """Empty the kernel's maps, whatever else goes wrong."""
        for level, key in tuple(self._flows):
            self._kernel.clear_flow(level, key)
        for entry in tuple(self._watched):
            self._clear(entry)
        self._flows.clear()
        self._watched.clear()

    def _carry_out(self, command: Manual) -> None:  # noqa: C901 - one case per command
        match command:
            case do.OpenCapture():
                self._open_capture(command)
            case do.MoveDeadline(grant_id=grant_id, deadline=deadline):
                if grant_id in self._open:
                    self._engine.move_deadline(grant_id, deadline)
            case do.WatchIdentity(identity=identity, deadline=deadline):
                self._watch(identity, deadline)
            case do.UnwatchIdentity(identity=identity):
                self._unwatch(identity)
            case do.SetFlow():
                self._set_flow(command)
            case do.ClearFlow(level=level, key=key):
                self._clear_flow(level, key)
            case do.WriteSignalling(grant_id=grant_id, frame=frame, message=message):
                if grant_id in self._open:
                    self._engine.write_signalling(
                        grant_id,
                        frame,
                        message.timestamp_ns,
                        message.original_length,
                        message.interface,
                        message.outgoing,
                    )
            case do.EndCapture(grant_id=grant_id):
                self._open.discard(grant_id)
                self._engine.close(grant_id)
            case _:
                assert_never(command)

    def _failed(self, command: Manual, error: Exception) -> list[CaptureFailed | CaptureClosed]:
        match command:
            case do.SetFlow(grants=grants) | do.WatchIdentity(grants=grants):
                concerned: Iterable[str] = sorted(grants)
            case do.UnwatchIdentity() | do.ClearFlow():
                # What cannot be disarmed is fatal for the agent: its end empties the maps.
                raise error
            case _:
                concerned = [_grant_id(command)]
        # The kernel's own words hold no subject; of the rest only the kind is told.
        detail = str(error) if isinstance(error, KernelError) else type(error).__name__
        return [CaptureFailed(grant_id=grant_id, detail=detail) for grant_id in concerned]

    def _open_capture(self, command: do.OpenCapture) -> None:
        grant = command.grant
        self._engine.open(
            grant.grant.id,
            grant.level,
            grant.authority.reference,
            grant.authority.recipients,
            self._interfaces,
            command.deadline,
            limit_bytes=command.bytes_left,
        )
        self._open.add(grant.grant.id)

    # -- flows ---------------------------------------------------------------------------------

    def _set_flow(self, command: do.SetFlow) -> None:
        level, key = command.level, command.key
        before = self._flows.get((level, key), frozenset())
        self._flows[level, key] = command.grants
        self._engine.route(level, key, (command.grants - before) & self._open)
        self._kernel.set_flow(level, key, command.deadline)
        self._engine.unroute(level, key, (before - command.grants) & self._open)

    def _clear_flow(self, level: Level, key: FlowKey) -> None:
        before = self._flows.pop((level, key), frozenset())
        self._kernel.clear_flow(level, key)
        self._engine.unroute(level, key, before & self._open)

    # -- identities ----------------------------------------------------------------------------

    def _watch(self, identity: Identity, deadline: int) -> None:
        for entry in self._entries(identity):
            wanted = self._watched.setdefault(entry, {})
            wanted[identity] = deadline
            self._set(entry, max(wanted.values()))

    def _unwatch(self, identity: Identity) -> None:
        for entry in self._entries(identity):
            wanted = self._watched.get(entry, {})
            wanted.pop(identity, None)
            if wanted:
                self._set(entry, max(wanted.values()))
            elif self._watched.pop(entry, None) is not None:
                self._clear(entry)

    def _entries(self, identity: Identity) -> list[_Entry]:
        if identity.kind is SubjectKind.PEER_ADDRESS:
            return [("peer", *_peer(identity.value))]
        hashes = self._kernel.identity_hashes(identity.kind.value, identity.value)
        return [("hash", each) for each in hashes]

    def _set(self, entry: _Entry, deadline: int) -> None:
        match entry:
            case (_, bytes() as address, int() as port):
                self._kernel.set_peer(address, port, deadline)
            case (_, int() as identity_hash):
                self._kernel.set_identity(identity_hash, deadline)

    def _clear(self, entry: _Entry) -> None:
        match entry:
            case (_, bytes() as address, int() as port):
                self._kernel.clear_peer(address, port)
            case (_, int() as identity_hash):
                self._kernel.clear_identity(identity_hash)


def _grant_id(
    command: do.OpenCapture | do.MoveDeadline | do.WriteSignalling | do.EndCapture,
) -> str:
    return command.grant.grant.id if isinstance(command, do.OpenCapture) else command.grant_id


def _peer(value: str) -> tuple[bytes, int]:
    """Take a peer address apart, in the one spelling of `guard.core.subjects`; port 0 means any."""
    if value.startswith("["):
        host, _, port = value[1:].rpartition("]:")
        return mapped(host), int(port)
    host, colon, port = value.partition(":")
    if colon and ":" not in port:
        return mapped(host), int(port)
    return mapped(value), 0
