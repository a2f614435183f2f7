"""Which BPF programs could hand on what they read, by their kind and the maps that they use.

1. Some kinds read packets, or any memory of the kernel, wherever they are attached: each of them
   that is loaded is found.
2. Other kinds do the same and are used by system software to count and to restrict. They are found
   if one of their maps is wide enough to carry content out: a queue of events, or values of more
   than `NARROW` octets that the program may write.
3. Filters of sockets and of traffic control and programs of XDP are found where they are attached.
   What remains sees no content.
4. A program that carries content out by other means than maps (a trace, a counter of a million
   values) is not told apart by this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["NARROW", "MapSeen", "ProgramSeen", "reading"]

NARROW: Final = 16
"""Octets of a value that counts or decides: an address at the most."""

# enum bpf_prog_type; rule 1
_READING: Final = {
    2: "kprobe",
    5: "tracepoint",
    7: "perf_event",
    10: "lwt_in",
    11: "lwt_out",
    12: "lwt_xmit",
    14: "sk_skb",
    16: "sk_msg",
    17: "raw_tracepoint",
    19: "lwt_seg6local",
    22: "flow_dissector",
    24: "raw_tracepoint_writable",
    28: "extension",
    32: "netfilter",
}
_READING_IF_WIDE: Final = {
    8: "cgroup_skb",
    21: "sk_reuseport",
    26: "tracing",
    27: "struct_ops",
    29: "lsm",
}
# enum bpf_map_type: arrays, hashes and tries; and maps of maps, which hold numbers
_OF_VALUES: Final = frozenset((1, 2, 5, 6, 9, 10, 11))
_OF_MAPS: Final = frozenset((12, 13))
_READ_ONLY: Final = 1 << 7  # BPF_F_RDONLY_PROG


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSeen:
    """A map that a program uses; ``value`` is the octets of one of its ``entries``."""

    kind: int
    value: int
    entries: int
    flags: int

    @property
    def wide(self) -> bool:
        """Whether content could be carried out by it (rule 2)."""
        if self.flags & _READ_ONLY or self.kind in _OF_MAPS:
            return False
        return self.kind not in _OF_VALUES or self.value > NARROW


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSeen:
    """A program that is loaded; ``uid`` is who loaded it, ``tag`` the kernel's digest of it."""

    id: int
    kind: int
    tag: str
    uid: int
    name: str
    maps: tuple[MapSeen, ...] = ()


def reading(seen: ProgramSeen) -> str | None:
    """Return the kind of a program that could hand on content; None: it could not."""
    if seen.kind in _READING:
        return _READING[seen.kind]
    wide = any(each.wide for each in seen.maps)
    return _READING_IF_WIDE.get(seen.kind) if wide else None
