"""Asks the kernel itself who holds which socket: one pass over every descriptor of every process.

The programs are in src/holders.bpf.c, iterators (BPF_TRACE_ITER over task_file and task_vma): they
run when they are read, and change nothing. They see every namespace from wherever the agent is.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from agents.kernel import skeleton
from agents.kernel.bpf import call
from agents.kernel.errors import KernelError, refused
from agents.sentry.processes import need_hosts_numbers

__all__ = ["Holder", "HolderList"]

_PROGRAM: Final = Path(__file__).with_name("holders.bpf")
_LINK_CREATE, _ITER_CREATE, _TRACE_ITER = 28, 33, 28
_ROW: Final = struct.Struct("<QQQIIIIHHHH16s")
_AT_ONCE: Final = 1 << 16


class Holder(NamedTuple):
    """One descriptor, as struct row of src/holders.bpf.c; `ethertype` in host order."""

    inode: int
    cgroup: int
    started: int
    pid: int
    uid: int
    netns: int
    ifindex: int
    family: int
    type: int
    protocol: int
    ethertype: int
    comm: bytes


@dataclass(slots=True)
class HolderList:
    """The iterators, loaded; ``close`` it. Raises KernelError where this kernel has none."""

    _held: int = -1
    _mapped: int = -1

    def __post_init__(self) -> None:
        need_hosts_numbers()
        loaded = skeleton.load(_PROGRAM.read_bytes())
        try:
            self._held = _attached(loaded.programs["holders"])
            self._mapped = _attached(loaded.programs["mapped"])
        except KernelError:
            self.close()
            raise
        finally:
            loaded.close()  # the links keep the programs

    def read(self) -> list[Holder]:
        """List every descriptor of a socket that could hear content. Raises KernelError.

        A descriptor of an io_uring stands for what is registered with it.
        """
        return _listed(self._held)

    def mapped(self) -> list[Holder]:
        """List every such socket whose packet ring a process has mapped. Raises KernelError."""
        return _listed(self._mapped)

    def close(self) -> None:
        """Let the programs go."""
        for link in (self._held, self._mapped):
            if link >= 0:
                os.close(link)
        self._held = self._mapped = -1


def _attached(program: int) -> int:
    try:
        return call(_LINK_CREATE, struct.pack("<IIIIQII", program, 0, _TRACE_ITER, 0, 0, 0, 0))
    except OSError as error:
        raise refused("attaching the list of sockets", error) from error


def _listed(link: int) -> list[Holder]:
    try:
        listing = call(_ITER_CREATE, struct.pack("<II", link, 0))
        try:
            octets = _read_all(listing)
        finally:
            os.close(listing)
    except OSError as error:
        raise refused("listing the sockets", error) from error
    return [Holder._make(row) for row in _ROW.iter_unpack(octets)]


def _read_all(listing: int) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(listing, _AT_ONCE)
        except BlockingIOError:  # the kernel has looked at many descriptors and shown none
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)
