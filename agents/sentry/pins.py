"""What outlives the agent: its programs' maps and links, pinned in the BPF file system.

1. A generation is a folder below the agent's, named by a number that rises. It holds the maps
   first, the links after them, and at last `canary`, which nobody would miss.
2. What is pinned goes on when the agent dies, however it dies: whoever was stopped is stopped, and
   every allowance is void as soon as the stamp is stale.
3. The next agent adopts what stands: it says that it is the agent now, takes what was reported
   meanwhile, and keeps all of it until its own programs stand and are pinned. Then it takes the
   old pins away (`Adopted.remove`).
4. The first tier lets nobody open its maps while its agent lives. So there is one agent to a node:
   another waits for as long as a stamp holds, and then gives up.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.kernel.bpf import Map, buffer, call, pointer
from agents.kernel.errors import KernelError, refused
from agents.kernel.events import EventRing
from agents.sentry.processes import started
from agents.sentry.programs import map_entries
from agents.sentry.rogue import STALE_NS, Entrance, Rogue, parsed
from agents.sentry.shield import Pin, PinKind

__all__ = ["CANARY", "Adopted", "Pins"]

CANARY: Final = "canary"
_PIN, _GET = 6, 7
_MAP, _LINK = "map_", "link_"
_STEP: Final = 0.1  # seconds
_NEEDED: Final = ("own", "allowed", "heartbeat")


@dataclass(slots=True)
class Adopted:
    """What a former agent left pinned, as far as it is there; ``remove`` it or ``close`` it."""

    folder: Path
    _maps: dict[str, Map] = field(default_factory=dict)
    _ring: EventRing | None = None
    _events: int = -1
    _links: list[int] = field(default_factory=list)

    @property
    def filenos(self) -> tuple[int, ...]:
        """The descriptor that is readable when something was reported: one or none."""
        return () if self._ring is None else (self._events,)

    def take(self) -> None:
        """Be the agent that its programs know (rule 3). Raises OSError and KernelError."""
        sizes = {"own": 4, "allowed": 8, "heartbeat": 4}
        for name in _NEEDED:
            opened = _get(self.folder / (_MAP + name))
            self._maps[name] = Map.taken(opened, name=name, key=sizes[name], value=8)
        pid = os.getpid()
        self._maps["own"].put(struct.pack("<I", pid), struct.pack("<Q", started(pid) or 0))
        self._events = _get(self.folder / f"{_MAP}events")
        self._ring = EventRing(self._events, map_entries(self._events))
        # Held, they tell whoever looks at this process that the programs are its own.
        self._links = [_get(each) for each in self.folder.glob(f"{_LINK}*")]

    def allow(self, cgroup_id: int, until_ns: int) -> None:
        """Let a cgroup's processes do what they like until then, while the stamp is fresh."""
        if "allowed" in self._maps:
            self._maps["allowed"].put(struct.pack("<Q", cgroup_id), struct.pack("<Q", until_ns))

    def beat(self, now_ns: int) -> None:
        """Say that an agent lives."""
        if "heartbeat" in self._maps:
            self._maps["heartbeat"].put(bytes(4), struct.pack("<Q", now_ns))

    def reports(self) -> list[Rogue]:
        """Return what was reported since the last time, by the former agent's programs."""
        return [parsed(each) for each in self._ring.records()] if self._ring else []

    def remove(self) -> None:
        """Take the pins away; what they held ends. Raises OSError."""
        self.close()
        _removed(self.folder)

    def close(self) -> None:
        """Let go of it, and leave it standing."""
        if self._ring is not None:
            self._ring.close()
            os.close(self._events)
            self._ring = None
        while self._maps:
            self._maps.popitem()[1].close()
        while self._links:
            os.close(self._links.pop())


