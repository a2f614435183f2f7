"""The filters of one node: three packet sockets, and the maps that say what may pass them.

1. A socket exists only behind its filter, locked, and only after the filter proved itself
   (canary.py). Whatever fails, nothing stays open.
2. Each entry has its own deadline on the boot clock, compared by the kernel for every packet.
   Nothing here reads a clock, and nothing here has to run for a capture to end.
3. The headers socket has its own program and its own map. There is no way from `content` to it.
4. What the signalling filter cannot decide passes only while an identity or a peer is armed.
5. Arming is a write to a map; nothing is recompiled, and what is armed already has no gap.

Not to be used from two threads at once; each ring may have its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from types import TracebackType
from typing import Final, Self

from agents.core.flow import FlowKey
from agents.kernel import canary
from agents.kernel.elf import Loaded, load
from agents.kernel.errors import KernelError
from agents.kernel.identity import KEY_OCTETS, identity_hashes
from agents.kernel.ring import Ring, RingSize
from agents.kernel.signalling import SignallingSocket
from agents.kernel.sockets import interface_index
from guard.core.level import Level

_FLOW_MAPS: Final = {Level.MEDIA_HEADERS: "headers_flows", Level.CONTENT: "content_flows"}
_FIRST = struct.pack("=I", 0)
_LONGEST_TIME = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """The memory of the two media rings; headers are short and need less."""

    headers: RingSize = field(default_factory=lambda: RingSize(block_bytes=1 << 19, blocks=32))
    content: RingSize = field(default_factory=RingSize)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the signalling filter did since it was loaded.

    `scanned` messages of `scanned_bytes` octets were searched; `matched` packets passed, for
    whatever reason; `undecided` could not be decided in the kernel (fragments, TCP, oversize).
    """

    scanned: int
    matched: int
    undecided: int
    scanned_bytes: int


