"""A log written line by line for reconciliation, without keys: what its tests tell stories with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from guard.core import envelope as dsse
from guard.core.enforcement import SentryMode
from guard.core.fields import encode_base64, format_time
from guard.core.findings import Finding
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, encode_receipt
from guard.core.reconciliation import Reconciliation
from guard.core.record import Record, RecordKind
from tests.builders.deployment import NOW, Deployment
from tests.builders.healths import OBSERVING

__all__ = ["AUTHORITY", "EVERY", "LEASE", "Hand", "Logbook"]

SITE = Deployment()
AUTHORITY = "6c1f2d8e-94a5-4e0b-8d5f-1b2a3c4d5e6f"
LEASE = 30
EVERY = 180
KINDS = {
    ReceiptKind.ARMED: RecordKind.CAPTURE_ARMED,
    ReceiptKind.DISARMED: RecordKind.CAPTURE_DISARMED,
    ReceiptKind.SEALED: RecordKind.SEGMENT_SEALED,
    ReceiptKind.REFUSED: RecordKind.CAPTURE_REFUSED,
    ReceiptKind.NOTHING_CAPTURED: RecordKind.NOTHING_CAPTURED,
    ReceiptKind.INCIDENT: RecordKind.INCIDENT,
    ReceiptKind.HEARTBEAT: RecordKind.NODE_HEARTBEAT,
}


class Logbook:
    """The log and its clock; what the guard finds is put on record by ``look``."""

    def __init__(self) -> None:
        self.now = NOW
        self.entries: list[Record | None] = []
        self.books = Reconciliation()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def write(self, kind: RecordKind, **body: Any) -> None:
        record = Record(kind=kind, time=self.now, body=body, salt=bytes(32))
        self.books.apply(len(self.entries), record)
        self.entries.append(record)

    def policy(self, *names: str, sentry: SentryMode = SentryMode.OBSERVE) -> None:
        """Let a trust policy name these nodes."""
        found = (SITE.policy.node(name) for name in names)
        nodes = tuple(replace(node, sentry=sentry) for node in found if node is not None)
        made = SITE.sign_policy(replace(SITE.policy, nodes=nodes))
        digest = dsse.digest(made)
        self.write(
            RecordKind.TRUST_POLICY_CHANGED,
            by="guard-1",
            version=1,
            policy_digest=digest,
            envelope=encode_base64(made),
        )

    def grant(self, node: str = "node-1", *, after: float = 0, lasts: float = 86_400) -> str:
        """Grant a capture, to begin ``after`` seconds and last so many."""
        grant_id = str(uuid.uuid4())
        begins = self.now + timedelta(seconds=after)
        self.write(
            RecordKind.CAPTURE_GRANTED,
            grant_id=grant_id,
            grant_digest="1" * 64,
            authority_id=AUTHORITY,
            authority_digest="2" * 64,
            node=node,
            level="content",
            principal="legal-1",
            started_by="guard-1",
            request_id=str(uuid.uuid4()),
            signers=["legal-1", "legal-2"],
            provisional=False,
            not_before=format_time(begins),
            not_after=format_time(begins + timedelta(seconds=lasts)),
            lease_seconds=LEASE,
        )
        return grant_id

    def stop(self, grant_id: str, node: str = "node-1") -> None:
        self.write(
            RecordKind.CAPTURE_STOPPED,
            grant_id=grant_id,
            authority_id=AUTHORITY,
            node=node,
            by="legal-1",
            why="stopped",
        )

    def store(self, grant_id: str, number: int) -> None:
        self.write(
            RecordKind.SEGMENT_STORED,
            grant_id=grant_id,
            number=number,
            size=10,
            sha256="3" * 64,
            receipt_digest="4" * 64,
        )

    def look(self) -> tuple[list[Finding], list[str]]:
        """Put on record what is new; return it, and the keys of what was closed."""
        made, closed = self.books.news(self.now)
        for finding in made:
            self.write(RecordKind.FINDING, **finding.body())
        for key, what in closed.items():
            self.write(RecordKind.FINDING_CLOSED, key=key, what=what)
        return made, list(closed)

    def found(self) -> list[str]:
        """Look; return the kinds of what is new."""
        return [finding.kind.value for finding in self.look()[0]]

    def restart(self, *, away: float = 0) -> None:
        """Let the guard be away, and start again from the log."""
        self.wait(away)
        self.books = self.replayed()
        self.books.listen_from(self.now)

    def replayed(self) -> Reconciliation:
        books = Reconciliation()
        for index, record in enumerate(self.entries):
            if record is not None:
                books.apply(index, record)
        return books


class Hand:
    """A node's receipts in their chain; while ``cut`` they are kept and not delivered."""

    def __init__(self, log: Logbook, name: str = "node-1") -> None:
        self.log, self.name = log, name
        self.sequence, self.previous = 0, FIRST_PREVIOUS
        self.cut = False
        self.health = OBSERVING
        self.kept: list[tuple[RecordKind, dict[str, Any]]] = []

    def say(
        self,
        kind: ReceiptKind,
        grant_id: str | None = None,
        *,
        details: Mapping[str, str | int] | None = None,
        armed: Sequence[str] = (),
        **more: str | int,
    ) -> None:
        """Make the next receipt, and deliver it unless the node is cut off."""
        said = details or more
        self.sequence += 1
        receipt = Receipt(
            node=self.name,
            sequence=self.sequence,
            previous=self.previous,
            kind=kind,
            time=self.log.now,
            grant_id=grant_id,
            details=said,
            armed=tuple(sorted(armed)),
            health=self.health if kind is ReceiptKind.HEARTBEAT else None,
        )
        unsigned = dsse.Envelope(
            payload=encode_receipt(receipt), kind=dsse.Kind.RECEIPT, signatures=()
        )
        envelope = dsse.encode(unsigned)
        self.previous = dsse.digest(envelope)
        body = {
            "node": self.name,
            "node_time": format_time(receipt.time),
            "previous": receipt.previous,
            "receipt": encode_base64(envelope),
            "receipt_digest": self.previous,
            "sequence": receipt.sequence,
            "details": dict(said),
        }
        self.kept.append((KINDS[kind], body))
        if not self.cut:
            self.deliver()

    def deliver(self) -> None:
        """Bring the guard everything that is kept."""
        self.cut = False
        for kind, body in self.kept:
            self.log.write(kind, **body)
        self.kept.clear()

    def beat(
        self,
        *armed: str,
        every: int = EVERY,
        part: int = 1,
        parts: int = 1,
        total: int = -1,
        **about: str,
    ) -> None:
        total = len(armed) if total < 0 else total
        details = {"every": every, "armed": total, "part": part, "parts": parts} | about
        self.say(ReceiptKind.HEARTBEAT, armed=armed, details=details)

    def answer(self, *armed: str, every: int = EVERY) -> None:
        """Be asked a challenge, prove the doors, and say so."""
        sentry = self.log.books.sentry(self.name)
        assert sentry is not None
        challenge = uuid.uuid4().hex * 2
        sentry.ask(challenge, self.log.now)
        self.health = replace(self.health, challenge=challenge)
        self.beat(*armed, every=every)

    def arm(self, grant_id: str) -> None:
        self.say(ReceiptKind.ARMED, grant_id)

    def disarm(self, grant_id: str, reason: str = "stopped") -> None:
        self.say(ReceiptKind.DISARMED, grant_id, reason=reason)

    def seal(self, grant_id: str, number: int) -> None:
        self.say(
            ReceiptKind.SEALED,
            grant_id,
            number=number,
            sha256="3" * 64,
            size=10,
            packets=1,
            bytes=9,
            drops=0,
            first=format_time(self.log.now),
            last=format_time(self.log.now),
        )
