"""What captures on this node, or could, without a grant: found, judged, told once.

1. Every sweep brings all sockets that could hear content, with who holds them. What `judgement`
   calls content is told once, and again only after a sweep without it.
2. Every look at a namespace brings all its links, filters, rules and listeners that copy packets,
   and those that passed since the last look. The same holds: each is told once until it is gone.
3. A change in a network makes a sweep due at once: who sets up a mirror wants to listen.
4. An attempt that the kernel reports as it is made is told at once and asks for a sweep, to find
   who holds what came of it. One process's attempts at one kind within `REMEMBERED`, and what a
   sweep then finds of them, are one finding.
5. A sweep is due every `EVERY`, whatever happens. The sentry only detects: ``action`` says what was
   done, ``would`` what enforcement would have done.
6. No command line, no address and no subject is told: a command is its SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from agents.core.judgement import AF_PACKET, Allowances, Judgement, SocketSeen, Verdict, judge

__all__ = [
    "EVERY",
    "OBSERVE",
    "REMEMBERED",
    "SOON",
    "Attempt",
    "Attempted",
    "Command",
    "Event",
    "Finding",
    "Holder",
    "Incident",
    "NamespaceGone",
    "NetworkChanged",
    "Sentry",
    "Sweep",
    "SweepDone",
    "WakeUp",
    "What",
]

EVERY: Final = 250_000_000
"""Nanoseconds between two sweeps at the most."""
SOON: Final = 10_000_000
"""Nanoseconds after an attempt for a second sweep: at the first the socket may not be there yet."""
REMEMBERED: Final = 1_000_000_000
"""Nanoseconds for which a told attempt is the same finding."""
OBSERVE: Final = "observe"
"""The mode that detects and reports."""


class What(StrEnum):
    """What was found; the words of incidents."""

    CAPTURE_SOCKET = "capture_socket"
    """A socket that hears content is held by somebody who may not."""
    MIRROR_LINK = "mirror_link"
    """A link that is there to copy or to carry packets elsewhere is up."""
    PROMISCUOUS = "promiscuous"
    """A link takes what is not for it, and no bridge is the reason."""
    TC_MIRROR = "tc_mirror"
    """A traffic filter mirrors or redirects packets."""
    XDP = "xdp"
    """A program stands in front of a link."""
    NFT_COPY = "nft_copy"
    """A rule of nftables (iptables-nft included) copies packets or hands them to a program."""
    NFLOG_BIND = "nflog_bind"
    """A program listens to a group of NFLOG or a queue of NFQUEUE."""
    BPF_FOREIGN = "bpf_foreign"
    """A BPF program, none of the agent's, reads packets as a traffic filter."""
    SENTRY_BLIND = "sentry_blind"
    """The sentry may not see a part of what it is there to watch."""
    SENTRY_SCOPED = "sentry_scoped"
    """The sentry was told to watch some namespaces only: see `agents.config.SentryConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who a process is: its login user (None without one), and its command's SHA-256 in hex."""

    login_uid: int | None
    command: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of a network that stands where ``where`` says, by names and numbers."""

    what: What
    where: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDone:
    """All sockets that could hear content, and who the holders are that were told apart.

    ``within`` are the namespaces that count (their inodes); None: every one of the node.
    """

    sockets: tuple[SocketSeen, ...]
    holders: Mapping[int, Holder] = field(default_factory=dict)
    within: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A socket that was asked for; its inode is 0. ``killed``: who asked for it is dead."""

    seen: SocketSeen
    way: str
    killed: bool
    holder: Holder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """What was tried since the last time, oldest first; ``within`` as for `SweepDone`.

    ``unseen``: something was done that may have been an attempt, and only a sweep can tell.
    """

    attempts: tuple[Attempt, ...]
    unseen: bool = False
    within: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChanged:
    """One namespace: what stands there now, and what came and perhaps went since the last look."""

    netns: int
    standing: frozenset[Finding]
    passed: frozenset[Finding] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceGone:
    """Nothing is in this namespace any more."""

    netns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """`Sentry.next_deadline` has come."""


Event = SweepDone | Attempted | NetworkChanged | NamespaceGone | WakeUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Put this on record; the bounds of `incidents` apply."""

    what: What
    details: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Look at every socket now, then tell `SweepDone`."""


Command = Incident | Sweep

_Held = tuple[int, int, int, str]


