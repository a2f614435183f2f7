"""The first tier: refuses who wants a socket that hears content, before there is one.

1. The programs are src/shield.bpf.c; the rules are there. They come in two flavours, of which a
   kernel may take both, one or none: what the security functions ask (fmod_ret), or hooks of a
   security module (lsm), which may load and never run. Only a canary tells (tiers.py).
2. A place that this kernel does not have is left out (`refused`), and the others stand.
3. Maps, reports and scope are the second tier's (rogue.py); a report's deed is DENIED where the
   second tier would have killed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from agents.kernel import skeleton
from agents.kernel.errors import KernelError
from agents.sentry.rogue import Entrance, Scope

__all__ = ["Flavour", "Shield"]

_FOLDER: Final = Path(__file__).parent


class Flavour(StrEnum):
    """How the kernel comes to ask; the better one first."""

    FMOD_RET = "fmod_ret"
    """Whatever the kernel's `lsm=` says."""
    LSM = "lsm"


_FILES: Final = {Flavour.FMOD_RET: "shield.bpf", Flavour.LSM: "shield_lsm.bpf"}


class Shield(Entrance):
    """The programs of one flavour, loaded and attached; ``close`` ends them. One user at a time.

    Raises KernelError where this kernel takes none of them. ``refused``: what was left out, and
    why in a word of errno.
    """

    def __init__(
        self, scope: Scope, *, flavour: Flavour = Flavour.FMOD_RET, stale_ns: int | None = None
    ) -> None:
        self.flavour = flavour
        self.refused: dict[str, str] = {}
        given = {} if stale_ns is None else {"stale_ns": stale_ns}
        super().__init__(scope, **given)

    @property
    def places(self) -> frozenset[str]:
        """Where it is attached."""
        return frozenset(self._links)

    def _load(self, settings: bytes) -> skeleton.Skeleton:
        packed = (_FOLDER / _FILES[self.flavour]).read_bytes()
        loaded = skeleton.load(packed, settings=settings)
        self.refused = {name: errno.errorcode[code] for name, code in loaded.refused.items()}
        if not loaded.programs:
            loaded.close()
            raise KernelError(
                f"this kernel takes no program of the first tier ({self._reasons()}); "
                "it needs BPF trampolines"
            )
        return loaded

    def _attach(self) -> None:
        """Rule 2."""
        for name, program in tuple(self._loaded.programs.items()):
            with suppress(KernelError):
                self._links[name] = skeleton.attach(program)
                continue
            self.refused[name] = "not attached"
            os.close(self._loaded.programs.pop(name))
        if not self._links:
            raise KernelError(f"no program of the first tier can be attached ({self.flavour})")

    def _reasons(self) -> str:
        return ", ".join(sorted(set(self.refused.values())))
