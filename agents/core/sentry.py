"""What captures on this node, or could, without a grant: found, judged, told once.

1. Every sweep brings all sockets that could hear content, with who holds them. What `judgement`
   calls content is told once, and again only after a sweep without it.
2. Every look at a namespace brings all its links, filters, programs and rules that copy packets,
   and those that passed since the last look. The same holds: each is told once until it is gone.
3. A change in a network makes a sweep due at once: who sets up a mirror wants to listen.
4. An attempt that the kernel reports as it is made is told at once and asks for sweeps, now and at
   the moments of `BURST`, to find who holds what came of it; some of these look where there is no
   descriptor. One process's attempts at one kind within `REMEMBERED`, and what a sweep then finds
   of them, are one finding.
5. A sweep is due every `EVERY`, whatever happens. Where the mode is to enforce, and somebody holds
   what hears content because he may, a quick one is due every `CLOSE`: no kernel tells when it is
   passed on to who may not.
6. No command line, no address and no subject is told: a command is its SHA-256.
7. Where the mode is to enforce, `enforcing` says what is done. It is told once it has been done,
   and done again as long as what it is about stands. What failed and then succeeds is told again.
   Once the mode turns to enforce, all that stands is a new finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from agents.core.enforcing import (
    Act,
    Acted,
    Mode,
    Mute,
    Reach,
    Result,
    Undo,
    action,
    against_finding,
    against_holder,
    instead,
    would,
)
from agents.core.judgement import (
    AF_PACKET,
    KEEPS_RULES,
    Allowances,
    Judgement,
    SocketSeen,
    Verdict,
    judge,
    unit_of,
)
from agents.core.sentryevents import (
    Attempt,
    Attempted,
    Finding,
    Holder,
    Incident,
    NamespaceGone,
    NetworkChanged,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)

__all__ = [
    "AGAIN",
    "BURST",
    "CLOSE",
    "EVERY",
    "REMEMBERED",
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
    "SetMode",
    "Sweep",
    "SweepDone",
    "WakeUp",
    "What",
]

EVERY: Final = 250_000_000
"""Nanoseconds between two sweeps at the most."""
CLOSE: Final = 15_000_000
"""The same where a descriptor could be passed on."""
BURST: Final = {
    1_000_000: False,
    4_000_000: True,
    9_000_000: False,
    16_000_000: True,
    25_000_000: False,
    60_000_000: True,
    240_000_000: True,
}
"""Nanoseconds after an attempt for further sweeps, since at the first the socket may not be there
yet (a process that is killed waits for its turn to finish its call); and whether they look where
there is no descriptor."""
REMEMBERED: Final = 1_000_000_000
"""Nanoseconds for which a told attempt is the same finding."""
AGAIN: Final = 1_000_000_000
"""Nanoseconds between two tries to undo the same."""


@dataclass(frozen=True, slots=True)
class SetMode:
    """The trust policy says so."""

    mode: Mode


Event = SweepDone | Attempted | NetworkChanged | NamespaceGone | WakeUp | Acted | SetMode


Command = Incident | Sweep | Act

_Held = tuple[int, int, int, str]
_OF_KINDS: Final = {
    "nflog": What.NFLOG_BIND,
    "nfqueue": What.NFLOG_BIND,
    KEEPS_RULES: What.NFT_COPY,
}
_ONLY_TOLD: Final = frozenset((What.SENTRY_BLIND, What.MIRROR_ALLOWED))


class Sentry:
    """The findings of one node. Times are boot-clock nanoseconds."""

    def __init__(
        self, allowances: Allowances, *, reach: Reach | None = None, mode: Mode = Mode.OBSERVE
    ) -> None:
        self._allowances = allowances
        self._reach = reach or Reach()
        self._mode = mode
        self._sockets: set[_Held] = set()
        self._tried: dict[tuple[int, str], int] = {}
        self._networks: dict[int, frozenset[Finding]] = {}
        self._untold: dict[Act, list[Incident]] = {}
        self._failed: dict[Act, list[Incident]] = {}
        self._undoing: dict[Undo, int] = {}
        self._muted: set[int] = set()
        self._burst: tuple[tuple[int, bool], ...] = ()
        self._close: int | None = None
        self._due = 0

    @property
    def mode(self) -> Mode:
        """What it may do."""
        return self._mode

    @property
    def standing(self) -> int:
        """How many findings stand."""
        return len(self._sockets) + sum(map(len, self._networks.values()))

    def next_deadline(self) -> int:
        """Return when the next sweep is due (rules 4 and 5)."""
        quick = [at for at, _ in self._burst[:1]]
        if self._close is not None:
            quick.append(self._close)
        return min([self._due, *quick])

    def handle(self, event: Event, now: int) -> list[Command]:  # noqa: PLR0911 - one each
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
                return self._woken(now)
            case Acted():
                return self._acted(event)
            case SetMode(mode=mode):
                return self._turned(mode)
            case _:
                assert_never(event)

    def content(self, sockets: Iterable[SocketSeen]) -> list[tuple[SocketSeen, Judgement]]:
        """Return the sockets that are content in the hands that hold them."""
        judged = ((seen, judge(seen, self._allowances)) for seen in sockets)
        return [each for each in judged if each[1].verdict is Verdict.CONTENT]

    def _woken(self, now: int) -> list[Command]:
        due, wanted = now >= self._due, now >= self.next_deadline()
        unheld = any(look for at, look in self._burst if at <= now)
        self._burst = tuple(each for each in self._burst if each[0] > now)
        if self._close is not None and now >= self._close:
            self._close = now + CLOSE  # The sweep says whether it is still so.
        if due:
            self._due = now + EVERY
        return [Sweep(quick=not due, unheld=unheld)] if wanted else []

    def _attempted(self, attempted: Attempted, now: int) -> list[Command]:
        """Rule 4."""
        within, commands = attempted.within, []
        held = {(pid, kind) for _, _, pid, kind in self._sockets}
        counted = [
            (attempt, judged)
            for attempt in attempted.attempts
            if (within is None or attempt.seen.netns in within)
            and self._counts(attempt, judged := judge(attempt.seen, self._allowances))
        ]
        if not counted and not attempted.unseen:
            return []
        for attempt, judged in counted:
            one = attempt.seen.pid, judged.reason
            if not self._left_to_sweep(attempt):
                new = one not in held and one not in self._tried
                commands += self._attempt(attempt, judged, tell=new)
                self._tried[one] = now
        self._burst = tuple((now + after, look) for after, look in BURST.items())
        return [*commands, Sweep(quick=True)]

    def _counts(self, attempt: Attempt, judged: Judgement) -> bool:
        """Say whether it is told: also who may, if the kernel had not heard of that yet."""
        return attempt.killed or attempt.denied or judged.verdict is Verdict.CONTENT

    def _left_to_sweep(self, attempt: Attempt) -> bool:
        """Say whether it is for a sweep to find what is to be muted: there is no socket yet."""
        stopped = attempt.killed or attempt.denied or self._mode is Mode.OBSERVE
        return not stopped and unit_of(attempt.seen.cgroup) in self._reach.mute

    def _attempt(self, attempt: Attempt, judged: Judgement, *, tell: bool) -> list[Command]:
        details = {**_who(attempt.seen, judged, attempt.holder), "way": attempt.way}
        incident = Incident(what=What.CAPTURE_SOCKET, details=details)
        if attempt.killed or attempt.denied:
            done = {"action": "killed" if attempt.killed else "denied"}
            return [self._told(incident, done)] if tell else []
        return self._against(against_holder(attempt.seen, self._reach), incident, tell=tell)

    def _swept(self, swept: SweepDone, now: int) -> list[Command]:
        within, commands = swept.within, []
        counted = [each for each in swept.sockets if within is None or each.netns in within]
        self._close = now + CLOSE if self._mode is Mode.ENFORCE and self._lent(counted) else None
        found = {_held(seen, judged): (seen, judged) for seen, judged in self.content(counted)}
        self._muted &= {seen.inode for seen, _ in found.values()}
        self._let_go_of_failures({seen.pid for seen, _ in found.values()})
        for held, (seen, judged) in found.items():
            new = held not in self._sockets and held[2:] not in self._tried
            commands += self._socket(seen, judged, swept.holders.get(seen.pid), tell=new)
        self._tried = {one: last for one, last in self._tried.items() if now - last < REMEMBERED}
        self._sockets = set(found)  # Rule 1: what is not there any more may be told again.
        return commands

    def _lent(self, sockets: Iterable[SocketSeen]) -> bool:
        """Say whether anybody but the agent itself holds content because he may."""
        return any(
            seen.pid not in self._allowances.pids
            and judge(seen, self._allowances).verdict is Verdict.ALLOWED
            for seen in sockets
        )

    def _socket(
        self, seen: SocketSeen, judged: Judgement, holder: Holder | None, *, tell: bool
    ) -> list[Command]:
        if seen.inode in self._muted:
            return []
        what = _OF_KINDS.get(judged.reason, What.CAPTURE_SOCKET)
        incident = Incident(what=what, details=_who(seen, judged, holder))
        return self._against(against_holder(seen, self._reach), incident, tell=tell)

    def _changed(self, changed: NetworkChanged, now: int) -> list[Command]:
        netns, standing = changed.netns, changed.standing
        before = self._networks.get(netns, frozenset())
        new = _sorted((standing | changed.passed) - before)
        self._networks[netns] = standing
        self._undoing = {one: last for one, last in self._undoing.items() if now - last < AGAIN}
        commands: list[Command] = []
        for finding in new:
            undo = against_finding(finding, netns, self._reach) if finding in standing else None
            commands += self._network(finding, netns, undo, now, tell=True)
        for finding in _sorted(standing & before):
            undo = against_finding(finding, netns, self._reach)
            if undo is not None and undo not in self._undoing:
                commands += self._network(finding, netns, undo, now, tell=False)
        if not new:
            return commands
        self._due = now + EVERY
        return [*commands, Sweep()]  # Rule 3.

    def _network(
        self, finding: Finding, netns: int, undo: Undo | None, now: int, *, tell: bool
    ) -> list[Command]:
        incident = Incident(what=finding.what, details={"netns": netns, **dict(finding.where)})
        if finding.what in _ONLY_TOLD:
            return [incident] if tell else []
        if undo is not None:
            self._undoing[undo] = now
        return self._against(undo, incident, tell=tell)

    def _against(self, act: Act | None, incident: Incident, *, tell: bool) -> list[Command]:
        """Rule 7. What waits to be told of an act is told once `Acted` comes."""
        if act is None or self._mode is Mode.OBSERVE:
            observed = {"would": would(act)} if self._mode is Mode.OBSERVE else {}
            return [self._told(incident, {"action": "reported", **observed})] if tell else []
        under_way = act in self._untold
        self._untold.setdefault(act, []).extend([incident] if tell else [])
        return [] if under_way else [act]

    def _acted(self, acted: Acted) -> list[Command]:
        act, untold = acted.act, self._untold.pop(acted.act, [])
        if (kill := instead(acted)) is not None:
            under_way = kill in self._untold
            self._untold.setdefault(kill, []).extend(untold)
            return [] if under_way else [kill]
        failed = self._failed.pop(act, [])
        if acted.result is Result.FAILED:
            self._failed[act] = failed + untold
        elif acted.result is Result.DONE:
            untold = failed + untold
            self._muted |= {act.inode} if isinstance(act, Mute) else set()
        return [self._told(each, action(acted)) for each in untold]

    def _let_go_of_failures(self, pids: set[int]) -> None:
        self._failed = {
            act: untold
            for act, untold in self._failed.items()
            if (
                act.finding in self._networks.get(act.netns, ())
                if isinstance(act, Undo)
                else act.pid in pids
            )
        }

    def _turned(self, mode: Mode) -> list[Command]:
        if mode is self._mode:
            return []
        self._mode = mode
        if mode is Mode.OBSERVE:
            return []
        for record in (self._sockets, self._tried, self._failed, self._undoing):
            record.clear()
        self._networks = {
            netns: frozenset(each for each in standing if each.what in _ONLY_TOLD)
            for netns, standing in self._networks.items()
        }
        return [Sweep(quick=True), Sweep()]  # The quick one comes first: somebody may listen.

    def _told(self, incident: Incident, done: Mapping[str, str]) -> Incident:
        details = {**incident.details, "mode": self._mode.value, **done}
        return Incident(what=incident.what, details=details)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: (each.what, repr(each.where)))


def _held(seen: SocketSeen, judged: Judgement) -> _Held:
    return seen.netns, seen.inode, seen.pid, judged.reason


def _who(seen: SocketSeen, judged: Judgement, holder: Holder | None) -> dict[str, str | int]:
    details: dict[str, str | int] = {
        "kind": judged.reason,
        "pid": seen.pid,
        "uid": seen.uid,
        "netns": seen.netns,
        "interface": seen.ifindex,
        "protocol": seen.ethertype if seen.family == AF_PACKET else seen.protocol,
        **({"listens": seen.listens} if seen.listens else {}),
        **({"cgroup": seen.cgroup} if seen.cgroup else {}),
    }
    if holder is not None and holder.login_uid is not None:
        details["login_uid"] = holder.login_uid
    if holder is not None and holder.command is not None:
        details["command"] = holder.command
    return details