class KernelFilters:
    """Loads the filters, opens their sockets, and arms and disarms what passes.

    `interfaces` are names, at least one; `sip_ports` are the UDP (and with `sip_tcp` TCP) ports
    of signalling, at least one; `key` is 16 random octets for the identity hashes. A full
    map is a KernelError at arming. `pass_undecided` is rule 4; without it such messages are
    lost to the capture. `copies` are further interfaces on which content alone arrives, in copies
    that a media relay sends: no signalling is read there.

    Raises KernelError with a sentence on what to do; ValueError for parameters that mean nothing.
    """

    signalling: SignallingSocket
    headers: Ring
    content: Ring

    def __init__(  # noqa: PLR0913 - by name only; each is one fact of the node
        self,
        *,
        interfaces: Sequence[str],
        sip_ports: Sequence[int],
        sip_tcp: bool,
        key: bytes,
        max_flows: int = 65536,
        max_identities: int = 65536,
        pass_undecided: bool = True,
        rings: Rings | None = None,
        copies: Sequence[str] = (),
    ) -> None:
        if not interfaces or not sip_ports or len(key) != KEY_OCTETS:
            raise ValueError(
                "at least one interface, one SIP port, and a key of 16 octets are needed"
            )
        self._key = key
        self._signalling_until: dict[tuple[str, bytes], int] = {}
        self._undecided_until = 0
        self._loaded: list[Loaded] = []
        self._open: list[SignallingSocket | Ring] = []
        try:
            indexes = {name: interface_index(name) for name in interfaces}
            copied = {name: interface_index(name) for name in copies}
            self._media = self._load("media", dict.fromkeys(_FLOW_MAPS.values(), max_flows))
            self._sip = self._load("signalling", {"identities": max_identities})
            self._write_interfaces(self._sip, indexes)
            self._write_interfaces(self._media, indexes | copied)
            self._settings = (key, struct.pack("=II", sip_tcp, pass_undecided))
            self._write_settings()
            self._write_ports(sip_ports)
            self._prove(next(iter(indexes.values())), sip_ports[0])
            self._open_sockets(indexes, copied, rings or Rings())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the filters, which are live already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        self.close()

    def set_flow(self, level: Level, key: FlowKey, deadline_boot_ns: int) -> None:
        """Let the media to `key` pass until the deadline; one that is set gets the new deadline."""
        value = struct.pack("=QQQ", _checked(deadline_boot_ns), 0, 0)
        self._media.maps[_flow_map(level)].put(_endpoint(key.address, key.port), value)

    def clear_flow(self, level: Level, key: FlowKey) -> None:
        """Let it pass no more, from now on."""
        self._media.maps[_flow_map(level)].remove(_endpoint(key.address, key.port))

    def set_identity(self, identity_hash: int, deadline_boot_ns: int) -> None:
        """Let messages about an identity pass until the deadline."""
        self._set_signalling("identities", struct.pack("=Q", identity_hash), deadline_boot_ns)

    def clear_identity(self, identity_hash: int) -> None:
        """Let them pass no more."""
        self._clear_signalling("identities", struct.pack("=Q", identity_hash))

    def set_peer(self, address: bytes, port: int, deadline_boot_ns: int) -> None:
        """Let signalling from and to an address (16 octets) pass; port 0 means any of its ports."""
        self._set_signalling("peers", _endpoint(address, port), deadline_boot_ns)

    def clear_peer(self, address: bytes, port: int) -> None:
        """Let it pass no more."""
        self._clear_signalling("peers", _endpoint(address, port))

    def identity_hashes(self, subject_kind: str, value: str) -> tuple[int, ...]:
        """Hash a normalised subject for `set_identity`, every way a message may name it."""
        return identity_hashes(self._key, subject_kind, value)

    def counters(self) -> Counters:
        """Add up the signalling filter's counters over all CPUs."""
        counters, totals = self._sip.maps["counters"], []
        for which in range(4):
            values = counters.get_per_cpu(struct.pack("=I", which), 8)
            totals.append(sum(int.from_bytes(value, "little") for value in values))
        scanned, matched, undecided, scanned_bytes = totals
        return Counters(
            scanned=scanned, matched=matched, undecided=undecided, scanned_bytes=scanned_bytes
        )

    def flow_packets(self, level: Level, key: FlowKey) -> tuple[int, int] | None:
        """Return the packets and octets that passed since a flow was set; None if it is not."""
        value = self._media.maps[_flow_map(level)].get(_endpoint(key.address, key.port))
        if value is None:
            return None
        _, packets, octets = struct.unpack("=QQQ", value)
        return packets, octets

    def close(self) -> None:
        """Close the sockets first, then what they were filtered by."""
        while self._open:
            self._open.pop().close()
        while self._loaded:
            self._loaded.pop().close()

    def _load(self, name: str, entries: dict[str, int]) -> Loaded:
        data = files("agents.kernel").joinpath(f"{name}.bpf.o").read_bytes()
        loaded = load(data, entries=entries)
        self._loaded.append(loaded)
        return loaded

    @staticmethod
    def _write_interfaces(loaded: Loaded, indexes: dict[str, int]) -> None:
        for index in indexes.values():
            loaded.maps["interfaces"].put(struct.pack("=I", index), struct.pack("=I", 1))

    def _open_sockets(self, indexes: dict[str, int], copied: dict[str, int], rings: Rings) -> None:
        heard, programs = tuple(indexes.values()), self._media.programs
        self.signalling = SignallingSocket(self._sip.programs["signalling"], indexes)
        self._open.append(self.signalling)
        self.headers = Ring(programs["headers"], heard, rings.headers)
        self._open.append(self.headers)
        either = tuple((indexes | copied).values())
        self.content = Ring(programs["content"], either, rings.content)
        self._open.append(self.content)

    def _set_signalling(self, name: str, key: bytes, deadline: int) -> None:
        # The time for what is undecided rises first, so that no message falls between the two.
        earlier = self._signalling_until.get((name, key), 0)
        self._signalling_until[name, key] = _checked(deadline)
        self._move_undecided(earlier, deadline)
        self._sip.maps[name].put(key, struct.pack("=Q", deadline))

    def _clear_signalling(self, name: str, key: bytes) -> None:
        self._sip.maps[name].remove(key)
        self._move_undecided(self._signalling_until.pop((name, key), 0), 0)

    def _move_undecided(self, earlier: int, deadline: int) -> None:
        until = max(deadline, self._undecided_until)
        if earlier == self._undecided_until:
            until = max(self._signalling_until.values(), default=0)
        if until != self._undecided_until:
            self._undecided_until = until
            self._write_settings()

    def _write_settings(self) -> None:
        key, switches = self._settings
        until = struct.pack("=Q", self._undecided_until)
        self._sip.maps["settings_map"].put(_FIRST, key + until + switches)

    def _write_ports(self, ports: Sequence[int]) -> None:
        words: dict[int, int] = {}
        for port in ports:
            if not 0 < port < 1 << 16:
                raise ValueError("a SIP port is a number from 1 to 65535")
            words[port >> 6] = words.get(port >> 6, 0) | 1 << (port & 63)
        for index, word in words.items():
            self._sip.maps["sip_ports"].put(struct.pack("=I", index), struct.pack("=Q", word))

    def _prove(self, interface: int, sip_port: int) -> None:
        for level, kept in (
            (Level.MEDIA_HEADERS, canary.HEADERS_KEPT),
            (Level.CONTENT, len(canary.MEDIA)),
        ):
            self._prove_media(level, kept, interface)
        packet, program = canary.message(sip_port), self._sip.programs["signalling"]
        identity, *_ = self.identity_hashes("sip_uri", canary.IDENTITY)
        canary.expect(program, packet, interface, kept=0, claim="an unknown identity")
        self.set_identity(identity, canary.EXPIRED)
        canary.expect(program, packet, interface, kept=0, claim="an expired identity")
        self.set_identity(identity, canary.LIVE)
        canary.expect(program, packet, interface, kept=len(packet), claim="a live identity")
        self.clear_identity(identity)

    def _prove_media(self, level: Level, kept: int, interface: int) -> None:
        programs = {
            Level.MEDIA_HEADERS: self._media.programs["headers"],
            Level.CONTENT: self._media.programs["content"],
        }
        own = programs.pop(level)
        (other,) = programs.values()
        packet = canary.MEDIA
        canary.expect(own, packet, interface, kept=0, claim=f"{level}, an unknown flow")
        self.set_flow(level, canary.FLOW, canary.EXPIRED)
        canary.expect(own, packet, interface, kept=0, claim=f"{level}, an expired flow")
        self.set_flow(level, canary.FLOW, canary.LIVE)
        canary.expect(own, packet, interface, kept=kept, claim=f"{level}, a live flow")
        canary.expect(other, packet, interface, kept=0, claim=f"{level}, the other filter")
        self.clear_flow(level, canary.FLOW)


def _flow_map(level: Level) -> str:
    if level not in _FLOW_MAPS:
        raise KernelError("signalling has no media flows")
    return _FLOW_MAPS[level]


def _endpoint(address: bytes, port: int) -> bytes:
    return struct.pack("!16sH6x", address, port)


def _checked(deadline: int) -> int:
    if not 0 <= deadline <= _LONGEST_TIME:
        raise ValueError("a deadline is a number of nanoseconds on the boot clock")
    return deadline
