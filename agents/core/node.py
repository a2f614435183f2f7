"""The rules of a node agent, without I/O: events in, commands out.

1. Only what `Admission` lets in is armed; what it refuses is refused by name, on record.
2. A capture's deadline is the earliest of the ends of authority, grant and lease, on the boot
   clock, converted once when it is armed. Only a renewal moves it, never past the grant's end.
3. While the clock is in doubt (`clockcheck`) nothing is armed and nothing is renewed.
4. What ends does so in this order: the kernel and the engine first, then the disk, then the guard.
   It has ended for good, unless it is the agent itself that stops.
5. A withdrawal ends at once and is remembered: what it names is never armed again.
6. A new trust policy is held against everything that is armed, and so is a sentry that enforces
   something else than before; what they would not admit ends. What is armed ends when the policy
   does.
7. What several grants want to see is watched until the last of their deadlines; each grant ends by
   its own, and learns nothing of the others.
8. With a relay, the media of content grants comes through it and from nowhere else, or not at all
   (`relayed`).
9. Every capture has a receipt for its beginning, its segments and its end, and one that says that
   nothing was captured. What is armed, if only nothing, is stated again and again (`heartbeats`).
10. The sentry is told its mode at the start and whenever a trust policy changes it. Without a trust
   policy it observes. A challenge of the guard's has it prove its doors anew.

Longer than other files because it is the one place where every event becomes commands; what could
be judged apart (admission, leases, watching, the relay, reports) is in files of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

import pyrage

from agents.core import commands as do
from agents.core import events as on
from agents.core import reports
from agents.core.admission import Admission, unverified_grant
from agents.core.armed import Armed, Closing, Memory, Why
from agents.core.clockcheck import ClockCheck
from agents.core.commands import Command, Log, Progress
from agents.core.decision import Cover
from agents.core.dialogs import CallSeen, DialogEvent, DialogTracker, NotFollowed, Write
from agents.core.events import Event
from agents.core.health import Health
from agents.core.heartbeats import DEFAULT_SECONDS, Heartbeats
from agents.core.instant import NANOSECONDS, Instant, nanoseconds
from agents.core.leases import LeaseTable
from agents.core.relayed import Relayed, released
from agents.core.trustchain import TrustChain
from agents.core.verifier import VerifiedGrant
from agents.core.waiting import Waiting
from agents.core.watching import Watching
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.evidence import Evidence
from guard.core.reasons import Reason, Refused

__all__ = ["Node"]

_HEARTBEAT = NANOSECONDS
_WORDS = {Reason.STATE_NOT_PERMITTED: Why.STOPPED.value}


class Node:
    """One node's agent, as rules. `handle` is never called from two threads at once."""

    def __init__(  # noqa: PLR0913 - what a node is, and three facts of its configuration
        self,
        name: str,
        identities: Sequence[pyrage.x25519.Identity],
        trust: TrustChain,
        memory: Memory,
        *,
        start: Instant,
        undecided: str = "fragments",
        relay: bool = False,
        through_relay: bool = True,
        receipt_seconds: int = DEFAULT_SECONDS,
    ) -> None:
        """``undecided``: what of signalling the kernel cannot decide, for the armed receipts.

        ``relay``, ``through_relay``: rule 8. ``receipt_seconds``: between two heartbeat receipts.
        """
        self._relayed = Relayed(there=relay, through=through_relay)
        self._undecided = undecided
        self._revoked = set(memory.revoked)
        self._clock = ClockCheck(start, recorded=memory.latest)
        self._admission = Admission(name, identities, trust, self._clock, revoked=self._revoked)
        self._leases = LeaseTable(memory.ended)
        self._waiting = Waiting()
        self._watching = Watching()
        self._progress = dict(memory.progress)
        self._armed: dict[str, Armed] = {}
        self._closing: dict[str, Closing] = {}
        self._answered: set[str] = set()
        self._revision = 0
        self._heartbeat: int | None = None
        self._stated = Heartbeats(receipt_seconds)
        self._mode = self._admission.sentry(SentryMode.OBSERVE)  # Rule 10.
        self._doubted = False
        self._policy_ends: int | None = None
        if trust.trusted is not None:
            self._policy_ends = start.boot_of(trust.trusted.policy.expires_at)

    @property
    def revision(self) -> int:
        """The highest revision applied since the start."""
        return self._revision

    @property
    def trust_version(self) -> int:
        """The newest trust policy's version; 0 for none."""
        return self._admission.trust.version

    @property
    def idle(self) -> bool:
        """Whether nothing is armed and nothing is still being sealed."""
        return not self._armed and not self._closing

    def armed(self, now: Instant) -> tuple[do.ArmedCapture, ...]:
        """Return what is armed, with its counters over every start."""
        running = ((each, self._leases[grant_id]) for grant_id, each in self._armed.items())
        return reports.running(running, now)

    def covers(self) -> tuple[Cover, ...]:
        """Return what is armed, for decisions; to be used before the next event."""
        policy_ends = self._policy_ends
        return tuple(
            Cover(
                grant=armed.grant,
                deadline=min(self._leases[grant_id].deadline, policy_ends or 0),
                follows=armed.tracker.follows,
            )
            for grant_id, armed in self._armed.items()
        )

    def doubt(self, now: Instant) -> str | None:
        """Return why the clock cannot be believed, or None."""
        return self._admission.doubt(now)

    def next_deadline(self) -> int | None:
        """Return when `WakeUp` is due, in boot-clock nanoseconds; None: not by itself."""
        dues = [self._leases.next_deadline(), self._waiting.next_deadline(), self._heartbeat]
        dues += [self._policy_ends, self._relayed.next_deadline(), self._stated.next_deadline()]
        dues += [armed.tracker.next_deadline() for armed in self._armed.values()]
        return min((due for due in dues if due is not None), default=None)

    def handle(self, event: Event, now: Instant) -> list[Command]:  # noqa: C901, PLR0911, PLR0912 - one case per event
        """Apply one event at ``now`` and return what to do, in order."""
        match event:
            case on.SignallingSeen():
                return self._signalling(event, now)
            case on.RelayFlows():
                self._relayed.arrive(event, self._armed.values(), self._watching)
                return self._settle()
            case on.RelayReport():
                return self._relayed.report(event, self._armed.values(), now)
            case on.WakeUp():
                return self._wake_up(now)
            case on.StateDelta():
                return self._delta(event, now)
            case on.LeaseRenewed():
                return self._renew(event, now)
            case on.GuardTime(guard_time=guard_time):
                self._clock.heard(guard_time, now)
                return self._retry(self._waiting.all(), now)
            case on.TrustArrived():
                return self._trust_arrived(event, now)
            case on.SessionOpened():
                return self._session_opened(now)
            case on.SessionClosed():
                self._heartbeat = None
                return []
            case on.Counted():
                return self._counted(event)
            case on.SegmentSealed():
                return self._sealed(event, now)
            case on.SegmentStored(grant_id=grant_id, number=number):
                return [do.DeleteSegment(grant_id=grant_id, number=number)]
            case on.ReceiptAccepted(sequence=sequence):
                return [do.ForgetReceipts(sequence=sequence)]
            case on.CaptureFailed(grant_id=grant_id, detail=detail):
                ended = self._end(grant_id, Reason.NODE_UNABLE)
                return [*ended, *reports.failed(grant_id, detail)]
            case on.LimitReached(grant_id=grant_id):
                return self._end(grant_id, Why.LIMIT_REACHED)
            case on.CaptureClosed():
                return self._closed(event, now)
            case on.Started():
                return [do.SetSentryMode(self._mode), *self._stated.start(self._armed, now)]
            case on.Challenged(challenge=challenge):
                return [do.ProveDoors(challenge)]
            case on.HealthSeen(health=health):
                return self._look(health, now)
            case on.Shutdown():
                ended = self._end_all(tuple(self._armed), Why.AGENT_STOPPED)
                return [*ended, *self._stated.stop(self._armed, now)]
            case _:
                assert_never(event)

    # -- arming --------------------------------------------------------------------------------

    def _delta(self, delta: on.StateDelta, now: Instant) -> list[Command]:
        commands: list[Command] = []
        for withdrawal in delta.withdrawn:  # What stops comes before what starts.
            commands += self._withdraw(withdrawal, now)
        for evidence in delta.offered:
            commands += self._offer(evidence, now)
        self._revision = max(self._revision, delta.revision)
        return commands

    def _offer(self, evidence: Evidence, now: Instant) -> list[Command]:
        claimed = unverified_grant(evidence)
        if claimed is None:
            return [Log("offer_unreadable", (), warning=True)]
        if claimed.id in self._armed or claimed.id in self._closing:
            return []
        try:
            verified = self._admission.admit(evidence, now, ended=self._leases.ended)
            return self._arm(verified, evidence, now)
        except Refused as refused:
            if self._waiting.hold(claimed, evidence, refused, now):
                return []
            return self._refuse(claimed.id, refused, now)

    def _retry(self, waiting: Iterable[Evidence], now: Instant) -> list[Command]:
        return [command for evidence in waiting for command in self._offer(evidence, now)]

    def _arm(self, verified: VerifiedGrant, evidence: Evidence, now: Instant) -> list[Command]:
        grant_id = verified.grant.id
        ends = now.boot_of(verified.window.not_after)  # Rule 2: once, here.
        if ends <= now.boot_ns:
            raise Refused(Reason.EXPIRED, "the grant has no time left")
        length = nanoseconds(verified.lease)
        lease = self._leases.arm(grant_id, ends=ends, length=length, now=now.boot_ns)
        armed = Armed(
            grant=verified,
            evidence=evidence,
            at=now,
            tracker=DialogTracker(verified.subjects, level=verified.level),
            before=self._progress.get(grant_id, Progress()),
        )
        self._armed[grant_id] = armed
        self._waiting.drop(grant_id)
        self._watching.begin(grant_id, verified.subjects)
        return [
            do.OpenCapture(grant=verified, deadline=lease.deadline, bytes_left=armed.bytes_left()),
            *self._settle(),
            *reports.armed(
                verified, lease, now, undecided=self._undecided, media=self._relayed.media(verified)
            ),
        ]

    def _refuse(self, grant_id: str, refused: Refused, now: Instant) -> list[Command]:
        self._waiting.drop(grant_id)
        if not self._waiting.first_told(grant_id, refused.reason):
            return []
        return reports.refused(grant_id, refused, now)

    # -- running -------------------------------------------------------------------------------

    def _renew(self, renewed: on.LeaseRenewed, now: Instant) -> list[Command]:
        heard = self._clock.heard(renewed.guard_time, now)
        commands = [*self._doubt_log(now), *self._retry(self._waiting.all(), now)]
        if self._doubted:  # Rule 3.
            return commands
        for grant_id in renewed.grant_ids:
            lease = self._leases.renew(grant_id, heard=heard, now=now.boot_ns)
            if lease is not None:
                commands.append(do.MoveDeadline(grant_id=grant_id, deadline=lease.deadline))
                self._watching.moved(grant_id)
        return commands + self._settle()

    def _doubt_log(self, now: Instant) -> list[Command]:
        doubt = self._admission.doubt(now)
        changed = self._doubted is not (doubt is not None)
        self._doubted = doubt is not None
        if not changed:
            return []
        return [
            Log("clock_in_doubt", (("why", doubt),), warning=True) if doubt else Log("clock_good")
        ]

    def _signalling(self, seen: on.SignallingSeen, now: Instant) -> list[Command]:
        followed: list[Command] = []
        written: list[Command] = []
        for grant_id, armed in tuple(self._armed.items()):
            if self._leases[grant_id].deadline <= now.boot_ns:
                continue  # Its end is about to be told by `WakeUp`.
            events = armed.tracker.handle(seen.message, now)
            followed += self._follow(grant_id, armed, events)
            if grant_id in self._armed:
                written += [
                    do.WriteSignalling(grant_id=grant_id, frame=event.frame, message=seen.message)
                    for event in events
                    if isinstance(event, Write)
                ]
        return [*self._settle(), *followed, *written]

    def _follow(self, grant_id: str, armed: Armed, events: Iterable[DialogEvent]) -> list[Command]:
        """Take note of what a tracker says; a call too many ends the grant before it is written."""
        commands: list[Command] = []
        for event in events:
            relayed = self._relayed.follow(armed, event, self._watching)
            if relayed is not None:
                commands += relayed
            elif isinstance(event, CallSeen):
                armed.calls += 1
            elif isinstance(event, NotFollowed):
                commands += reports.not_followed(armed, event)
            else:
                self._watching.follow(grant_id, armed.grant.level, event)
        if armed.over_limit():
            commands += self._end(grant_id, Why.LIMIT_REACHED)
        return commands

    def _expire_calls(self, now: Instant) -> list[Command]:
        commands: list[Command] = []
        for grant_id, armed in tuple(self._armed.items()):
            commands += self._follow(grant_id, armed, armed.tracker.expire(now))
        return [*self._settle(), *commands]

    def _counted(self, counted: on.Counted) -> list[Command]:
        armed = self._armed.get(counted.grant_id)
        if armed is None:
            return []
        armed.count(counted)
        return self._end(counted.grant_id, Why.LIMIT_REACHED) if armed.over_limit() else []

    def _sealed(self, sealed: on.SegmentSealed, now: Instant) -> list[Command]:
        return [*self._note_progress(sealed), *reports.sealed(sealed, now)]

    def _note_progress(self, sealed: on.SegmentSealed) -> list[Command]:
        closing = self._closing.get(sealed.grant_id)
        armed = self._armed.get(sealed.grant_id) or (closing and closing.armed)
        if not armed:  # Left behind by an earlier start of the agent.
            return []
        self._progress[sealed.grant_id] = progress = armed.seal(sealed)
        return [do.PersistProgress(grant_id=sealed.grant_id, progress=progress)]

    # -- ending --------------------------------------------------------------------------------

    def _withdraw(self, withdrawal: on.Withdrawal, now: Instant) -> list[Command]:
        grant_id, authority_id = withdrawal.grant_id, withdrawal.authority_id
        ending = [grant_id] if grant_id in self._armed else []
        if authority_id is not None:
            ending += [
                each
                for each, armed in self._armed.items()
                if armed.grant.authority.id == authority_id and each != grant_id
            ]
        why = _WORDS.get(withdrawal.reason, withdrawal.reason.value)
        commands = self._end_all(ending, why)
        self._waiting.drop(grant_id)
        if authority_id is not None and authority_id not in self._revoked:
            self._revoked.add(authority_id)
            commands.append(do.PersistRevoked(authority_id=authority_id))
        if grant_id not in self._leases.ended:
            self._leases.end(grant_id)
            commands.append(do.PersistEnded(grant_id=grant_id))
        if grant_id not in self._closing and grant_id not in self._answered:
            # It does not run here, and the guard is told so: it waits for that word.
            self._answered.add(grant_id)
            commands += reports.disarmed(grant_id, why, now)
        return commands

    def _trust_arrived(self, arrived: on.TrustArrived, now: Instant) -> list[Command]:
        trust = self._admission.trust
        try:
            if not trust.arrive(arrived.envelopes, now=now.wall):
                return []
        except Refused as refused:
            why = (("reason", refused.reason.value), ("detail", refused.detail))
            return [Log("trust_policy_refused", why, warning=True)]
        self._policy_ends = now.boot_of(self._admission.policy_ends())
        return [
            *self._readmit_all(now),
            do.PersistTrust(version=trust.version, envelopes=trust.envelopes),
            Log("trust_policy", (("version", trust.version),)),
            *self._set_mode(),
        ]

    def _set_mode(self) -> list[Command]:
        """Let the sentry do what the newest trust policy says (rule 10)."""
        before, self._mode = self._mode, self._admission.sentry(self._mode)
        return [do.SetSentryMode(self._mode)] if self._mode is not before else []

    def _look(self, health: Health, now: Instant) -> list[Command]:
        """Take in how the sentry does: what demands more of it ends, and what waited may begin."""
        before, self._admission.enforced = self._admission.enforced, Enforcement(health.enforcement)
        changed = self._admission.enforced is not before
        ended = self._readmit_all(now) if changed else []
        begun = self._retry(self._waiting.all(), now) if changed else []
        return [*ended, *begun, *self._stated.look(health, self._armed, now)]

    def _readmit_all(self, now: Instant) -> list[Command]:
        """Hold everything that is armed against policy and sentry as they are now (rule 6)."""
        commands: list[Command] = []
        for grant_id, armed in tuple(self._armed.items()):
            try:
                self._admission.readmit(
                    armed.evidence, now, admitted=armed.at, ended=self._leases.ended
                )
            except Refused as refused:
                commands += self._end(grant_id, refused.reason.value)
        return commands

    def _end(self, grant_id: str, why: str) -> list[Command]:
        return self._end_all([grant_id], why)

    def _end_all(self, grant_ids: Iterable[str], why: str) -> list[Command]:
        """End what is armed of these, in the order of rule 4; `_closed` says the rest."""
        why = str(why)  # A receipt holds plain words.
        ended = [grant_id for grant_id in grant_ids if grant_id in self._armed]
        for_good = why != Why.AGENT_STOPPED
        let_go: list[Command] = []
        for grant_id in ended:
            let_go += released(self._armed[grant_id])
            self._closing[grant_id] = Closing(armed=self._armed.pop(grant_id), why=why)
            self._watching.end(grant_id)
            if for_good:
                self._leases.end(grant_id)
            else:
                self._leases.put_down(grant_id)
        commands = [*self._settle(), *let_go]
        commands += [do.EndCapture(grant_id=grant_id) for grant_id in ended]
        if for_good:
            commands += [do.PersistEnded(grant_id=grant_id) for grant_id in ended]
        return commands

    def _closed(self, closed: on.CaptureClosed, now: Instant) -> list[Command]:
        grant_id = closed.grant_id
        commands: list[Command] = []
        if grant_id in self._armed:  # The engine gave up by itself.
            commands += self._end(grant_id, Reason.NODE_UNABLE.value)
        closing = self._closing.pop(grant_id, None)
        if closing is None:
            return commands
        self._answered.add(grant_id)
        if closing.for_good and self._progress.pop(grant_id, None) is not None:
            commands.append(do.PersistProgress(grant_id=grant_id, progress=None))
        return [*commands, *reports.closed(closing, closed, now)]

    # -- time and session ----------------------------------------------------------------------

    def _wake_up(self, now: Instant) -> list[Command]:
        commands: list[Command] = []
        for lease in self._leases.lapsed(now.boot_ns):
            commands += self._end(lease.grant_id, lease.lapse.value)
        if self._policy_ends is not None and self._policy_ends <= now.boot_ns:
            self._policy_ends = None
            commands += self._end_all(tuple(self._armed), Reason.TRUST_POLICY_EXPIRED.value)
        commands += self._expire_calls(now)
        commands += self._relayed.wake_up(now)
        commands += self._retry(self._waiting.due(now.boot_ns), now)
        commands += self._stated.wake_up(self._armed, now)
        if self._heartbeat is not None and self._heartbeat <= now.boot_ns:
            self._heartbeat = now.boot_ns + _HEARTBEAT
            commands += [*self._doubt_log(now), self._beat(now)]
        return commands

    def _session_opened(self, now: Instant) -> list[Command]:
        self._clock.forget()
        self._heartbeat = now.boot_ns + _HEARTBEAT
        return [do.ResendReceipts(), self._beat(now)]

    def _beat(self, now: Instant) -> Command:
        return do.SendHeartbeat(wall=now.wall, boot_ns=now.boot_ns, armed=self.armed(now))

    def _settle(self) -> list[Command]:
        return self._watching.settle({lease.grant_id: lease.deadline for lease in self._leases})
