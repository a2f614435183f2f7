"""The second question: did this authority end when it should.

1. Its end is that of its window (an emergency under one signature: 48 hours), or its revocation,
   whichever is earlier.
2. A node that is cut off when an authority is revoked goes on for its lease at the most. So the
   last packet may be that much later than the record of the revocation, and no later. Times of
   nodes may differ from the guard's by what the trust policy lets clocks differ. Of a node whose
   clock had gone back, only what the guard had by then is known to have been in time.
3. It is shown to have ended when each of its captures has: the node disarmed it, refused it, or
   says in its next whole heartbeats that it is not armed; no packet, no arming and no heartbeat
   that names it is later; and no receipt is missing in between.
4. Before its end it is still running, and after it too early to tell for as long as its nodes have
   to say that it is over: to the last moment for a packet, and from there to the heartbeat that
   they promised. Neither is a discrepancy; ``tellable`` says from when on it can be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guard.core.answers import Discrepancy, DiscrepancyKind, Verdict, in_order
from guard.core.bounds import misplaced
from guard.core.chains import NodeChain, Statement
from guard.core.facts import Granted
from guard.core.fields import format_time
from guard.core.history import History
from guard.core.instruments import EMERGENCY_UNSIGNED
from guard.core.interceptions import traffic
from guard.core.receipt import ReceiptKind
from guard.core.silence import GRACE
from guard.core.stories import AuthorityStory, CaptureStory

__all__ = ["EndedCapture", "Ending", "ending"]

_ENDS: Final = frozenset({ReceiptKind.DISARMED, ReceiptKind.REFUSED})
_RUNS: Final = {
    ReceiptKind.ARMED: DiscrepancyKind.ARMED_AFTER_END,
    ReceiptKind.HEARTBEAT: DiscrepancyKind.LISTED_AFTER_END,
}
_RELEVANT: Final = frozenset(
    {
        DiscrepancyKind.AUTHORITY_ENDED,
        DiscrepancyKind.RECEIPT_FORGED,
        DiscrepancyKind.SEGMENT_WITHOUT_RECEIPT,
        DiscrepancyKind.ANOTHER_NODE,
    }
)
"""What of a capture's other discrepancies leaves its end in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCapture:
    """One capture: when and why its node ended it, None while the records do not tell."""

    grant_id: str
    node: str
    ended: datetime | None
    why: str
    last_packet: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The answer. ``end`` and ``why`` are of rule 1; None for an authority that is not there.

    ``tellable`` is of rule 4, None when it can be told now.
    """

    authority_id: str
    reference: str | None
    instrument: str | None
    end: datetime | None
    why: str
    verdict: Verdict
    tellable: datetime | None
    captures: tuple[EndedCapture, ...]
    discrepancies: tuple[Discrepancy, ...]


def ending(history: History, authority_id: str, *, now: datetime) -> Ending:
    """Say whether the authority ended when it should, and what shows that it did not."""
    story = history.authorities.get(authority_id)
    end = None if story is None else _end(story)
    if story is None or story.authority is None or end is None:
        return _unknown(history, authority_id)
    captures = list(_captures(history, authority_id, end))
    found = [*history.discrepancies, *story.flaws]
    waited = [each.due for each in captures if each.ended is None and now <= each.due]
    for each in captures:
        found += each.passed()
        if each.ended is None and each.due < now:
            found.append(each.missing())
    tellable = max([end.at, *waited])
    early = Verdict.STILL_RUNNING if now < end.at else Verdict.TOO_EARLY
    verdict = early if now < end.at or waited else Verdict.SHOWN
    return Ending(
        authority_id=authority_id,
        reference=story.authority.reference,
        instrument=story.authority.instrument.value,
        end=end.at,
        why=end.why,
        verdict=Verdict.NOT_SHOWN if found else verdict,
        tellable=tellable if verdict is early else None,
        captures=tuple(each.shown() for each in captures),
        discrepancies=in_order(found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """When an authority ends or ended; ``leased``: a node that is cut off may go on for a lease."""

    at: datetime
    why: str
    leased: bool


def _end(story: AuthorityStory) -> _Due | None:
    """Return when the authority ends or ended, and why (rule 1)."""
    window = story.window
    if window is None or story.authority is None:
        return None
    revoked = story.revoked
    if revoked is not None and revoked.time < window.not_after:
        return _Due(at=revoked.time, why=f"revoked by {revoked.by}", leased=True)
    why = "the end of its window"
    if window != story.authority.window:
        why = f"{EMERGENCY_UNSIGNED // timedelta(hours=1)} hours under one signature"
    return _Due(at=window.not_after, why=why, leased=False)


def _unknown(history: History, authority_id: str) -> Ending:
    sentence = f"the log holds no authority {authority_id} that can be read"
    kind = DiscrepancyKind.AUTHORITY_UNKNOWN
    if history.erasures.last_authority >= 0:
        kind, sentence = DiscrepancyKind.RECORDS_ERASED, f"{sentence}; it may be erased"
    found = [*history.discrepancies, Discrepancy(kind=kind, sentence=sentence)]
    return Ending(
        authority_id=authority_id,
        reference=None,
        instrument=None,
        end=None,
        why="",
        verdict=Verdict.NOT_SHOWN,
        tellable=None,
        captures=(),
        discrepancies=in_order(found),
    )


def _captures(history: History, authority_id: str, end: _Due) -> Iterator[_Capture]:
    """Yield the authority's captures, each with the last moment for a packet (rule 2)."""
    for story in history.captures.values():
        granted = story.granted
        if granted is None or granted.authority_id != authority_id:
            continue
        chain = history.nodes.get(granted.node, NodeChain(granted.node))
        limit = end.at + story.tolerance + (granted.lease if end.leased else timedelta(0))
        ended = _closing(story, granted, chain, limit)
        yield _Capture(
            story=story,
            granted=granted,
            chain=chain,
            limit=limit,
            due=limit + _promised(chain),
            ended=ended,
            history=history,
        )


