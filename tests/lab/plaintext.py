"""Looking for voice in plain on every file system of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.lab import media

__all__ = ["plaintext_on_disk"]

_NOT_FILES = {"proc", "sysfs", "cgroup2", "cgroup", "devpts", "bpf", "tracefs", "debugfs", "mqueue"}
_LARGEST = 256 << 20


def _roots() -> list[str]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted(
        {each[1] for each in mounts if each[2] not in _NOT_FILES | {"nsfs", "securityfs"}}
    )


def _changed(since: float) -> Iterator[Path]:
    """Yield every regular file that was changed since then, each file system once."""
    seen = set()
    for root in _roots():
        device = _device(root)
        for folder, folders, files in os.walk(root):
            folders[:] = [
                each
                for each in folders
                if not Path(folder, each).is_symlink() and _device(f"{folder}/{each}") == device
            ]
            for name in files:
                path = Path(folder, name)
                try:
                    found = path.lstat()
                except OSError:
                    continue
                if (found.st_dev, found.st_ino) in seen or not path.is_file() or path.is_symlink():
                    continue
                seen.add((found.st_dev, found.st_ino))
                if found.st_mtime >= since and found.st_size < _LARGEST:
                    yield path


def _device(path: str) -> int | None:
    try:
        return Path(path).stat().st_dev
    except OSError:
        return None


def plaintext_on_disk(since: float, own: Path, *, without: tuple[Path, ...] = ()) -> list[Path]:
    """Return the files with a voice of the lab in them that were written since then.

    ``own``: the test's folder; its neighbours are other runs of these tests, with the same voices.
    ``without``: folders that sipp has its own copies in.
    """
    found = []
    run = own.parent
    for path in _changed(since):
        if any(path.is_relative_to(each) for each in without):
            continue
        if path.is_relative_to(run.parent) and not path.is_relative_to(run):
            continue
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if media.CALLER_VOICE * 4 in data or media.CALLEE_VOICE * 4 in data:
            found.append(path)
    return found
