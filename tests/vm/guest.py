"""What runs in the virtual machine: the first process mounts what there is to mount, then does one job.

The job is a module of tests/vm/jobs with a function ``run(tell, *words)``; what it tells is written
as a line of JSON each. This file is nobody's test: it is started by the kernel.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import traceback
import tty
from importlib import import_module
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_FINIT_MODULE = 313
_POWER_OFF = 0x4321FEDC
_MOUNTS = (
    ("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp"),
    ("securityfs", "/sys/kernel/security"), ("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup"),
)  # fmt: skip


def tell(**what: object) -> None:
    line = json.dumps(what) + "\n"
    with Path("/dev/ttyS1").open("wb", buffering=0) as out:
        tty.setraw(out)
        out.write(line.encode())


def warn(what: str) -> None:
    sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")


def mounted() -> None:
    for kind, place in _MOUNTS:
        if _libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None):
            warn(f"{place} cannot be mounted")


def set_up() -> None:
    os.environ |= {
        "PATH": "/bin:/usr/bin:/usr/sbin:/sbin",
        "PYTHONPATH": "/callguard",
        "HOME": "/root",
    }
    mounted()
    for path in sorted(Path("/modules").glob("*.ko")):
        with path.open("rb") as module:
            if _libc.syscall(_FINIT_MODULE, module.fileno(), b"", 0):
                warn(f"{path.name} is not loaded")
    loopback_up()
    os.chdir("/callguard")


def loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def do(words: list[str]) -> None:
    try:
        import_module(f"tests.vm.jobs.{words[0]}").run(tell, *words[1:])
        tell(ended=True)
    except BaseException:
        traceback.print_exc()
        raise


def main() -> None:
    set_up()
    (job,) = (
        each for each in Path("/proc/cmdline").read_text().split() if each.startswith("callguard=")
    )
    child = os.fork()
    if not child:
        do(job.removeprefix("callguard=").split(","))
        sys.stdout.flush()
        os._exit(0)
    while os.wait()[0] != child:  # Orphans, too, are the first process's to bury.
        pass
    os.sync()
    _libc.reboot(_POWER_OFF)
