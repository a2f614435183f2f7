"""The guard's use cases on a real ledger, without a network: what their tests work with.

``House`` runs on the memory store or on SQLite, under the deployment's trust policy, with a clock
that only the test moves and a witness in the same process. Use it as an async context manager.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from guard.app.audit import Audit
from guard.app.authorities import Authorities, AuthorityView
from guard.app.captures import Captures, CaptureView
from guard.app.evidence import EvidenceDesk
from guard.app.office import Office
from guard.app.presence import Presence
from guard.app.receipts import Receipts
from guard.app.reconcile import Reconciler
from guard.app.refusals import Refusals
from guard.app.segments import Segments
from guard.app.sweep import Sweep
from guard.app.trust import Trust
from guard.core import envelope as dsse
from guard.core.checkpoint import cosign, parse_checkpoint
from guard.core.decision import CaptureRequest
from guard.core.envelope import Kind
from guard.core.instruments import Instrument
from guard.core.note import Note, parse_note
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, encode_receipt
from guard.core.record import Record
from guard.core.trust import Principal
from guard.log.sequencer import Sequencer
from guard.store.memory import MemoryStore
from guard.store.shelf import FileShelf
from guard.store.sqlite import SqliteStore
from tests.builders.deployment import LOG_NAME, WITNESS_NAME, Deployment, sign
from tests.builders.healths import OBSERVING

__all__ = ["FakeClock", "House", "NodeHand"]


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


class SystemEntropy:
    """Real chance."""

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def new_salt(self) -> bytes:
        return os.urandom(32)


class WitnessesThere:
    """A quorum that answers, or is told not to."""

    def __init__(self) -> None:
        self.there = True

    async def reached(self) -> bool:
        return self.there


class House:
    """See the module's docstring."""

    def __init__(self, folder: Path, store: str = "memory", site: Deployment | None = None) -> None:
        self.site = site or Deployment()
        self.clock = FakeClock(self.site.now)
        self.store = MemoryStore() if store == "memory" else SqliteStore(folder / "guard.db")
        self.ledger = Sequencer(self.store, origin=LOG_NAME, key=self.site.log_key)
        self.office = Office(
            ledger=self.ledger,
            clock=self.clock,
            entropy=SystemEntropy(),
            signer=self.site.guard.signer,
            trusted=self.site.trusted,
        )
        self.presence = Presence()
        self.quorum = WitnessesThere()
        self.folder = folder
        self.shelf = FileShelf(folder / "segments")
        self.authorities = Authorities(self.office)
        self.captures = Captures(self.office, self.presence, self.quorum)
        self.receipts = Receipts(self.office)
        self.segments = Segments(self.office, self.shelf)
        self.desk = EvidenceDesk(self.office)
        self.sweep = Sweep(self.office, self.presence, "guard-1", self.quorum)
        self.trust = Trust(self.office)
        self.audit = Audit(self.office)
        self.reconciler = Reconciler(self.office)
        self.refusals = Refusals(self.office)

    async def __aenter__(self) -> Self:
        await self.trust.adopt_at_start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.ledger.close()
        self.store.close()

    @property
    def auditor(self) -> Principal:
        return self.site.principal("auditor-1")

    # --- people -------------------------------------------------------------------------------

    async def register(self, envelope: bytes, by: str | None = None) -> AuthorityView:
        """Register as the registrant, or as somebody else."""
        authority = self.office.readings.authority(envelope)
        return await self.authorities.register(
            envelope,
            self.site.principal(by or authority.registrant),
            ticket=not authority.is_warrant,
        )

    async def sign(self, view: AuthorityView, by: str, *, hand: str | None = None) -> AuthorityView:
        """Sign as ``by``; ``hand`` signs in place of them with its own key."""
        envelope = dsse.parse(view.row.envelope, Kind.AUTHORITY)
        made = self.site.people[hand or by].signer.sign(dsse.pae(envelope))
        signature = dsse.Signature(keyid=made.keyid, sig=bytes.fromhex(made.signature))
        return await self.authorities.add_signature(view.row.id, signature, self.site.principal(by))

    async def approved(self, instrument: Instrument = Instrument.TICKET, **made: Any) -> str:
        """Register an authority and have it approved; return its id."""
        authority = self.site.authority(instrument, **made)
        view = await self.register(self.site.register(authority))
        second = "lead-1" if authority.registrant == "operator-1" else "legal-2"
        return (await self.sign(view, second)).row.id

    def wish(self, authority_id: str, **changes: Any) -> CaptureRequest:
        """Make operator-1's request for a capture on node-1."""
        by = changes.pop("by", "operator-1")
        wished: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "principal": self.site.principal(by),
            "authority_id": authority_id,
            "node": "node-1",
            "level": None,
        }
        return CaptureRequest(**(wished | changes))

    async def capture(self, authority_id: str, **changes: Any) -> CaptureView:
        return await self.captures.request(self.wish(authority_id, **changes))

    # --- the nodes ----------------------------------------------------------------------------

    async def answer(self, hand: NodeHand, **changes: Any) -> None:
        """Ask a node a challenge; let it prove its doors, change in health, and say so."""
        await self.reconciler.look()
        nonce = self.reconciler.challenge(hand.name, begin=True)
        assert nonce is not None
        hand.health = replace(hand.health, challenge=nonce.hex(), **changes)
        await self.state(hand)

    async def state(self, hand: NodeHand, **changes: Any) -> None:
        """Let a node state that nothing is armed, and its health; then look."""
        hand.health = replace(hand.health, **changes)
        said = hand.heartbeat(time=self.clock.now())
        await self.receipts.take(said, hand.identity)
        await self.reconciler.look()

    # --- the log ------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Return the whole log."""
        with self.ledger.reads() as view:
            return [entry.record() for entry in view.entries(0, view.size())]

    def records_kept(self) -> list[Record]:
        """Return what of the log is not erased."""
        with self.ledger.reads() as view:
            every = view.entries(0, view.size())
        return [entry.record() for entry in every if not entry.erased]

    def kinds(self) -> list[str]:
        return [str(record.kind) for record in self.records()]

    async def cosign(self, key: Any = None) -> None:
        """Have the witness cosign the newest checkpoint."""
        with self.ledger.reads() as view:
            checkpoint = view.checkpoint()
        assert checkpoint is not None
        note = parse_note(checkpoint)
        line = cosign(note, WITNESS_NAME, key or self.site.witness_key, self.clock.now())
        signed = Note(text=note.text, signatures=(*note.signatures, line))
        await self.ledger.store_cosigned(signed.encode(), size=parse_checkpoint(checkpoint).size)
        self.office.bell.ring_all()


