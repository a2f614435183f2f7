"""Control groups: which one a process is in, and folders of one's own that hold what may be killed.

Only the unified hierarchy (version 2) counts: processes can be in one of its groups alone, and the
kernel gives each a number that is never used again, which is the inode of its folder.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from agents.kernel.errors import KernelError, refused

__all__ = ["OwnCgroup", "cgroup_of", "mount"]

_UNIFIED = "0::"
_PATIENCE = 200


def mount() -> Path | None:
    """Return where the unified hierarchy is mounted; None when it is nowhere."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and before.split(" ")[3] == "/":
            return Path(before.split(" ")[4])
    return None


def cgroup_of(pid: int, top: Path | None) -> tuple[str, int]:
    """Return the path of a process's group below `top` and its number; ("", 0) when not known."""
    try:
        told = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        path = next(
            line[len(_UNIFIED) :] for line in told.splitlines() if line.startswith(_UNIFIED)
        )
        number = Path(f"{top}{path}").stat().st_ino if top is not None else 0
    except (OSError, StopIteration):
        return "", 0
    return (path, number) if number else ("", 0)


@dataclass(slots=True)
class OwnCgroup:
    """A new group below the root for processes that we start; use it as a context manager.

    Leaving it ends whatever is still inside (cgroup.kill), which can only be what was put there,
    and removes it.
    """

    prefix: str
    path: Path = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        top = mount()
        if top is None:
            raise KernelError("no cgroup2 hierarchy is mounted here; the sentry can only detect")
        self.path = top / f"{self.prefix}-{secrets.token_hex(4)}"
        try:
            self.path.mkdir()
        except OSError as error:
            raise refused("making a control group", error) from error
        self.number = self.path.stat().st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def command(self, *words: str) -> list[str]:
        """Return a command that enters the group and then is the command given."""
        enter = 'echo 0 >"$0" && exec "$@"'
        return ["/bin/sh", "-c", enter, str(self.path / "cgroup.procs"), *words]

    def close(self) -> None:
        """End what is inside and remove the group. Raises OSError when it does not go."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        for _ in range(_PATIENCE):
            with suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.01)
        self.path.rmdir()
