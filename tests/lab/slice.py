"""A slice of the lab's own: below it alone the lab's sentry may end anybody.

Its units are cgroups as systemd makes them, ``NAME.slice/UNIT.service``, so that a process in one
counts as that service's. Leaving the slice ends what is still inside, which can only be what the
lab put there.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from agents.sentry.cgroups import mount

__all__ = ["Slice"]

_PATIENCE = 500
_ENTER = 'echo 0 >"$0" && exec "$@"'


class Slice:
    """Use it as a context manager."""

    def __init__(self) -> None:
        top = mount()
        assert top is not None, "no unified cgroup hierarchy is mounted here"
        self.name = f"callguard-lab-{secrets.token_hex(4)}.slice"
        self.folder = top / self.name

    def __enter__(self) -> Self:
        self.folder.mkdir()
        return self

    def __exit__(self, *exc: object) -> None:
        (self.folder / "cgroup.kill").write_text("1", encoding="ascii")
        for each in (*self._units(), self.folder):
            _removed(each)

    @property
    def path(self) -> str:
        """The path in the hierarchy, as a configuration names it."""
        return f"/{self.name}"

    def unit(self, name: str) -> list[str]:
        """Return the words that start a command inside of a service."""
        unit = self.folder / name
        unit.mkdir(exist_ok=True)
        return ["/bin/sh", "-c", _ENTER, str(unit / "cgroup.procs")]

    def _units(self) -> list[Path]:
        """Return the groups below, deepest first."""
        found = [each for each in self.folder.rglob("*") if each.is_dir()]
        return sorted(found, key=lambda each: -len(each.parts))


def _removed(group: Path) -> None:
    for _ in range(_PATIENCE):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.01)
    group.rmdir()
