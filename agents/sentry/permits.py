"""Permits to hold what hears content, as the kernel's programs know them: by numbers of cgroups.

1. A unit is found where the system's manager puts it: below slices alone, as `judgement.unit_of`
   says. Whatever groups it has made below itself are the unit's, too.
2. A permit ends by itself after `LIFE` and is renewed while the group is there. With it the kernel
   wants the agent's stamp, which `renew` brings: without an agent nobody has a permit.
3. Groups are announced (inotify(7)) as they are made, which is before anything can run in them, and
   permitted then. What was not announced is found once in `RENEWED`.
4. There are at most `MOST` permits. What is beyond them has none, and `missing` counts it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from agents.sentry import cgroups

__all__ = ["LIFE", "MOST", "RENEWED", "Kernel", "Permits"]

LIFE: Final = 10_000_000_000
"""Nanoseconds for which a permit holds."""
RENEWED: Final = 2_000_000_000
"""Nanoseconds after which permits are renewed, and looked for anew."""
MOST: Final = 960  # the programs' maps hold 1,024, others' permits with them
_SLICE: Final = ".slice"
_DEEPEST: Final = 32
_CHANGES: Final = (
    0x100 | 0x80 | 0x200 | 0x0100_0000
)  # IN_CREATE, IN_MOVED_TO, IN_DELETE, IN_ONLYDIR
_READ: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Kernel(Protocol):
    """Who is told of permits; `Doors` is it."""

    def allow(self, cgroup_id: int, until_ns: int) -> None:
        """Permit a cgroup until then."""

    def disallow(self, cgroup_id: int) -> None:
        """Take that back."""

    def beat(self, now_ns: int) -> None:
        """Say that the agent lives."""


@dataclass(slots=True)
class Permits:
    """The units' permits; ``close`` takes them back. Times are boot-clock nanoseconds."""

    kernel: Kernel
    units: frozenset[str]
    missing: int = 0
    _permitted: set[int] = field(default_factory=set)
    _renewed: int | None = None
    _top: Path | None = field(default_factory=cgroups.mount)
    _announced: int = -1

    def __post_init__(self) -> None:
        self._announced = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def filenos(self) -> tuple[int, ...]:
        """What is readable when groups were made or removed: one descriptor, or none."""
        return (self._announced,) if self._announced >= 0 else ()

    def renew(self, now: int) -> None:
        """Put the agent's stamp, and permit who is to be permitted by now (rules 2 and 3)."""
        self.kernel.beat(now)
        announced = self._read()
        if announced or self._renewed is None or now >= self._renewed + RENEWED:
            self._renewed = now
            self._permit(self._found(), now + LIFE)

    def close(self) -> None:
        """Take every permit back."""
        self._permit(set(), 0)
        if self._announced >= 0:
            os.close(self._announced)
            self._announced = -1

    def _permit(self, wanted: set[int], until: int) -> None:
        for number in self._permitted - wanted:
            self.kernel.disallow(number)
        self._permitted = set(sorted(wanted)[:MOST])
        self.missing = len(wanted) - len(self._permitted)
        for number in self._permitted:
            self.kernel.allow(number, until)

    def _read(self) -> bool:
        """Say whether anything was announced; what exactly does not matter."""
        read = False
        with suppress(BlockingIOError, OSError):
            while os.read(self._announced, _READ):
                read = True
        return read

    def _found(self) -> set[int]:
        """Return the numbers of the groups to be permitted (rule 1)."""
        if self._top is None or not self.units:
            return set()
        return set(self._in_slice(str(self._top), _DEEPEST, top=True))

    def _in_slice(self, folder: str, depth: int, *, top: bool = False) -> Iterator[int]:
        for each in self._below(folder, depth):
            if each.name.endswith(_SLICE):
                yield from self._in_slice(each.path, depth - 1)
            elif not top and each.name in self.units:
                yield each.inode()
                yield from self._whole(each.path, depth - 1)

    def _whole(self, folder: str, depth: int) -> Iterator[int]:
        for each in self._below(folder, depth):
            yield each.inode()
            yield from self._whole(each.path, depth - 1)

    def _below(self, folder: str, depth: int) -> list[os.DirEntry[str]]:
        """List the groups in a group, and be told of new ones from before they are listed."""
        if depth:
            _libc.inotify_add_watch(self._announced, os.fsencode(folder), _CHANGES)
            with suppress(OSError):  # it is gone
                return [each for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
        return []
