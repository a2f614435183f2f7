"""bpf(2) without a compiler or library on the node: maps, programs, and running a program once.

The layouts are those of `union bpf_attr` in linux/bpf.h; x86_64 and aarch64 only, both
little-endian. Descriptors are opened close-on-exec by the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agents.kernel.errors import KernelError, refused

_SYSCALL: Final = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _PROG_LOAD, _TEST_RUN, _BTF_LOAD = 0, 1, 2, 3, 5, 10, 18
_SOCKET_FILTER = 1
_LOG_BYTES = 1 << 18
_LOG_SHOWN = 400
_NAME_BYTES = 15
_ETHERNET = 14
_SKB_BYTES = 192
_SKB_IFINDEX = 40

_libc = ctypes.CDLL(None, use_errno=True)
_possible_cpus: list[int] = []


def call(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2); an array of characters is written back to. Raises OSError."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise KernelError(
            f"bpf(2) is not known on {platform.machine()}; x86_64 or aarch64 is needed"
        )
    result: int = _libc.syscall(number, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def pointer(memory: ctypes.Array[ctypes.c_char] | None) -> int:
    """Return where memory is, as bpf(2) wants it: 0 for none. It must outlive the call."""
    return ctypes.addressof(memory) if memory is not None else 0


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Return writable memory that holds exactly these octets."""
    return ctypes.create_string_buffer(data, len(data))


def cpus() -> int:
    """Count the CPUs that a per-CPU map has a value for (the kernel's possible CPUs)."""
    if not _possible_cpus:
        listed = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
        _possible_cpus.append(int(listed.strip().replace("-", ",").rsplit(",", 1)[-1]) + 1)
    return _possible_cpus[0]


class Map:
    """One map in the kernel. Keys and values are bytes of exactly the sizes given."""

    __slots__ = ("_element", "_gone", "_key", "_value", "fd", "name")

    def __init__(
        self, *, name: str, kind: int, key: int, value: int, entries: int, flags: int
    ) -> None:
        self.name = name
        attributes = struct.pack(
            "<IIIIIII16s", kind, key, value, entries, flags, 0, 0, name.encode()[:_NAME_BYTES]
        )
        try:
            fd = call(_MAP_CREATE, attributes)
        except OSError as error:
            raise refused(f"making the map {name}", error) from error
        self._take(fd, key, value)

    @classmethod
    def taken(cls, fd: int, *, name: str, key: int, value: int) -> Map:
        """Wrap the descriptor of a map that the kernel has made, whose sizes are these."""
        made = cls.__new__(cls)
        made.name = name
        made._take(fd, key, value)  # noqa: SLF001  # our own, just made
        return made

    def _take(self, fd: int, key: int, value: int) -> None:
        self.fd = fd
        # One buffer each, reused: arming is on the path from an SDP answer to the first packet.
        self._key = ctypes.create_string_buffer(key)
        self._value = ctypes.create_string_buffer(value)
        self._element = struct.pack(
            "<IIQQQ", self.fd, 0, pointer(self._key), pointer(self._value), 0
        )
        self._gone = struct.pack("<IIQ", self.fd, 0, pointer(self._key))

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace an entry. Raises KernelError, for a full map too."""
        self._key.raw, self._value.raw = key, value
        try:
            call(_UPDATE, self._element)
        except OSError as error:
            raise refused(f"writing to the map {self.name}", error) from error

    def remove(self, key: bytes) -> None:
        """Remove an entry; one that is not there is no error."""
        self._key.raw = key
        try:
            call(_DELETE, self._gone)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise refused(f"deleting from the map {self.name}", error) from error

    def get(self, key: bytes) -> bytes | None:
        """Read an entry, or None if there is none."""
        self._key.raw = key
        try:
            call(_LOOKUP, self._element)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise refused(f"reading the map {self.name}", error) from error
        return self._value.raw

    def get_per_cpu(self, key: bytes, size: int) -> list[bytes]:
        """Read an entry of a per-CPU map: one value of `size` octets for each possible CPU."""
        step = (size + 7) & ~7
        values = ctypes.create_string_buffer(step * cpus())
        keys = buffer(key)
        try:
            call(_LOOKUP, struct.pack("<IIQQQ", self.fd, 0, pointer(keys), pointer(values), 0))
        except OSError as error:
            raise refused(f"reading the map {self.name}", error) from error
        return [values.raw[at : at + size] for at in range(0, len(values), step)]

    def close(self) -> None:
        """Close the descriptor; the map goes when no program uses it any more."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def load_btf(data: bytes) -> int:
    """Load type information and return its descriptor."""
    held = buffer(data)
    try:
        return call(_BTF_LOAD, struct.pack("<QQIII", pointer(held), 0, len(data), 0, 0))
    except OSError as error:
        raise refused("loading the type information", error) from error


def load_socket_filter(
    *,
    name: str,
    instructions: bytes,
    licence: bytes,
    btf: int,
    functions: Sequence[tuple[int, int]],
) -> int:
    """Load a socket filter and return its descriptor.

    `functions` pairs the first instruction of each function with its BTF type; empty if the
    program has one function only. Raises KernelError with the end of the verifier's log.
    """
    code, text = buffer(instructions), ctypes.create_string_buffer(licence)
    infos = (
        buffer(b"".join(struct.pack("<II", *function) for function in functions))
        if functions
        else None
    )
    log = ctypes.create_string_buffer(_LOG_BYTES)

    def attributes(level: int) -> bytes:
        return struct.pack(
            "<IIQQIIQII16sIIIIQIIQI",
            _SOCKET_FILTER, len(instructions) // 8, pointer(code), pointer(text),
            level, _LOG_BYTES if level else 0, pointer(log) if level else 0,
            0, 0, name.encode()[:_NAME_BYTES], 0, 0,
            btf if functions else 0, 8, pointer(infos), len(functions), 0, 0, 0,
        )  # fmt: skip

    try:
        return call(_PROG_LOAD, attributes(0))
    except OSError as first:
        try:
            return call(_PROG_LOAD, attributes(1))  # once more, for the verifier's reasons
        except OSError:
            said = log.value.decode(errors="replace").strip()[-_LOG_SHOWN:]
            raise refused(f"loading the program {name}", first, said) from first


def run(program: int, frame: bytes, *, interface: int, repeat: int = 1) -> tuple[int, int]:
    """Run a socket filter on a frame: what it returned, and the nanoseconds of one run.

    BPF_PROG_TEST_RUN takes an Ethernet header off before it calls a socket filter, while a
    packet socket does not; so one more is put in front. `interface` is an index in this
    network namespace and is what the program sees as the frame's.
    """
    data = buffer(frame[:_ETHERNET] + frame)
    context = bytearray(_SKB_BYTES)
    struct.pack_into("<I", context, _SKB_IFINDEX, interface)
    skb = buffer(bytes(context))
    request = buffer(
        struct.pack(
            "<IIIIQQIIIIQQ",
            program,
            0,
            len(data),
            0,
            pointer(data),
            0,
            repeat,
            0,
            len(skb),
            0,
            pointer(skb),
            0,
        )
    )
    try:
        call(_TEST_RUN, request)
    except OSError as error:
        raise refused("running a program on a test frame", error) from error
    kept, duration = (
        struct.unpack_from("<I", request, 4)[0],
        struct.unpack_from("<I", request, 36)[0],
    )
    return kept, duration
