"""How a node's sentry does: what the agent tells its guard, and holds itself to.

1. A health is what was proven on this node by trying; the sentry makes it, and nothing else does.
2. Before the first proof there is none to tell but `unproven`: it enforces no more than `detect`.
3. An answer to a challenge alone is no change of health: it goes with the next heartbeat receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from guard.core import canonical
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.nodehealth import NodeHealth

__all__ = ["Health", "Lookout", "Program", "unproven"]

Program = tuple[str, int, str]
"""A program of the sentry's in the kernel: name, id, tag."""


class Lookout(Protocol):
    """The node's sentry as the rules command it; `agents.sentry.watch.Watch` is it."""

    def set_mode(self, mode: SentryMode) -> None:
        """Let it act, or only report."""

    def prove(self, challenge: str) -> None:
        """Have every door tried anew; once that is done, the health says so by the challenge."""


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the sentry; every word as `guard.core.enforcement` has it.

    ``mode`` and ``enforcement``: what is in force now, so that in `observe` the enforcement is
    `detect`. ``doors``: each door and what was proven at it, `absent` included. ``programs``: what
    the sentry has in the kernel. ``challenge``: the guard's, with which the doors were proven last.
    """

    mode: str
    enforcement: str
    doors: Mapping[str, str]
    programs: tuple[Program, ...]
    challenge: str

    @property
    def proven(self) -> bool:
        """Whether the doors were tried (rule 2)."""
        return bool(self.doors)

    def stated(self) -> NodeHealth:
        """Return what a receipt says of it."""
        return NodeHealth(
            mode=SentryMode(self.mode),
            enforcement=Enforcement(self.enforcement),
            doors=dict(self.doors),
            programs=_digest(self.programs),
            challenge=self.challenge,
        )

    def same_as(self, other: Health) -> bool:
        """Say whether nothing differs but the challenge (rule 3)."""
        return replace(self, challenge="") == replace(other, challenge="")


def unproven(mode: SentryMode) -> Health:
    """Return the health of a node whose doors nobody has tried yet (rule 2)."""
    return Health(mode.value, Enforcement.DETECT.value, {}, (), "")


def _digest(programs: tuple[Program, ...]) -> str:
    listed = sorted([name, number, tag] for name, number, tag in programs)
    return sha256(canonical.encode({"programs": listed})).hexdigest()
