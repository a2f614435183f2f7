"""The one driver: applies events to the rules, one by one, and carries out what they command.

1. Commands are carried out in the order given. What goes to disk and what is sent goes through one
   journal, in that order: nothing is sent before what comes before it is durable. The kernel and
   the engine wait for no disk.
2. A receipt is numbered, signed and on disk before it is sent; the receipt of a segment is also
   kept beside it, as long as the node has the segment.
3. A failure here (the memory cannot be written, a map cannot be cleared) is the agent's end, not a
   line in the log: without its record nothing is captured.
4. Everything here runs on the event loop's thread. The engine's threads hand their outcomes over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

import structlog
from securesystemslib.signer import Signer

from agents.capture import outcomes
from agents.capture.outcomes import Outcome, SealedSegment
from agents.capture.spool import Spool
from agents.clock import Clock
from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Command
from agents.core.decision import Deny, Permit, Question, decide
from agents.core.events import Event
from agents.core.health import Lookout
from agents.core.instant import NANOSECONDS
from agents.core.node import Node
from agents.core.receipts import Chain, Draft, Link
from agents.hands import Hands, Manual
from agents.journal import Journal
from agents.session.client import Session, Standing
from agents.session.uploads import Upload
from agents.state import Kept, StateDir
from guard.core import envelope
from guard.core.receipt import ReceiptKind, encode_receipt

__all__ = ["Driver", "Parts"]

Persist = (
    do.PersistTrust | do.PersistEnded | do.PersistRevoked | do.PersistClock | do.PersistProgress
)
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the driver works with.

    ``session_of`` makes the session that the driver serves, ``recorder_of`` the gate of the node's
    media relay; None for a node without one, whose rules then never ask for it. ``sentry_of`` makes
    the node's sentry, which runs from when the composition root starts it.
    """

    node: Node
    chain: Chain
    signer: Signer
    state: StateDir
    spool: Spool
    hands: Hands
    clock: Clock
    log: structlog.typing.FilteringBoundLogger
    session_of: Callable[[Driver], Session]
    sentry_of: Callable[[Driver], Lookout]
    recorder_of: Callable[[Driver], Recorder] | None = None


class Recorder(Protocol):
    """What records calls through the media relay; `agents.recorder.gate.Gate` is it."""

    def record(self, call_id: str, grant_id: str) -> None:
        """Let a live content grant have a call."""

    def release(self, call_id: str, grant_id: str) -> None:
        """Let a grant have a call no more."""


