"""Tries one forbidden thing: what the canary runs, by its path, in a process of its own.

Its words are the door's name and, where the door needs one, the lure: a descriptor, the number of a
process, or a path (canaries.py). What it does there is undone with it, and harms nothing if it is
not stopped. The exit status is 0 if it succeeded, 1 if it was refused, 2 if this kernel does not
have it. Behind a seccomp filter (a system unit has one) nobody can tell the last two apart, and it
was refused. Nothing is read from what was opened. It imports nothing of Callguard, so that it
starts quickly.
"""

from __future__ import annotations

import array
import ctypes
import errno
import mmap
import os
import socket
import struct
import sys

__all__ = ["ATTEMPTS", "LURED"]

_AF_XDP, _ETH_P_ALL, _PROT_EXEC = 44, 0x0003, 4
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_SEIZE, _DETACH = 0x4206, 17
_PERF_OPEN, _BPF, _PIDFD_OPEN, _PIDFD_GETFD, _VM_READ = 298, 321, 434, 438, 310
_NETFILTER, _NFLOG_CONFIG, _NFULNL_BIND = 12, 4 << 8 | 1, 1
_SOFTWARE, _PROGRAM_LOAD, _SOCKET_FILTER = 1, 5, 1
_MOUNT_BIND, _LET_GO = 0x1000, 2
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


def _setsockopt(lure: str) -> None:
    """Set an option of a packet socket that somebody else has opened."""
    inherited = socket.socket(fileno=int(lure))
    inherited.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)


def _received(lure: str) -> None:
    """Take a packet socket that is handed over."""
    with socket.socket(fileno=int(lure)) as ours:
        taken = ours.recvmsg(1, socket.CMSG_SPACE(4))[1]
    if not any(array.array("i", data) for *_, data in taken):
        raise PermissionError(errno.EPERM, "the message came without what it carried")


def _ptrace(lure: str) -> None:
    if _libc.ptrace(_SEIZE, int(lure), None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    _libc.ptrace(_DETACH, int(lure), None, None)


def _vm_read(lure: str) -> None:
    place = ctypes.create_string_buffer(8)
    ours = struct.pack("<QQ", ctypes.addressof(place), 8)
    theirs = struct.pack("<QQ", mmap.PAGESIZE, 8)
    try:
        _called(_VM_READ, int(lure), ours, 1, theirs, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:  # it was let in; there is nothing at this address
            raise


def _proc_mem(lure: str) -> None:
    os.close(os.open(f"/proc/{lure}/mem", os.O_RDONLY))


def _pidfd_getfd(lure: str) -> None:
    _called(_PIDFD_GETFD, _called(_PIDFD_OPEN, int(lure), 0), 0, 0)


def _perf_event() -> None:
    _called(_PERF_OPEN, struct.pack("<II", _SOFTWARE, 64).ljust(64, b"\0"), 0, -1, -1, 0)


def _bpf() -> None:
    """Load what does nothing: r0 = 0; exit."""
    steps = ctypes.create_string_buffer(bytes.fromhex("b700000000000000 9500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    at = ctypes.addressof(steps), ctypes.addressof(licence)
    wanted = struct.pack("<IIQQ", _SOCKET_FILTER, 2, *at).ljust(72, b"\0")
    _called(_BPF, _PROGRAM_LOAD, wanted, len(wanted))


def _nflog_bind() -> None:
    """Say what a listener says, but not as a request: the kernel does nothing about it."""
    command = struct.pack("<HHB3x", 5, _NFULNL_BIND, 1)
    about = struct.pack("<BBH", 0, 0, 0xFFFF)
    head = struct.pack("<IHHII", 16 + len(about) + len(command), _NFLOG_CONFIG, 0, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.sendto(head + about + command, (0, 0))


def _kill(lure: str) -> None:
    """Ask whether the agent may be killed: signal 0 does nothing."""
    os.kill(int(lure), 0)


def _unpin(lure: str) -> None:
    os.unlink(lure)  # noqa: PTH108  # pathlib takes long to import


def _mount(lure: str) -> None:
    folder = lure.encode()
    if _libc.mount(folder, folder, None, _MOUNT_BIND, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")
    _libc.umount2(folder, _LET_GO)


def _called(number: int, *arguments: object) -> int:
    # As long: of an int that goes by the stack the kernel would read what is beside it, too.
    whole = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result: int = _libc.syscall(number, *whole)
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
    "perf_event": _perf_event,
    "bpf": _bpf,
    "nflog_bind": _nflog_bind,
}
LURED = {
    "packet_setsockopt": _setsockopt,
    "descriptor_passed": _received,
    "ptrace": _ptrace,
    "process_vm_readv": _vm_read,
    "proc_mem": _proc_mem,
    "pidfd_getfd": _pidfd_getfd,
    "kill_agent": _kill,
    "unpin": _unpin,
    "mount_over": _mount,
}

if __name__ == "__main__":
    try:
        door, *lure = sys.argv[1:]
        if lure:
            LURED[door](*lure)
        else:
            ATTEMPTS[door]()
    except OSError as error:
        sys.exit(2 if error.errno in _ABSENT and not _filtered() else 1)
