"""What enforcement does about what was found, and whom it may do it to.

1. Who holds what hears content, and may not, is ended. A unit that must not be ended is muted: each
   of its sockets gets a filter that lets nothing through. What stands in a network and copies
   packets is undone.
2. In `observe` nothing of it is done, and an incident says what would have been (`would`).
3. A process is named by its number and the moment of its start: by the time something is done, the
   number may be another's. Without the moment nothing is done to it.
4. What cannot be muted is ended.
5. A reach takes away and never adds. Below its cgroup alone somebody is ended or muted; who is in
   no known cgroup is out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agents.core.judgement import KEEPS_RULES, SocketSeen, unit_of
from agents.core.sentryevents import Finding, What
from guard.core.enforcement import SentryMode

__all__ = [
    "Act",
    "Acted",
    "Kill",
    "Mode",
    "Mute",
    "Reach",
    "Result",
    "Undo",
    "action",
    "against_finding",
    "against_holder",
    "instead",
    "would",
]


Mode = SentryMode
"""What the trust policy lets the sentry do: detect and report, or also end, mute, undo, refuse."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process, if it is still the one that was started then (in ticks, proc(5))."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Mute:
    """Let nothing through to a socket, by its inode, that this process holds."""

    pid: int
    started: int
    inode: int


@dataclass(frozen=True, slots=True)
class Undo:
    """Take away what was found in a network namespace."""

    finding: Finding
    netns: int


Act = Kill | Mute | Undo


class Result(StrEnum):
    """What came of an act."""

    DONE = "done"
    GONE = "gone"
    """There was nothing to do it to any more."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Acted:
    """An act was carried out, or could not be."""

    act: Act
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whom enforcement may touch (rule 5), and which units it mutes.

    ``cgroup``: a path as in /proc/PID/cgroup; None: everybody. ``undo``: whether what stands in a
    network may be taken away.
    """

    cgroup: str | None = None
    mute: frozenset[str] = frozenset()
    undo: bool = True


_UNDONE: Final = frozenset(
    (
        What.MIRROR_LINK,
        What.FLOODING,
        What.TC_MIRROR,
        What.XDP,
        What.NFT_COPY,
        What.XT_COPY,
        What.BPF_FOREIGN,
    )
)
_WOULD: Final = {Kill: "kill", Mute: "mute", Undo: "undo"}
_ACTION: Final = {Kill: "killed", Mute: "muted", Undo: "undone"}


def against_holder(seen: SocketSeen, reach: Reach) -> Kill | Mute | None:
    """Return what is to be done about who holds a socket; None: nothing can be."""
    if not (seen.pid and seen.started and _reached(seen.cgroup, reach)):  # rules 3 and 5
        return None
    if unit_of(seen.cgroup) not in reach.mute:
        return Kill(seen.pid, seen.started)
    silent = seen.listens.startswith(KEEPS_RULES)  # A filter on its socket takes no rule away.
    return Mute(seen.pid, seen.started, seen.inode) if seen.inode and not silent else None


def against_finding(finding: Finding, netns: int, reach: Reach) -> Undo | None:
    """Return what is to be done about something in a network; None: nothing can be."""
    return Undo(finding, netns) if reach.undo and finding.what in _UNDONE else None


def instead(acted: Acted) -> Kill | None:
    """Return what is to be done where something else failed (rule 4)."""
    if acted.result is Result.FAILED and isinstance(acted.act, Mute):
        return Kill(acted.act.pid, acted.act.started)
    return None


def would(act: Act | None) -> str:
    """Say what would have been done (rule 2)."""
    return "report" if act is None else _WOULD[type(act)]


def action(acted: Acted) -> dict[str, str]:
    """Say what was done."""
    if acted.result is Result.DONE:
        return {"action": _ACTION[type(acted.act)]}
    if acted.result is Result.GONE:
        return {"action": "gone"}
    return {"action": "reported", "failed": would(acted.act)}


def _reached(cgroup: str, reach: Reach) -> bool:
    return reach.cgroup is None or f"{cgroup}/".startswith(f"{reach.cgroup}/")
