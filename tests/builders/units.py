"""A service's cgroup as systemd makes it, for a process that shall count as that unit's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.sentry.cgroups import mount

__all__ = ["service"]


@contextmanager
def service(name: str) -> Iterator[list[str]]:
    """Yield the words that start a command inside of ``name``; its processes must have ended."""
    top = mount()
    assert top is not None, "no unified cgroup hierarchy is mounted here"
    slice_ = top / "system.slice"
    made = not slice_.exists()
    slice_.mkdir(exist_ok=True)
    unit = slice_ / name
    unit.mkdir()
    try:
        yield ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', str(Path(unit) / "cgroup.procs")]
    finally:
        unit.rmdir()
        if made:
            with contextlib.suppress(OSError):  # Another test is in it now.
                slice_.rmdir()
