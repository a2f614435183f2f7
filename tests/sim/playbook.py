"""A node's rules under a script: events told at chosen moments, commands looked at.

``Playbook`` holds a whole deployment with its keys, a clock that only the script moves, and what a
driver would have kept on disk, so that `restart` starts the node from it as a real start does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from agents.core import commands as do
from agents.core import events as on
from agents.core.armed import Memory
from agents.core.commands import Command, Progress
from agents.core.events import Event
from agents.core.instant import NANOSECONDS, Instant
from agents.core.node import Node
from agents.core.receipts import Chain
from agents.core.trustchain import TrustChain
from guard.core.envelope import Kind, parse
from guard.core.evidence import Evidence
from guard.core.grant import parse_grant
from guard.core.instruments import Instrument
from guard.core.receipt import ReceiptKind, encode_receipt
from tests.builders.deployment import Deployment, sign

Kept = TypeVar("Kept", bound=Command)

BOOT = 1_000_000 * NANOSECONDS


def grant_id(evidence: Evidence) -> str:
    """Return the id of the grant in the evidence."""
    return parse_grant(parse(evidence.grant, Kind.GRANT).payload).id


class Playbook:
    """One node; `told` is every command since the start of the script."""

    def __init__(
        self,
        made: Deployment | None = None,
        *,
        trusted: bool = True,
        relay: bool = False,
        through_relay: bool = True,
    ) -> None:
        self.made = made or Deployment()
        self.relay, self.through_relay = relay, through_relay
        self.boot_ns = BOOT
        self.step = timedelta()
        self.told: list[Command] = []
        self.trust: tuple[bytes, ...] = (self.made.policy_envelope,) if trusted else ()
        self.ended: set[str] = set()
        self.revoked: set[str] = set()
        self.progress: dict[str, Progress] = {}
        self.latest: datetime | None = None
        self.chain = Chain("node-1")
        self.node = self._start()

    def _start(self) -> Node:
        memory = Memory(
            ended=frozenset(self.ended),
            revoked=frozenset(self.revoked),
            progress=dict(self.progress),
            latest=self.latest,
        )
        return Node(
            "node-1",
            [self.made.nodes["node-1"].identity],
            TrustChain(self.made.pinned, self.trust),
            memory,
            start=self.now,
            relay=self.relay,
            through_relay=self.through_relay,
        )

    @property
    def now(self) -> Instant:
        """The moment of the script; ``step`` is how far the wall clock was set."""
        passed = timedelta(microseconds=(self.boot_ns - BOOT) // 1000)
        return Instant(boot_ns=self.boot_ns, wall=self.made.now + passed + self.step)

    @property
    def guard_now(self) -> datetime:
        """The guard's clock, which nobody set."""
        return self.now.wall - self.step

    def restart(self) -> None:
        """Kill the node and start it again from what was kept."""
        self.node = self._start()

    def tell(self, event: Event) -> list[Command]:
        """Tell one event and return the commands that it gave."""
        commands = self.node.handle(event, self.now)
        for command in commands:
            self._keep(command)
        self.told += commands
        return commands

    def _keep(self, command: Command) -> None:
        match command:
            case do.SendReceipt(draft=draft):
                payload = encode_receipt(self.chain.next(draft))
                self.chain.add(sign(payload, Kind.RECEIPT, [self.made.nodes["node-1"].signer]))
            case do.PersistTrust(envelopes=envelopes):
                self.trust = envelopes
            case do.PersistEnded(grant_id=grant):
                self.ended.add(grant)
            case do.PersistRevoked(authority_id=authority):
                self.revoked.add(authority)
            case do.PersistClock(wall=wall):
                self.latest = wall
            case do.PersistProgress(grant_id=grant, progress=None):
                self.progress.pop(grant, None)
            case do.PersistProgress(grant_id=grant, progress=progress) if progress:
                self.progress[grant] = progress
            case _:
                pass

    def wait(self, seconds: float) -> list[Command]:
        """Let time pass as the driver does: awake at each deadline, and only then."""
        end, commands = self.boot_ns + round(seconds * 1_000_000) * 1000, []
        while (due := self.node.next_deadline()) is not None and due <= end:
            self.boot_ns = max(self.boot_ns, due)
            commands += self.tell(on.WakeUp())
            after = self.node.next_deadline()
            assert after is None or after > self.boot_ns, "what is due was not done"
        self.boot_ns = end
        return commands

    def session(self) -> list[Command]:
        """Open a session in which the guard says its time."""
        return [*self.tell(on.SessionOpened()), *self.speak()]

    def speak(self) -> list[Command]:
        """Let the guard say its time."""
        return self.tell(on.GuardTime(guard_time=self.guard_now))

    def renew(self, *evidence: Evidence) -> list[Command]:
        """Let the guard renew the leases of these."""
        ids = tuple(map(grant_id, evidence))
        return self.tell(on.LeaseRenewed(grant_ids=ids, guard_time=self.guard_now))

    def offer(self, *evidence: Evidence, revision: int = 1) -> list[Command]:
        """Let the guard offer grants."""
        return self.tell(on.StateDelta(revision=revision, offered=evidence))

    def evidence(self, instrument: Instrument = Instrument.TICKET, **changes: Any) -> Evidence:
        """Make evidence that every rule admits, of an authority with these fields changed."""
        return self.made.evidence(self.made.approved(instrument, **changes))

    def armed(self, instrument: Instrument = Instrument.TICKET, **changes: Any) -> Evidence:
        """Open a session and arm a grant of such an authority."""
        if self.node.next_deadline() is None or not self.of(do.SendHeartbeat):
            self.session()
        evidence = self.evidence(instrument, **changes)
        assert kinds(self.offer(evidence))[:1] == [do.OpenCapture]
        return evidence

    def close(self, evidence: Evidence, *, packets: int = 0, octets: int = 0) -> list[Command]:
        """Let the engine say that it has closed a capture."""
        return self.tell(
            on.CaptureClosed(grant_id=grant_id(evidence), packets=packets, bytes=octets, drops=0)
        )

    def of(self, kind: type[Kept]) -> list[Kept]:
        """Return every command of a kind since the start of the script."""
        return of(self.told, kind)

    def receipts(self) -> list[tuple[ReceiptKind, str]]:
        """Return kind and reason (or nothing) of every receipt since the start."""
        return receipts(self.told)

    def new_policy(self, **changes: Any) -> list[Command]:
        """Let the guard bring the next trust policy, with these fields changed."""
        policy = replace(self.made.policy, version=self.made.policy.version + 1, **changes)
        self.made.policy = policy
        return self.tell(on.TrustArrived(envelopes=(self.made.sign_policy(policy),)))


def kinds(commands: list[Command]) -> list[type[Command]]:
    """Return the commands' kinds."""
    return [type(command) for command in commands]


def of(commands: list[Command], kind: type[Kept]) -> list[Kept]:
    """Return the commands of one kind."""
    return [command for command in commands if isinstance(command, kind)]


def receipts(commands: list[Command]) -> list[tuple[ReceiptKind, str]]:
    """Return kind and reason (or nothing) of each receipt."""
    drafts = [command.draft for command in of(commands, do.SendReceipt)]
    return [(draft.kind, str(draft.details.get("reason", ""))) for draft in drafts]
