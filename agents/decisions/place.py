"""The socket that recorders ask at, and who may open it.

1. The folder says who may ask: it belongs to the agent's user, its group may enter, nobody else.
   A folder that is open to more is refused; one that is missing is made for the agent's own group.
2. The socket has the folder's group and mode 0660. Until it has, its mode is 0600.
3. A socket that an earlier agent has left is replaced; whatever else has its name is refused.
4. The name of the folder may be of any length: both sides go by the open folder, because a socket's
   path has only 108 octets.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["PlaceError", "folder_of", "standing"]

_FOLDER = 0o750
_SOCKET = 0o660
_OPEN_TO_OTHERS = 0o027


class PlaceError(Exception):
    """The socket cannot stand there; the message says why in one sentence."""


@contextmanager
def folder_of(path: Path) -> Iterator[tuple[int, str]]:
    """Open a socket's folder; yield its descriptor and what gRPC calls the socket (rule 4)."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor, f"unix:/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


@contextmanager
def standing(path: Path, bind: Callable[[str], object]) -> Iterator[None]:
    """Have ``bind`` make the socket; it is gone when the block ends. Raises PlaceError."""
    with ExitStack() as stack:
        try:
            _stand(path, bind, stack)
        except OSError as error:
            raise PlaceError(f"{path}: {error.strerror or error}") from error
        yield


def _stand(path: Path, bind: Callable[[str], object], stack: ExitStack) -> None:
    with suppress(FileExistsError):
        path.parent.mkdir()
        path.parent.chmod(_FOLDER)  # Whatever the umask is.
    folder, address = stack.enter_context(folder_of(path))
    _require_closed(path.parent, os.fstat(folder))
    _clear(path, folder)
    stack.callback(_remove, path.name, folder)
    _bind(lambda: bind(address))
    _admit_group(path, folder)


def _remove(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _require_closed(folder: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise PlaceError(f"{folder} belongs to another user")
    if stat.S_IMODE(status.st_mode) & _OPEN_TO_OTHERS:
        raise PlaceError(f"{folder} is open to more than its group: give it mode 0750")


def _clear(path: Path, folder: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path.name, dir_fd=folder).st_mode):
            raise PlaceError(f"{path} is there and is no socket")
        os.unlink(path.name, dir_fd=folder)


def _bind(bind: Callable[[], object]) -> None:
    before = os.umask(0o177)
    try:
        bind()
    except RuntimeError as error:  # gRPC's only word for it.
        raise OSError("the socket cannot be bound") from error
    finally:
        os.umask(before)


def _admit_group(path: Path, folder: int) -> None:
    group = os.fstat(folder).st_gid
    if os.lstat(path.name, dir_fd=folder).st_gid != group:
        try:
            os.chown(path.name, -1, group, dir_fd=folder, follow_symlinks=False)
        except PermissionError as error:
            raise PlaceError(
                f"the agent may not give {path} to its folder's group: give the folder mode 2750"
            ) from error
    os.chmod(path.name, _SOCKET, dir_fd=folder)