class Driver:
    """See the module's docstring. ``on_failure`` is told of what ends the agent (rule 3)."""

    def __init__(self, parts: Parts, *, on_failure: Callable[[BaseException], None]) -> None:
        self._node = parts.node
        self._chain = parts.chain
        self._signer = parts.signer
        self._state = parts.state
        self._spool = parts.spool
        self._hands = parts.hands
        self._clock = parts.clock
        self._log = parts.log
        self._on_failure = on_failure
        self._events: deque[Event] = deque()
        self._applying = False
        self._timer: asyncio.TimerHandle | None = None
        self._counted_at = 0
        self._segments: dict[_Key, SealedSegment] = {}
        self._segment_receipts: dict[_Key, bytes] = {}
        self._over: set[str] = set()
        self._unsealed: set[str] = set()
        self._journal = Journal(on_failure=on_failure)
        self._durable = self._chain.sequence
        self.session = parts.session_of(self)
        self._recorder = parts.recorder_of(self) if parts.recorder_of is not None else None
        self._sentry = parts.sentry_of(self)

    # -- what the session asks and tells (`agents.session.client.Rules`) ------------------------

    def standing(self) -> Standing:
        """Say where the agent stands."""
        return Standing(
            revision=self._node.revision,
            trust_version=self._node.trust_version,
            receipt_sequence=self._chain.sequence,
        )

    def happened(self, event: Event) -> None:
        """Apply an event, and everything that follows from it."""
        self._events.append(event)
        if self._applying:
            return
        self._applying = True
        try:
            while self._events:
                for command in self._node.handle(self._events.popleft(), self._clock.now()):
                    self._carry_out(command)
        finally:
            self._applying = False
            self._events.clear()
        self._set_timer()

    def decide(self, question: Question, *, node: str) -> Permit | Deny:
        """Say whether a recorder may record a call."""
        return decide(question, self._node.covers(), node=node, now=self._clock.now())

    def log(self, event: str, **fields: str | int) -> None:
        """Tell the operator of the node."""
        self._log.info(event, **fields)

    # -- what happens beside the session ---------------------------------------------------------

    def take_up(self, kept: Kept) -> None:
        """Begin, with what an earlier start left in the spool, with or without a receipt."""
        self._over = set(kept.ended)
        self._segment_receipts = dict(kept.segments)
        for lost in self._spool.lost:
            self._log.warning(
                "segment_lost", grant=lost.grant_id, number=lost.number, why=lost.loss.value
            )
        for segment in self._spool.waiting():
            key = (segment.grant_id, segment.number)
            if key in self._segment_receipts:
                self._segments[key] = segment
                self._offer(key)
            else:
                self.outcome(outcomes.SegmentSealed(segment=segment))
        for key in set(self._segment_receipts) - set(self._segments):
            del self._segment_receipts[key]
            self._state.forget_segment(*key)
        self.happened(on.Started())

    def outcome(self, outcome: Outcome) -> None:
        """Take an outcome of the engine."""
        match outcome:
            case outcomes.SegmentSealed(segment=segment):
                self._segments[segment.grant_id, segment.number] = segment
                self.happened(_sealed(segment))
            case outcomes.CaptureFailed(grant_id=grant_id, failure=failure, detail=detail):
                self.happened(on.CaptureFailed(grant_id=grant_id, detail=f"{failure}: {detail}"))
            case outcomes.LimitReached(grant_id=grant_id):
                self.happened(on.LimitReached(grant_id=grant_id))
            case outcomes.CaptureClosed(grant_id=grant_id, totals=totals):
                self._unsealed.discard(grant_id)
                self.happened(
                    on.CaptureClosed(
                        grant_id=grant_id,
                        packets=totals.packets,
                        bytes=totals.bytes,
                        drops=totals.drops,
                    )
                )
                self._tidy(grant_id)
            case _:
                assert_never(outcome)

    def status(self) -> dict[str, Any]:
        """Say what runs, without a subject."""
        now = self._clock.now()
        return {
            "session": self.session.open,
            "trust_version": self._node.trust_version,
            "revision": self._node.revision,
            "clock": self._node.doubt(now) or "good",
            "armed": [
                {
                    "grant": each.grant_id,
                    "level": each.level.value,
                    "calls": each.calls,
                    "packets": each.packets,
                    "bytes": each.bytes,
                    "drops": each.drops,
                    "lease_until": each.lease_until.isoformat(timespec="seconds"),
                }
                for each in self._node.armed(now)
            ],
            "receipts_waiting": len(self._chain.unaccepted),
            "segments_waiting": len(self._segments),
            "spool_bytes": self._spool.used,
        }

    @property
    def at_rest(self) -> bool:
        """Whether nothing is armed, sealed, or waiting for a guard that is there to take it."""
        waiting = self.session.open and self._chain.unaccepted
        return self._node.idle and self._journal.empty and not waiting

    @property
    def disarmed(self) -> bool:
        """Whether nothing is armed or being sealed."""
        return self._node.idle

    def stop_timer(self) -> None:
        """Wake up no more."""
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Bring everything to disk that is on its way there. Blocks."""
        self._journal.close()

    # -- time ------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        self.stop_timer()
        due, now = self._node.next_deadline(), self._clock.now().boot_ns
        seconds = 1.0 if due is None else min(1.0, max(0.0, (due - now) / NANOSECONDS))
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wake_up)

    def _wake_up(self) -> None:
        try:
            now = self._clock.now().boot_ns
            if now - self._counted_at >= NANOSECONDS // 2:
                self._counted_at = now
                self._count()
            due = self._node.next_deadline()
            if due is not None and due <= now:
                self.happened(on.WakeUp())
            else:
                self._set_timer()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._on_failure(error)

    def _count(self) -> None:
        for grant_id in self._hands.open:
            packets, octets, drops = self._hands.counters(grant_id)
            self.happened(on.Counted(grant_id=grant_id, packets=packets, bytes=octets, drops=drops))

    # -- commands --------------------------------------------------------------------------------

    def _carry_out(self, command: Command) -> None:  # noqa: C901 - one case per command
        match command:
            case do.SendReceipt(draft=draft):
                self._send_receipt(draft)
            case do.ResendReceipts():
                self._journal.put(None, self._resend)
            case do.ForgetReceipts(sequence=sequence):
                self._chain.accepted(sequence)
                self._journal.put(partial(self._state.forget_receipts, sequence))
            case do.SendHeartbeat():
                self.session.send_heartbeat(command)
            case do.OfferSegment(grant_id=grant_id, number=number):
                self._journal.put(None, partial(self._offer, (grant_id, number)))
            case do.DeleteSegment(grant_id=grant_id, number=number):
                self._delete((grant_id, number))
            case do.Log(event=event, fields=fields, warning=warning):
                (self._log.warning if warning else self._log.info)(event, **dict(fields))
            case (
                do.PersistTrust()
                | do.PersistEnded()
                | do.PersistRevoked()
                | do.PersistClock()
                | do.PersistProgress()
            ):
                self._persist(command)
            case do.RecordCall() | do.ReleaseCall():
                self._use_recorder(command)
            case do.SetSentryMode(mode=mode):
                self._sentry.set_mode(mode)
            case do.ProveDoors(challenge=challenge):
                self._sentry.prove(challenge)
            case _:
                self._use_hands(command)

    def _persist(self, command: Persist) -> None:
        match command:
            case do.PersistTrust(envelopes=envelopes):
                self._journal.put(partial(self._state.put_trust, envelopes))
            case do.PersistEnded(grant_id=grant_id):
                self._over.add(grant_id)
                self._journal.put(partial(self._state.put_ended, grant_id))
            case do.PersistRevoked(authority_id=authority_id):
                self._journal.put(partial(self._state.put_revoked, authority_id))
            case do.PersistClock(wall=wall):
                self._journal.put(partial(self._state.put_latest, wall))
            case do.PersistProgress(grant_id=grant_id, progress=progress):
                self._journal.put(partial(self._state.put_progress, grant_id, progress))
            case _:
                assert_never(command)

    def _use_recorder(self, command: do.RecordCall | do.ReleaseCall) -> None:
        if self._recorder is None:
            raise RuntimeError("a node without a relay was asked to record through it")
        match command:
            case do.RecordCall(grant=grant, call_id=call_id):
                self._recorder.record(call_id, grant.grant.id)
            case do.ReleaseCall(grant_id=grant_id, call_id=call_id):
                self._recorder.release(call_id, grant_id)

    def _use_hands(self, command: Manual) -> None:
        self._events.extend(self._hands.carry_out(command))
        if isinstance(command, do.OpenCapture):
            self._unsealed |= {command.grant.grant.id} & self._hands.open

    def _send_receipt(self, draft: Draft) -> None:
        receipt = self._chain.next(draft)
        signed = envelope.encode(
            envelope.sign(encode_receipt(receipt), envelope.Kind.RECEIPT, self._signer)
        )
        link = self._chain.add(signed)
        self._journal.put(partial(self._state.put_receipt, link), partial(self._send, link))
        if draft.kind is ReceiptKind.SEALED and draft.grant_id is not None:
            key = (draft.grant_id, int(draft.details["number"]))
            self._segment_receipts[key] = signed
            self._journal.put(partial(self._state.put_segment, *key, signed))

    def _send(self, link: Link) -> None:
        self._durable = link.sequence
        self.session.send_receipt(link.envelope)

    def _resend(self) -> None:
        # Those that are not durable yet follow by themselves.
        durable = [link for link in self._chain.unaccepted if link.sequence <= self._durable]
        self.session.resend([link.envelope for link in durable])

    # -- segments --------------------------------------------------------------------------------

    def _offer(self, key: _Key) -> None:
        segment = self._segments.get(key)
        if segment is None:
            return
        self.session.offer(
            Upload(
                grant_id=segment.grant_id,
                number=segment.number,
                path=segment.path,
                size=segment.size,
                sha256=bytes.fromhex(segment.sha256),
                receipt=self._segment_receipts[key],
            )
        )

    def _delete(self, key: _Key) -> None:
        if self._segments.pop(key, None) is None:
            return  # Said twice, or of a segment that is not ours.
        self._segment_receipts.pop(key, None)
        self._spool.stored(*key)
        self._journal.put(partial(self._state.forget_segment, *key))
        self._tidy(key[0])

    def _tidy(self, grant_id: str) -> None:
        """Remove the folder of a grant that has ended and of which nothing is left.

        Not before the engine's last word: until then it may begin another segment there.
        """
        waiting = any(grant == grant_id for grant, _ in self._segments)
        if grant_id in self._over and grant_id not in self._unsealed and not waiting:
            self._spool.forget(grant_id)


def _sealed(segment: SealedSegment) -> on.SegmentSealed:
    return on.SegmentSealed(
        grant_id=segment.grant_id,
        number=segment.number,
        sha256=segment.sha256,
        size=segment.size,
        packets=segment.packets,
        bytes=segment.bytes,
        drops=segment.drops,
        first=segment.first,
        last=segment.last,
    )
