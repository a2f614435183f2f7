"""Tries one forbidden thing: what the canary runs, by its path, in a process of its own.

The exit status is 0 if it succeeded, 1 if it was refused, 2 if this kernel does not have it. Behind
a seccomp filter (a system unit has one) nobody can tell the last two apart, and it was refused.
Nothing is read from what was opened. It imports nothing of Callguard, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys

__all__ = ["ATTEMPTS"]

_AF_XDP, _ETH_P_ALL, _PROT_EXEC = 44, 0x0003, 4
_SETUP, _ENTER, _OP_SOCKET, _SQES, _GET_EVENTS = 425, 426, 45, 0x1000_0000, 1
_ABSENT = {
    errno.EAFNOSUPPORT,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_MAP_FAILED = ctypes.c_void_p(-1).value
# push rbx; mov eax,359; mov ebx,17; mov ecx,3; mov edx,0x300; int 0x80; pop rbx; ret
_SOCKET_32 = bytes.fromhex("53 b867010000 bb11000000 b903000000 ba00030000 cd80 5b c3")


def _packet() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)).close()


def _bind() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind(("lo", _ETH_P_ALL))


def _raw() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).close()


def _xdp() -> None:
    socket.socket(_AF_XDP, socket.SOCK_RAW, 0).close()


def _packet_32() -> None:
    """Open it by the 32-bit entry of the kernel (int $0x80)."""
    code = os.memfd_create("canary")
    os.write(code, _SOCKET_32)
    # Never writable and executable at once: a system unit forbids that.
    place = _libc.mmap(
        None, len(_SOCKET_32), mmap.PROT_READ | _PROT_EXEC, mmap.MAP_PRIVATE, code, 0
    )
    if place == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    opened = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    if opened < 0:
        raise OSError(-opened, os.strerror(-opened))


def _packet_io_uring() -> None:
    """Ask io_uring for it: no system call names the socket."""
    about = ctypes.create_string_buffer(120)
    ring = _called(_SETUP, 1, about)
    queue_at = struct.unpack_from("<10I", about, 40)  # struct io_sqring_offsets
    entries = mmap.mmap(ring, mmap.PAGESIZE, offset=_SQES)
    queue = mmap.mmap(ring, mmap.PAGESIZE)
    kind, protocol = socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
    struct.pack_into("<BBHiQQI", entries, 0, _OP_SOCKET, 0, 0, socket.AF_PACKET, kind, 0, protocol)
    struct.pack_into("<I", queue, queue_at[6], 0)
    struct.pack_into("<I", queue, queue_at[1], 1)
    _called(_ENTER, ring, 1, 1, _GET_EVENTS, None, 0)
    completions = struct.unpack_from("<10I", about, 80)  # struct io_cqring_offsets
    (result,) = struct.unpack_from("<i", queue, completions[5] + 8)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def _called(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _filtered() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        return "Seccomp:\t0\n" not in status.read()


ATTEMPTS = {
    "packet_socket": _packet,
    "packet_bind": _bind,
    "raw_socket": _raw,
    "xdp_socket": _xdp,
    "packet_socket_32": _packet_32,
    "packet_socket_io_uring": _packet_io_uring,
}

if __name__ == "__main__":
    try:
        ATTEMPTS[sys.argv[1]]()
    except OSError as error:
        sys.exit(2 if error.errno in _ABSENT and not _filtered() else 1)