def _promised(chain: NodeChain) -> timedelta:
    """Return how long after a moment the node's next heartbeat is there, if it keeps its word."""
    said = [int(each.details["every"]) for each, _ in chain.lists()][-1:]
    return timedelta(seconds=said[0]) + GRACE if said else timedelta(0)


def _closing(
    story: CaptureStory, granted: Granted, chain: NodeChain, limit: datetime
) -> Statement | None:
    """Return the receipt that shows that a capture is over (rule 3)."""
    running = [each for each in story.statements if each.kind not in _ENDS] + story.listings
    last = max((each.index for each in running), default=granted.index)
    for each in story.statements:
        if each.kind in _ENDS and each.index > last and each.node == granted.node:
            return each
    for each, armed in chain.lists():
        # A grant that was never armed could still have been, until it was over.
        late_enough = bool(running) or each.said >= limit
        if each.index > last and story.grant_id not in armed and late_enough:
            return each
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Capture:
    """A capture, and the last moment for a packet of it.

    ``due``: by when its node has said that it is over (rule 4); ``ended``: what shows that it is.
    """

    story: CaptureStory
    granted: Granted
    chain: NodeChain
    limit: datetime
    due: datetime
    ended: Statement | None
    history: History

    def shown(self) -> EndedCapture:
        """Return it for the answer."""
        ended = self.ended
        why = "not armed any more" if ended else ""
        return EndedCapture(
            grant_id=self.granted.grant_id,
            node=self.granted.node,
            ended=ended.said if ended else None,
            why=str(ended.details.get("reason", why)) if ended else why,
            last_packet=traffic(self.story.statements).last,
        )

    def missing(self) -> Discrepancy:
        """Say that nothing shows that it is over."""
        ran = any(each.kind is ReceiptKind.ARMED for each in self.story.statements)
        kind = DiscrepancyKind.NOT_DISARMED if ran else DiscrepancyKind.NOT_HEARD
        words = "has not said that it is over" if ran else "has not been heard since its end"
        sentence = f"grant {self.granted.grant_id}: {self.granted.node} {words}"
        return Discrepancy(kind=kind, sentence=sentence)

    def passed(self) -> Iterator[Discrepancy]:
        """Yield what came after the end, and what is not to be relied on."""
        yield from (each for each in self.story.found if each.kind in _RELEVANT)
        yield from self._late()
        wrong = misplaced(self.story, self.history.nodes.values(), self.history.erasures)
        yield from (each for each in wrong if each.kind in _RELEVANT)
        for _, each in self.chain.gaps():
            if each.index > self.granted.index and self._matters(each):
                yield each.gap or _erased(each)

    def _matters(self, gap: Statement) -> bool:
        """Say whether what is missing before this receipt could be about this capture."""
        return self.ended is None or gap.index <= self.ended.index or gap.said <= self.limit

    def _late(self) -> Iterator[Discrepancy]:
        doubtful = (e for e in self.story.statements if e.is_doubtful and e.latest > self.limit)
        if (each := next(doubtful, None)) is not None:
            words = f"the clock of {each.node} had gone back, and what it said at"
            words = f"{words} {format_time(each.said)} came at {format_time(each.recorded)}"
            yield self._after(DiscrepancyKind.CLOCK_WENT_BACK, words, each)
        for each in (*self.story.statements, *self.story.listings[-1:]):
            packets = each.packets
            if packets is not None and packets.last > self.limit:
                words = f"segment {packets.number} holds a packet of {format_time(packets.last)}"
                yield self._after(DiscrepancyKind.PACKET_AFTER_END, words, each)
            elif each.said > self.limit and each.kind in _RUNS:
                words = f"{each.node} says at {format_time(each.said)} that it is armed"
                yield self._after(_RUNS[each.kind], words, each)

    def _after(self, kind: DiscrepancyKind, words: str, each: Statement) -> Discrepancy:
        sentence = (
            f"grant {self.granted.grant_id}: {words}, after {format_time(self.limit)}, the last "
            "moment for it"
        )
        return Discrepancy(kind=kind, sentence=sentence, index=each.index)


def _erased(each: Statement) -> Discrepancy:
    sentence = f"receipts of {each.node} before its {each.sequence} are erased"
    return Discrepancy(kind=DiscrepancyKind.RECORDS_ERASED, sentence=sentence, index=each.index)
