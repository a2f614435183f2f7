"""A process that holds one socket, in the way its first argument says, until its input ends.

Run as ``python -m tests.agents.sentry.holding WAY``; it writes its process id, the socket's inode and
the inode of its network namespace, and then waits.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
CLONE_FILES, CLONE_NEWNET = 0x400, 0x40000000
ALL = socket.htons(3)
RING = struct.pack("4I", 4096, 1, 2048, 2)
KEPT: list[object] = []


def unshare(flags: int) -> None:
    if LIBC.unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def plain() -> int:
    KEPT.append(opened := socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL))
    return os.fstat(opened.fileno()).st_ino


def namespace() -> int:
    unshare(CLONE_NEWNET)
    return plain()


def thread() -> int:
    """Open it in a thread that has a descriptor table of its own."""
    inodes: list[int] = []
    opened = threading.Event()

    def run() -> None:
        unshare(CLONE_FILES)
        inodes.append(plain())
        opened.set()
        threading.Event().wait()

    threading.Thread(target=run, daemon=True).start()
    opened.wait()
    return inodes[0]


def ring() -> int:
    """Keep only the mapped ring: no descriptor is left, and packets still come in."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL)
    opened.setsockopt(263, 5, RING)
    inode = os.fstat(opened.fileno()).st_ino
    LIBC.mmap(None, 4096, 3, 1, opened.fileno(), 0)
    opened.close()
    return inode


def registered() -> int:
    """Keep it in a ring of io_uring alone."""
    ring = LIBC.syscall(425, 4, ctypes.create_string_buffer(120))
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL)
    if ring < 0 or LIBC.syscall(427, ring, 2, struct.pack("i", opened.fileno()), 1) < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
    inode = os.fstat(opened.fileno()).st_ino
    opened.close()
    return inode


def flight() -> int:
    """Send it to ourselves and do not receive it."""
    ours, theirs = socket.socketpair()
    KEPT.extend((ours, theirs))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL) as opened:
        socket.send_fds(ours, [b"x"], [opened.fileno()])
        return os.fstat(opened.fileno()).st_ino


WAYS = {each.__name__: each for each in (plain, namespace, thread, ring, registered, flight)}

if __name__ == "__main__":
    inode = WAYS[sys.argv[1]]()
    netns = Path("/proc/thread-self/ns/net").stat().st_ino
    sys.stdout.write(f"{os.getpid()} {inode} {netns}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)