class Pins:
    """The agent's folder in the BPF file system. Nothing is made before there is need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation: Path | None = None

    @property
    def generation(self) -> Path | None:
        """The folder of what is pinned now; None: nothing is."""
        return self._generation

    def adopt(self) -> list[Adopted]:
        """Take over what former agents left (rules 3 and 4). It may wait; raises KernelError."""
        found = [Adopted(each) for each in self._generations()]
        with ExitStack() as undo:
            for each in found:
                undo.callback(each.close)
                _patiently(each)
            undo.pop_all()
        return found

    def keep(self, entrance: Entrance) -> None:
        """Pin a new generation (rule 1). Raises KernelError, and has then pinned nothing."""
        last = max((int(each.name) for each in self._generations()), default=0)
        folder = self._folder / str(last + 1)
        try:
            folder.mkdir(mode=0o700, parents=True)
            for name, descriptor in entrance.maps.items():
                _pinned(descriptor, folder / (_MAP + name))
            for name, descriptor in entrance.links.items():
                _pinned(descriptor, folder / (_LINK + name))
            _pinned(entrance.maps["heartbeat"], folder / CANARY)
        except OSError as error:
            with suppress(OSError):
                _removed(folder)
            raise refused(f"pinning the sentry's programs in {folder}", error) from error
        self._generation = folder

    def mend(self, entrance: Entrance) -> None:
        """Put the canaries' pin back, which one of them could take away. Raises OSError."""
        if self._generation is not None and not (self._generation / CANARY).exists():
            _pinned(entrance.maps["heartbeat"], self._generation / CANARY)

    def guarded(self) -> list[Pin]:
        """Return what the first tier has to guard for the pins to stay, and to stay in sight."""
        if self._generation is None:
            return []
        folders = [_pin(PinKind.FOLDER, each) for each in (self._generation, self._folder)]
        ways = [self._generation, *self._generation.parents[:-1]]  # but not /
        namespace = Pin(PinKind.NAMESPACE, Path("/proc/self/ns/mnt").stat().st_ino)
        groups = [Pin(PinKind.GROUP, each) for each in _groups({*map(str, ways), "/"})]
        return [*folders, *(_pin(PinKind.WAY, each) for each in ways), namespace, *groups]

    def remove(self) -> None:
        """Take this agent's pins away. Raises OSError."""
        if self._generation is not None:
            _removed(self._generation)
            self._generation = None

    def _generations(self) -> list[Path]:
        with suppress(OSError):
            return sorted(each for each in self._folder.iterdir() if each.name.isdecimal())
        return []


def _patiently(adopted: Adopted) -> None:
    """Rule 4."""
    until = time.monotonic() + STALE_NS / 1e9 + 1
    while True:
        try:
            return adopted.take()
        except FileNotFoundError:  # its agent died while it pinned: there is nothing to take over
            return None
        except PermissionError as error:
            adopted.close()
            if time.monotonic() > until:
                text = "another agent guards this node; there can be one only"
                raise KernelError(text) from error
        except OSError as error:
            raise refused(f"adopting {adopted.folder}", error) from error
        time.sleep(_STEP)


def _get(path: Path) -> int:
    name = buffer(bytes(path) + b"\0")
    return call(_GET, struct.pack("<QII", pointer(name), 0, 0))


def _pinned(descriptor: int, path: Path) -> None:
    name = buffer(bytes(path) + b"\0")
    call(_PIN, struct.pack("<QII", pointer(name), descriptor, 0))


def _removed(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


def _pin(kind: PinKind, path: Path) -> Pin:
    seen = path.stat()
    return Pin(kind, seen.st_ino, os.major(seen.st_dev) << 20 | os.minor(seen.st_dev))


def _groups(points: set[str]) -> set[int]:
    """Return the peer groups of the mounts at these points (proc(5), mountinfo)."""
    groups = set()
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before = line.partition(" - ")[0].split(" ")
        if before[4] in points:
            groups |= {int(each[7:]) for each in before[6:] if each.startswith("shared:")}
    return groups