class NodeHand:
    """A node's receipts, chained and signed as its agent does it."""

    def __init__(self, site: Deployment, name: str = "node-1") -> None:
        self.site, self.name = site, name
        self.sequence, self.previous = 0, FIRST_PREVIOUS
        self.signer = site.nodes[name].signer
        self.health = OBSERVING

    @property
    def identity(self) -> Any:
        return self.site.policy.node(self.name)

    def receipt(
        self,
        grant_id: str | None,
        kind: ReceiptKind = ReceiptKind.ARMED,
        *,
        armed: tuple[str, ...] | None = None,
        time: datetime | None = None,
        **details: str | int,
    ) -> bytes:
        """Make the next receipt; ``armed`` is a heartbeat's list."""
        if armed is not None:
            details["armed"] = len(armed)
        self.sequence += 1
        made = Receipt(
            node=self.name,
            sequence=self.sequence,
            previous=self.previous,
            kind=kind,
            time=time or self.site.now,
            grant_id=grant_id,
            details=details,
            armed=tuple(sorted(armed or ())),
            health=self.health if kind is ReceiptKind.HEARTBEAT else None,
        )
        envelope = sign(encode_receipt(made), Kind.RECEIPT, [self.signer])
        self.previous = dsse.digest(envelope)
        return envelope

    def heartbeat(self, *armed: str, time: datetime | None = None, every: int = 180) -> bytes:
        """Make a heartbeat receipt that names these grants."""
        return self.receipt(
            None,
            ReceiptKind.HEARTBEAT,
            armed=armed,
            time=time,
            every=every,
            part=1,
            parts=1,
        )

    def sealed(self, grant_id: str, number: int, data: bytes, **changes: Any) -> bytes:
        """Make the receipt of a segment."""
        details: dict[str, Any] = {
            "number": number,
            "sha256": dsse.digest(data),
            "size": len(data),
            "packets": 3,
            "bytes": 300,
            "drops": 0,
            "first": "2026-11-23T22:00:00Z",
            "last": "2026-11-23T22:00:01Z",
        }
        return self.receipt(grant_id, ReceiptKind.SEALED, **(details | changes))
