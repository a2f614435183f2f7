"""Control groups: which one a number means, and folders of one's own that hold what may be killed.

Only the unified hierarchy (version 2) counts: processes can be in one of its groups alone, and the
kernel gives each a number that is never used again, which is the inode of its folder.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import struct
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, Self

from agents.kernel.errors import KernelError, refused

__all__ = ["OwnCgroup", "mount", "number_of", "path_of"]

_HANDLE: Final = struct.Struct("=IiQ")  # struct file_handle with eight octets
_BY_NUMBER = 0xFE  # FILEID_KERNFS
_GONE = " (deleted)"
_UNIFIED = "0::"
_PATIENCE = 200

_libc = ctypes.CDLL(None, use_errno=True)


def mount() -> Path | None:
    """Return where the unified hierarchy is mounted; None when it is nowhere."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and before.split(" ")[3] == "/":
            return Path(before.split(" ")[4])
    return None


def path_of(number: int, top: Path | None) -> str:
    """Return the path below `top` of the group with this number; "" when there is none any more.

    The kernel opens the group by its number (open_by_handle_at(2)): neither a process's number nor
    a path stands between what was told and what is answered.
    """
    if top is None or not number:
        return ""
    handle = ctypes.create_string_buffer(_HANDLE.pack(8, _BY_NUMBER, number), _HANDLE.size)
    with suppress(OSError), ExitStack() as opened:
        root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, root)
        group = _libc.open_by_handle_at(root, handle, os.O_PATH | os.O_CLOEXEC)
        if group >= 0:
            opened.callback(os.close, group)
            return _below(str(Path(f"/proc/self/fd/{group}").readlink()), str(top))
    return ""


def number_of(path: str) -> int:
    """Return the number of the group that has this path; raises KernelError when there is none."""
    top = mount()
    try:
        return Path(f"{top}{path}").stat().st_ino if top is not None else _none(path)
    except OSError:
        return _none(path)


def _none(path: str) -> NoReturn:
    raise KernelError(f"there is no control group {path} in a cgroup2 hierarchy")


def _below(path: str, top: str) -> str:
    if path.endswith(_GONE) or not f"{path}/".startswith(f"{top}/"):
        return ""
    return path[len(top) :] or "/"


def _own() -> str:
    """Return the path of our own group; "/" when it is not told."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        if line.startswith(_UNIFIED):
            return line.removeprefix(_UNIFIED)
    return "/"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@dataclass(slots=True)
class OwnCgroup:
    """A new group for processes that we start; use it as a context manager.

    It is below our own group, where a system unit may delegate that to us, else below the root;
    KernelError when it can be neither. Leaving it ends whatever is still inside (cgroup.kill),
    which can only be what was put there, and removes it.
    """

    prefix: str
    path: Path = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        top = mount()
        if top is None:
            raise KernelError("no cgroup2 hierarchy is mounted here; the sentry can only detect")
        name = f"{self.prefix}-{secrets.token_hex(4)}"
        try:
            self.path = _made(top / _own().lstrip("/") / name)
        except OSError:
            try:
                self.path = _made(top / name)
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
