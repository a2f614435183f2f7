"""The stock kernels that config/kernels.sh fetched: what is there, and what of their modules is needed."""

from __future__ import annotations

import lzma
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SUITES", "Kernel"]

SUITES = ("bookworm", "trixie")
_MODULES = (
    "nfnetlink",
    "nfnetlink_log",
    "nfnetlink_queue",
    "nf_tables",
    "packet_diag",
    "af_packet_diag",
    "xsk_diag",
)
"""In the order in which they are loaded; what a kernel has built in or has not is left out."""


def folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CALLGUARD_KERNELS") or Path(caches, "callguard", "kernels"))


@dataclass(frozen=True)
class Kernel:
    suite: str

    @property
    def image(self) -> Path:
        return folder() / self.suite / "vmlinuz"

    def modules(self) -> dict[str, bytes]:
        """Return name and contents of each module, ready to be loaded."""
        there = folder() / self.suite / "modules"
        found = {name: next(there.rglob(f"{name}.ko*"), None) for name in _MODULES}
        return {name: _unpacked(path) for name, path in found.items() if path is not None}


def _unpacked(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
