"""The first tier: refuses who wants a socket that hears content, before there is one.

1. The programs are src/shield.bpf.c; the rules are there. They come in two flavours, of which a
   kernel may take both, one or none: what the security functions ask (fmod_ret), or hooks of a
   security module (lsm), which may load and never run. Only a canary tells (tiers.py).
2. A place that this kernel does not have is left out (`refused`), and the others stand.
3. What must not be lost is told to the programs as pins (`Pin`): folders, what is on the way to
   them, and the programs' own maps.
4. Maps, reports and scope are the second tier's (rogue.py); a report's deed is DENIED where the
   second tier would have killed.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from agents.kernel import skeleton
from agents.kernel.bpf import Map
from agents.kernel.errors import KernelError
from agents.sentry.programs import map_id
from agents.sentry.rogue import Entrance, Scope

__all__ = ["Flavour", "Pin", "PinKind", "Shield"]

_FOLDER: Final = Path(__file__).parent


class Flavour(StrEnum):
    """How the kernel comes to ask; the better one first."""

    FMOD_RET = "fmod_ret"
    """Whatever the kernel's `lsm=` says."""
    LSM = "lsm"


_FILES: Final = {Flavour.FMOD_RET: "shield.bpf", Flavour.LSM: "shield_lsm.bpf"}


class PinKind(IntEnum):
    """What a pin is about; src/shield_pins.bpf.h."""

    FOLDER = 1
    """Whose entries may not be taken away: the device and the inode."""
    WAY = 2
    """On which nothing may be mounted, and which may not be unmounted: the same."""
    NAMESPACE = 3
    """The mount namespace in which that counts: its inode."""
    GROUP = 4
    """A peer group of mounts in which it counts, too: its number."""
    MAP = 5
    """Which may not be opened to write: its number."""


class Pin(NamedTuple):
    """Something that must not be lost. ``device`` is as the kernel has it (`device_of`)."""

    kind: PinKind
    number: int
    device: int = 0

    def key(self) -> bytes:
        """Encode it for the programs."""
        return struct.pack("<IIQ", self.kind, self.device, self.number)


_NAME_OCTETS: Final = 15
_HIDDEN: Final = (("rtpengine", "list"), ("rtpengine", "blist"))
"""Where rtpengine's kernel module tells the keys of each stream: /proc/rtpengine/TABLE/list."""


class Shield(Entrance):
    """The programs of one flavour, loaded and attached; ``close`` ends them. One user at a time.

    Raises KernelError where this kernel takes none of them. ``refused``: what was left out, and
    why in a word of errno.
    """

    def __init__(
        self, scope: Scope, *, flavour: Flavour = Flavour.FMOD_RET, stale_ns: int | None = None
    ) -> None:
        self.flavour = flavour
        self.refused: dict[str, str] = {}
        given = {} if stale_ns is None else {"stale_ns": stale_ns}
        super().__init__(scope, **given)

    @property
    def places(self) -> frozenset[str]:
        """Where it is attached."""
        return frozenset(self._links)

    def pin(self, pins: Iterable[Pin]) -> None:
        """Guard these, too."""
        for pin in pins:
            self._pinned.put(pin.key(), bytes(4))

    def unpin(self, pins: Iterable[Pin]) -> None:
        """Guard these no more."""
        for pin in pins:
            self._pinned.remove(pin.key())

    def hide(self, names: Iterable[tuple[str, str]]) -> None:
        """Let nobody but protected processes open /proc/FOLDER/any/FILE, for up to four pairs."""
        for number, pair in enumerate(names):
            encoded = b"".join(each.encode()[:_NAME_OCTETS].ljust(16, b"\0") for each in pair)
            self._hidden.put(struct.pack("<I", number), encoded)

    def _load(self, settings: bytes) -> skeleton.Skeleton:
        packed = (_FOLDER / _FILES[self.flavour]).read_bytes()
        loaded = skeleton.load(packed, settings=settings)
        self.refused = {name: errno.errorcode[code] for name, code in loaded.refused.items()}
        if not loaded.programs:
            loaded.close()
            raise KernelError(
                f"this kernel takes no program of the first tier ({self._reasons()}); "
                "it needs BPF trampolines"
            )
        return loaded

    def _attach(self) -> None:
        """Rule 2."""
        maps = self._loaded.maps
        self._pinned = Map.taken(maps["pinned"], name="pinned", key=16, value=4)
        self._hidden = Map.taken(maps["hidden"], name="hidden", key=4, value=32)
        self.hide(_HIDDEN)
        self.pin(Pin(PinKind.MAP, map_id(each)) for each in maps.values())
        for name, program in tuple(self._loaded.programs.items()):
            with suppress(KernelError):
                self._links[name] = skeleton.attach(program)
                continue
            self.refused[name] = "not attached"
            os.close(self._loaded.programs.pop(name))
        if not self._links:
            raise KernelError(f"no program of the first tier can be attached ({self.flavour})")

    def _reasons(self) -> str:
        return ", ".join(sorted(set(self.refused.values())))
