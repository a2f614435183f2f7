"""Ends a process and silences a socket, and neither by mistake.

1. A process is held by a descriptor (pidfd_open(2)) before its start is read: what is ended is what
   was found, or nothing. Children and threads are not looked for; a process ends with its threads.
2. Muting takes a copy of the socket (pidfd_getfd(2)), puts a filter on it that lets nothing through
   and locks that: root itself cannot take it off again. What the socket had received is thrown
   away. What stands in a mapped ring already cannot be.
3. A socket that takes no filter (AF_XDP), or has one that is locked and not ours, is not muted.
   Nor is one that only a thread with a descriptor table of its own holds, or that is `hidden`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from agents.core.enforcing import Kill, Mute, Result
from agents.core.judgement import AF_XDP
from agents.sentry.hidden import hidden
from agents.sentry.processes import started

__all__ = ["kill", "mute"]

_PIDFD_GETFD: Final = 438  # the same on every architecture
_SO_ATTACH_FILTER, _SO_LOCK_FILTER, _SO_GET_FILTER, _SO_DOMAIN = 26, 44, 26, 39
_DROP_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: none of the octets
_PROGRAM: Final = struct.Struct("=H6xQ")  # struct sock_fprog
_LONGEST: Final = 4096
_MOST: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


def kill(act: Kill) -> Result:
    """End a process (rule 1)."""
    try:
        with ExitStack() as stack:
            process = _held(act.pid, act.started, stack)
            signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return Result.GONE
    except OSError:
        return Result.FAILED
    return Result.DONE


def mute(act: Mute) -> Result:
    """Let nothing more through to a socket (rules 2 and 3)."""
    try:
        with ExitStack() as stack:
            process = _held(act.pid, act.started, stack)
            copy = stack.enter_context(_copied(process, act))
            return _silenced(copy)
    except (ProcessLookupError, FileNotFoundError):
        return Result.GONE
    except OSError:
        return Result.FAILED


def _held(pid: int, start: int, stack: ExitStack) -> int:
    """Hold the process that was started then; raises OSError."""
    process = os.pidfd_open(pid)
    stack.callback(os.close, process)
    if started(pid) != start:
        raise ProcessLookupError(pid)
    return process


def _copied(process: int, act: Mute) -> socket.socket:
    place = Path(f"/proc/{act.pid}")
    number = _number(place, act.inode)
    if number is None:
        in_thread = any(_number(each, act.inode) is not None for each in (place / "task").iterdir())
        if in_thread or act.pid in hidden(frozenset((act.inode,))).get(act.inode, ()):
            raise OSError(errno.EBADF, "no descriptor of the process stands for it")  # rule 3
        raise FileNotFoundError(act.inode)
    copy = _libc.syscall(_PIDFD_GETFD, process, number, 0)
    if copy < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return _certain(socket.socket(fileno=copy), act.inode)


def _number(place: Path, inode: int) -> int | None:
    """Return under which number a process or thread has a socket."""
    for each in (place / "fd").iterdir():
        with suppress(FileNotFoundError):
            if str(each.readlink()) == f"socket:[{inode}]":
                return int(each.name)
    return None


def _certain(copy: socket.socket, inode: int) -> socket.socket:
    """Return it if it is the one: a number can come to stand for another descriptor."""
    if os.fstat(copy.fileno()).st_ino != inode:
        copy.close()
        raise FileNotFoundError(inode)
    return copy


def _silenced(copy: socket.socket) -> Result:
    if copy.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN) == AF_XDP:
        return Result.FAILED
    if not copy.getsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER):
        code = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
        program = _PROGRAM.pack(1, ctypes.addressof(code))
        copy.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        copy.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
    if _filter(copy) != _DROP_ALL:  # it was locked before, by somebody else or meanwhile
        return Result.FAILED
    _empty(copy)
    return Result.DONE


def _filter(copy: socket.socket) -> bytes:
    """Return the classic program on a socket; b"" for one that is not classic."""
    with suppress(OSError):
        return _told(copy)
    return b""


def _told(copy: socket.socket) -> bytes:
    # The length is told in instructions, of eight octets each.
    octets = ctypes.create_string_buffer(_LONGEST * 8)
    length = ctypes.c_uint32(_LONGEST)
    failed = _libc.getsockopt(
        copy.fileno(), socket.SOL_SOCKET, _SO_GET_FILTER, octets, ctypes.byref(length)
    )
    return b"" if failed else octets.raw[: length.value * 8]


def _empty(copy: socket.socket) -> None:
    with suppress(OSError):
        for _ in range(_MOST):
            copy.recv(1, socket.MSG_DONTWAIT)
