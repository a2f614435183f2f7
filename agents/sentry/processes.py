"""Processes by the numbers that the kernel's programs tell: those of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agents.kernel.errors import KernelError

__all__ = ["need_hosts_numbers", "started"]

_HOST: Final = 0xEFFF_FFFC  # PROC_PID_INIT_INO: the first namespace of processes


def need_hosts_numbers() -> None:
    """Raise KernelError where processes have other numbers for us than for the kernel's programs.

    In a container with a process namespace of its own, what is told would be somebody else.
    """
    if Path("/proc/self/ns/pid").stat().st_ino != _HOST:
        raise KernelError(
            "the agent is in a process namespace of its own, where the kernel's list of sockets "
            "cannot be read; run it in the host's"
        )


def started(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot (proc(5)); None when it is gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(told.rpartition(")")[2].split()[19])
