"""The third question: did this node capture nothing in that period.

That nothing was captured is shown by receipts alone, when all of this holds:

1. The node's chain of receipts goes from a heartbeat at or before the period's start to one at or
   after its end, every receipt signed, none missing and none erased.
2. Its heartbeats in between are no further apart than they promise (`every`), with some seconds of
   grace; or the agent signed that it stopped, and the next heartbeat is that of its start. An agent
   that does not run captures nothing: its sockets are gone with it.
3. Every heartbeat's list is empty, nothing was armed, and no sealed segment of any time holds
   packets of the period.
4. The node's clock did not go back meanwhile by more than clocks may differ, nor before without
   having been seen to be right again (`guard.core.chains`, rule 4).

``discrepancies`` begin with the first that is missing in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from guard.core.answers import Discrepancy, DiscrepancyKind, Verdict
from guard.core.chains import NodeChain, Statement
from guard.core.fields import format_time
from guard.core.history import History
from guard.core.receipt import ReceiptKind
from guard.core.window import Window

__all__ = ["GRACE", "Pause", "Silence", "silence"]

GRACE: Final = timedelta(seconds=30)
"""How much later than promised a heartbeat may be: a loaded machine, a clock set right."""

_RECORDS: Final = frozenset(
    {
        DiscrepancyKind.RECORD_UNREADABLE,
        DiscrepancyKind.RECORDS_ERASED,
        DiscrepancyKind.TRUST_POLICY_UNTRUSTED,
    }
)
_ENDS: Final = frozenset({ReceiptKind.DISARMED, ReceiptKind.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The agent did not run: it said so at ``stopped``, and at ``started`` that it runs again."""

    stopped: datetime
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The answer: ``heartbeats`` counts those from ``since`` to ``until``, around the period."""

    node: str
    period: Window
    verdict: Verdict
    since: datetime | None
    until: datetime | None
    heartbeats: int
    pauses: tuple[Pause, ...]
    discrepancies: tuple[Discrepancy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """The receipts around a period: from the heartbeat before it to the one after, if there are."""

    statements: list[Statement]
    beats: list[Statement]
    before: Statement | None
    after: Statement | None


def silence(history: History, node: str, period: Window) -> Silence:
    """Say whether the node captured nothing in the period, and what is missing to show it."""
    chain = history.nodes.get(node, NodeChain(node))
    if not chain.statements and (history.policy is None or history.policy.node(node) is None):
        return _unknown(history, node, period)
    stretch = _stretch(chain, period)
    dated = [
        *((period.not_before, each) for each in history.discrepancies if each.kind in _RECORDS),
        *_coverage(stretch, node, period),
        *_links(stretch),
        *_beats(stretch, history.tolerance),
        *_armed(chain, period),
        *_packets(chain, period),
    ]
    found = tuple(dict.fromkeys(each for _, each in sorted(dated, key=lambda pair: pair[0])))
    return Silence(
        node=node,
        period=period,
        verdict=Verdict.NOT_SHOWN if found else Verdict.SHOWN,
        since=stretch.before.said if stretch.before else None,
        until=stretch.after.said if stretch.after else None,
        heartbeats=len(stretch.beats),
        pauses=tuple(
            Pause(stopped=one.said, started=other.said)
            for one, other in pairwise(stretch.beats)
            if one.stopped and other.started
        ),
        discrepancies=found,
    )


def _unknown(history: History, node: str, period: Window) -> Silence:
    sentence = f"no node {node} is known: no receipt is its, and the trust policy does not name it"
    kind = DiscrepancyKind.NODE_UNKNOWN
    if history.erasures.last_receipt >= 0:
        kind, sentence = DiscrepancyKind.RECORDS_ERASED, f"{sentence}; its receipts may be erased"
    return Silence(
        node=node,
        period=period,
        verdict=Verdict.NOT_SHOWN,
        since=None,
        until=None,
        heartbeats=0,
        pauses=(),
        discrepancies=(Discrepancy(kind=kind, sentence=sentence),),
    )


_Dated = tuple[datetime, Discrepancy]


def _stretch(chain: NodeChain, period: Window) -> _Stretch:
    """Cut out the receipts around the period, in the order of the chain (rule 1)."""
    beats = [each for each, _ in chain.lists()]
    before: Statement | None = None
    after: Statement | None = None
    for each in beats:
        if each.latest <= period.not_before:
            before = each
        elif each.said >= period.not_after:
            after = each
            break
    first = before.index if before else -1
    last = after.index if after else chain.statements[-1].index if chain.statements else -1
    return _Stretch(
        statements=[each for each in chain.statements if first <= each.index <= last],
        beats=[each for each in beats if first <= each.index <= last],
        before=before,
        after=after,
    )


def _coverage(stretch: _Stretch, node: str, period: Window) -> Iterator[_Dated]:
    kind = DiscrepancyKind.NOT_HEARD
    if stretch.before is None:
        words = f"no heartbeat of {node} at or before {format_time(period.not_before)}"
        yield period.not_before, Discrepancy(kind=kind, sentence=words)
    if stretch.after is None:
        last = stretch.beats[-1].said if stretch.beats else period.not_before
        words = f"no heartbeat of {node} at or after {format_time(period.not_after)}"
        said = f"; its last is of {format_time(last)}" if stretch.beats else ""
        yield max(last, period.not_before), Discrepancy(kind=kind, sentence=words + said)


def _links(stretch: _Stretch) -> Iterator[_Dated]:
    """Yield what in the chain is not to be relied on (rule 1)."""
    for each in stretch.statements:
        if each.flaw is not None:
            yield each.said, each.flaw
        if each is stretch.before:
            continue  # What is missing before it does not matter.
        if each.gap is not None:
            yield each.said, each.gap
        if each.unsure:
            sentence = f"receipts of {each.node} before its {each.sequence} are erased"
            kind = DiscrepancyKind.RECORDS_ERASED
            yield each.said, Discrepancy(kind=kind, sentence=sentence, index=each.index)


def _beats(stretch: _Stretch, tolerance: timedelta) -> Iterator[_Dated]:
    """Yield heartbeats that are missing, and clocks that went back (rules 2 and 4)."""
    for one, other in pairwise(stretch.beats):
        due = one.said + timedelta(seconds=int(one.details["every"])) + max(tolerance, GRACE)
        if other.said > due and not (one.stopped and other.started):
            words = (
                f"{one.node} said nothing from {format_time(one.said)} to "
                f"{format_time(other.said)}, though it promised to every "
                f"{one.details['every']} seconds"
            )
            kind = DiscrepancyKind.HEARTBEAT_MISSING
            yield one.said, Discrepancy(kind=kind, sentence=words, index=other.index)
    for one, other in pairwise(stretch.statements):
        if other.said < one.said - tolerance:
            words = (
                f"the clock of {one.node} went back from {format_time(one.said)} to "
                f"{format_time(other.said)}"
            )
            kind = DiscrepancyKind.CLOCK_WENT_BACK
            yield other.said, Discrepancy(kind=kind, sentence=words, index=other.index)


def _armed(chain: NodeChain, period: Window) -> Iterator[_Dated]:
    """Yield what was armed in the period, by any receipt of the node (rule 3)."""
    for grant_id, begun, over in _spans(chain):
        ended = over is not None and over <= period.not_before and begun.said < period.not_before
        if begun.said >= period.not_after or ended:
            continue
        until = f"until {format_time(over)}" if over else "and not said to have ended"
        words = f"{chain.name} had grant {grant_id} armed from {format_time(begun.said)} {until}"
        kind = DiscrepancyKind.CAPTURED
        moment = max(begun.said, period.not_before)
        yield moment, Discrepancy(kind=kind, sentence=words, index=begun.index)


def _spans(chain: NodeChain) -> Iterator[tuple[str, Statement, datetime | None]]:
    """Yield what was armed: the grant, the receipt that first says so, and until when."""
    running: dict[str, Statement] = {}
    lists = {each.index: armed for each, armed in chain.lists()}
    for each in chain.statements:
        if each.flaw is not None:
            continue
        grant_id = str(each.grant_id)
        if each.kind is ReceiptKind.ARMED:
            running.setdefault(grant_id, each)
        elif each.kind in _ENDS and grant_id in running:
            yield grant_id, running.pop(grant_id), each.latest
        for gone in running.keys() - lists.get(each.index, running.keys()):
            yield gone, running.pop(gone), each.latest
        for listed in each.armed:  # Also of a list that is not whole.
            running.setdefault(listed, each)
    yield from ((grant_id, begun, None) for grant_id, begun in running.items())


def _packets(chain: NodeChain, period: Window) -> Iterator[_Dated]:
    """Yield segments with packets of the period, whenever they were sealed (rule 3)."""
    for each in chain.statements:
        packets = each.packets
        if each.flaw is not None or packets is None:
            continue
        if packets.first < period.not_after and packets.last >= period.not_before:
            words = f"segment {packets.number} of grant {each.grant_id} on {chain.name} holds "
            said = f"packets of {format_time(packets.first)} to {format_time(packets.last)}"
            kind = DiscrepancyKind.CAPTURED
            moment = max(packets.first, period.not_before)
            yield moment, Discrepancy(kind=kind, sentence=words + said, index=each.index)
