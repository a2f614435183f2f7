"""Keeps the files that the relay's kernel module shows to those whom they are meant for.

1. Below the folder (/proc/rtpengine) nothing may be read, written or entered by others: streams
   that are recorded, and the module's control files, are there.
2. What can be is taken from them on the spot, and reported; what cannot be is reported as such.
3. No link is followed, and no file is opened for reading: that would take packets out of it.
4. A finding counts files; their names hold Call-IDs and stay where they are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agents.core.relayconfig import Finding, Risk

__all__ = ["KERNEL_FILES", "tighten"]

KERNEL_FILES: Final = Path("/proc/rtpengine")

_OTHERS = stat.S_IRWXO


def tighten(root: Path = KERNEL_FILES) -> tuple[Finding, ...]:
    """Close a folder's files to others; an empty result when there was nothing to close."""
    outcomes = list(_closed(root)) if root.is_dir() else []
    return (
        *_finding(outcomes.count(True), done=True),
        *_finding(outcomes.count(False), done=False),
    )


def _closed(root: Path) -> Iterator[bool | None]:
    for _, _, names, folder in os.fwalk(root, follow_symlinks=False, onerror=_pass):
        for name in (".", *names):
            yield _close(name, folder)


def _pass(error: OSError) -> None:
    """Go on: a folder that ended with its call, or that is not there, shows nothing."""


def _close(name: str, folder: int) -> bool | None:
    """Return whether a file was closed, or None when it need not be."""
    try:
        opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None  # It ended with its call.
    try:
        mode = os.fstat(opened).st_mode
        if stat.S_ISLNK(mode) or not mode & _OTHERS:
            return None
        # A descriptor that reads nothing (rule 3) has no fchmod; its name under /proc has chmod.
        Path(f"/proc/self/fd/{opened}").chmod(stat.S_IMODE(mode) & ~_OTHERS)
    except OSError:
        return False
    finally:
        os.close(opened)
    return True


def _finding(count: int, *, done: bool) -> tuple[Finding, ...]:
    if not count:
        return ()
    was = "was" if count == 1 else "were"
    done_to_them = "and was closed" if done else "and could not be closed"
    return (
        Finding(
            name="kernel-files-closed" if done else "kernel-files-open",
            risk=Risk.CONTENT,
            why=f"{count} of the relay's kernel files {was} open to others {done_to_them}.",
            remedy="Load the relay's kernel module with permissions for its own user alone.",
        ),
    )