class Sentry:
    """The findings of one node. Times are boot-clock nanoseconds."""

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances
        self._sockets: set[_Held] = set()
        self._tried: dict[tuple[int, str], int] = {}
        self._networks: dict[int, frozenset[Finding]] = {}
        self._due = 0

    @property
    def standing(self) -> int:
        """How many findings stand."""
        return len(self._sockets) + sum(map(len, self._networks.values()))

    def next_deadline(self) -> int:
        """Return when the next sweep is due (rule 5)."""
        return self._due

    def handle(self, event: Event, now: int) -> list[Command]:
        """Apply one event and return what to do."""
        match event:
            case SweepDone():
                return self._swept(event, now)
            case Attempted():
                return self._attempted(event, now)
            case NetworkChanged():
                return self._changed(event, now)
            case NamespaceGone(netns=netns):
                self._networks.pop(netns, None)
                self._sockets = {each for each in self._sockets if each[0] != netns}
                return []
            case WakeUp():
                if now < self._due:
                    return []
                self._due = now + EVERY
                return [Sweep()]
            case _:
                assert_never(event)

    def content(self, sockets: Iterable[SocketSeen]) -> list[tuple[SocketSeen, Judgement]]:
        """Return the sockets that are content in the hands that hold them."""
        judged = ((seen, judge(seen, self._allowances)) for seen in sockets)
        return [each for each in judged if each[1].verdict is Verdict.CONTENT]

    def _attempted(self, attempted: Attempted, now: int) -> list[Command]:
        """Rule 4."""
        within, told = attempted.within, []
        held = {(pid, kind) for _, _, pid, kind in self._sockets}
        counted = [
            (attempt, judged)
            for attempt in attempted.attempts
            if (within is None or attempt.seen.netns in within)
            and (judged := judge(attempt.seen, self._allowances)).verdict is Verdict.CONTENT
        ]
        if not counted and not attempted.unseen:
            return []
        for attempt, judged in counted:
            one = attempt.seen.pid, judged.reason
            if one not in held and one not in self._tried:
                told.append(_attempt(attempt, judged))
            self._tried[one] = now
        self._due = min(self._due, now + SOON)
        return [*told, Sweep()]

    def _swept(self, swept: SweepDone, now: int) -> list[Command]:
        within = swept.within
        counted = [each for each in swept.sockets if within is None or each.netns in within]
        found = {_held(seen, judged): (seen, judged) for seen, judged in self.content(counted)}
        new = [
            each
            for held, each in found.items()
            if held not in self._sockets and held[2:] not in self._tried
        ]
        self._tried = {one: last for one, last in self._tried.items() if now - last < REMEMBERED}
        self._sockets = set(found)  # Rule 1: what is not there any more may be told again.
        return [_socket(seen, judged, swept.holders.get(seen.pid)) for seen, judged in new]

    def _changed(self, changed: NetworkChanged, now: int) -> list[Command]:
        before = self._networks.get(changed.netns, frozenset())
        new = sorted(
            (changed.standing | changed.passed) - before,
            key=lambda each: (each.what, repr(each.where)),
        )
        self._networks[changed.netns] = changed.standing
        if not new:
            return []
        self._due = now + EVERY
        return [*(_network(each, changed.netns) for each in new), Sweep()]  # Rule 3.


def _held(seen: SocketSeen, judged: Judgement) -> _Held:
    return seen.netns, seen.inode, seen.pid, judged.reason


def _socket(seen: SocketSeen, judged: Judgement, holder: Holder | None) -> Incident:
    done = _done("kill" if seen.pid else "report")
    return Incident(what=What.CAPTURE_SOCKET, details=_who(seen, judged, holder) | done)


def _attempt(attempt: Attempt, judged: Judgement) -> Incident:
    done = {"action": "killed", "mode": OBSERVE} if attempt.killed else _done("kill")
    who = _who(attempt.seen, judged, attempt.holder)
    return Incident(what=What.CAPTURE_SOCKET, details={**who, "way": attempt.way, **done})


def _who(seen: SocketSeen, judged: Judgement, holder: Holder | None) -> dict[str, str | int]:
    details: dict[str, str | int] = {
        "kind": judged.reason,
        "pid": seen.pid,
        "uid": seen.uid,
        "netns": seen.netns,
        "interface": seen.ifindex,
        "protocol": seen.ethertype if seen.family == AF_PACKET else seen.protocol,
        **({"cgroup": seen.cgroup} if seen.cgroup else {}),
    }
    if holder is not None and holder.login_uid is not None:
        details["login_uid"] = holder.login_uid
    if holder is not None and holder.command is not None:
        details["command"] = holder.command
    return details


def _network(finding: Finding, netns: int) -> Incident:
    where = {"netns": netns, **dict(finding.where)}
    if finding.what is What.SENTRY_BLIND:
        return Incident(what=finding.what, details=where)
    return Incident(what=finding.what, details={**where, **_done("report")})


def _done(would: str) -> dict[str, str | int]:
    return {"action": "reported", "mode": OBSERVE, "would": would}
