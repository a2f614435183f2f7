"""Moves the calling thread to another network namespace: setns(2), which Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["enter"]

_CLONE_NEWNET: Final = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(descriptor: int) -> None:
    """Enter the namespace that a descriptor stands for; raises OSError."""
    if _libc.setns(descriptor, _CLONE_NEWNET) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
