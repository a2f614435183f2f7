"""The first question: which interceptions ran in a period, and was each what it should have been.

1. An interception is every grant that ran or may have run, and everything that nodes state to have
   run without one. A grant that its node refused and never armed is none.
2. It ran from when its node first says that it was armed to when it last says so, or may have said
   so where its clock had gone back; where the node has said nothing yet, it may have run from its
   grant to the grant's end or to the word to stop.
3. It belongs to a period if any moment of that lies in it; the period is half-open.
4. The discrepancies are those of each interception, of the chains of receipts where they broke in
   the period, and of the records as such.
5. What is wrong with a grant that was made in the period is told though its node refused it:
   somebody has granted it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from guard.core.answers import Discrepancy, in_order
from guard.core.authority import Authority
from guard.core.bounds import misplaced
from guard.core.chains import Packets, Statement
from guard.core.history import History
from guard.core.level import Level
from guard.core.receipt import ReceiptKind
from guard.core.stories import CaptureStory, Signer
from guard.core.window import Window

__all__ = ["End", "Interception", "Interceptions", "interceptions", "traffic"]

_ENDS = frozenset({ReceiptKind.DISARMED, ReceiptKind.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """When something ended, why, and who said so: a node, the guard, or a person by name."""

    time: datetime
    why: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a capture's sealed segments hold: counts, and the times of first and last packet."""

    segments: int
    packets: int
    bytes: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interception:
    """One interception. What comes from the grant or authority is None where there is none.

    ``window`` is the authority's; ``begun`` and ``over`` are of rule 2, ``over`` None while it may
    still run; ``requested_by`` is the person, ``started_by`` whoever asked, a guard where it began
    by itself; ``stored`` counts the segments that the guard has.
    """

    grant_id: str
    node: str
    level: Level | None
    authority_id: str | None
    reference: str | None
    instrument: str | None
    legal_basis: str | None
    signers: tuple[Signer, ...]
    window: Window | None
    requested_by: str | None
    started_by: str | None
    granted: datetime | None
    armed: tuple[datetime, ...]
    ended: tuple[End, ...]
    begun: datetime
    over: datetime | None
    traffic: Traffic
    stored: int
    discrepancies: tuple[Discrepancy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interceptions:
    """The answer: what ran in ``period``, in the order in which it began."""

    period: Window
    interceptions: tuple[Interception, ...]
    discrepancies: tuple[Discrepancy, ...]


def interceptions(history: History, period: Window, *, now: datetime) -> Interceptions:
    """Return every interception that touches the period, with everything that is not right."""
    found: list[Interception] = []
    for capture in history.captures.values():
        span = _span(capture, now)
        if span is not None and _touches(*span, period):
            found.append(_interception(history, capture, *span))
    found.sort(key=lambda each: (each.begun, each.grant_id))
    own = (each for one in found for each in one.discrepancies)
    return Interceptions(
        period=period,
        interceptions=tuple(found),
        discrepancies=in_order(
            [
                *history.discrepancies,
                *history.erasures.since(period.not_before),
                *own,
                *_refused(history, period, now),
                *_nodes(history, period),
            ]
        ),
    )


def traffic(statements: Iterable[Statement]) -> Traffic:
    """Sum up sealed segments."""
    sealed = [each for each in statements if each.kind is ReceiptKind.SEALED]
    packets: list[Packets] = [each.packets for each in sealed if each.packets is not None]
    return Traffic(
        segments=len(sealed),
        packets=sum(each.count for each in packets),
        bytes=sum(each.bytes for each in packets),
        first=min((each.first for each in packets), default=None),
        last=max((each.last for each in packets), default=None),
    )


def _touches(begun: datetime, over: datetime | None, period: Window) -> bool:
    return begun < period.not_after and (over is None or over >= period.not_before)


def _span(capture: CaptureStory, now: datetime) -> tuple[datetime, datetime | None] | None:
    """Return from when to when a capture ran, or may have (rules 1 and 2); None: it did not."""
    ran = sorted(_moments(capture))
    ends = [each.said for each in capture.statements if each.kind in _ENDS]
    granted = capture.granted
    if not ran:
        return None if granted is None or ends else _unheard(capture, now)
    last_armed = max(_armed(capture), default=None)
    if granted is None or (last_armed and any(end >= last_armed for end in ends)):
        return ran[0], max([*ran, *ends, *_doubtful(capture)])
    return ran[0], None if now < granted.not_after else max(
        granted.not_after, ran[-1], *_doubtful(capture)
    )


def _unheard(capture: CaptureStory, now: datetime) -> tuple[datetime, datetime | None]:
    granted = capture.granted
    assert granted is not None  # noqa: S101 - the one caller has looked
    begun = max(granted.time, granted.not_before)
    ends = [granted.not_after, *(each.time + granted.lease for each in capture.stops)]
    return begun, None if now < min(ends) else max(begun, min(ends))


def _doubtful(capture: CaptureStory) -> list[datetime]:
    stated = (*capture.statements, *capture.listings)
    return [each.latest for each in stated if each.is_doubtful]


def _armed(capture: CaptureStory) -> list[datetime]:
    return [each.said for each in capture.statements if each.kind is ReceiptKind.ARMED]


def _moments(capture: CaptureStory) -> Iterable[datetime]:
    """Yield when a capture ran for sure: armed, listed, with packets, with a file."""
    yield from _armed(capture)
    yield from (each.said for each in capture.listings)
    for each in capture.statements:
        if each.packets is not None:
            yield from (each.packets.first, each.packets.last)
        elif each.kind not in _ENDS:
            yield each.said
    if capture.granted is None:
        yield from (each.said for each in capture.statements if each.kind in _ENDS)
        yield from (each.time for each in capture.stored)


def _interception(
    history: History, capture: CaptureStory, begun: datetime, over: datetime | None
) -> Interception:
    granted, story = capture.granted, capture.authority
    authority: Authority | None = story.authority if story else None
    stated = [*capture.statements, *capture.listings]
    node = granted.node if granted else (stated[0].node if stated else "")
    flaws = story.flaws if story else []
    return Interception(
        grant_id=capture.grant_id,
        node=node,
        level=granted.level if granted else None,
        authority_id=granted.authority_id if granted else None,
        reference=authority.reference if authority else None,
        instrument=authority.instrument.value if authority else None,
        legal_basis=authority.legal_basis if authority else None,
        signers=capture.signers,
        window=story.window if story else None,
        requested_by=granted.principal if granted else None,
        started_by=granted.started_by if granted else None,
        granted=granted.time if granted else None,
        armed=tuple(_armed(capture)),
        ended=_ends(capture),
        begun=begun,
        over=over,
        traffic=traffic(capture.statements),
        stored=len(capture.stored),
        discrepancies=in_order(
            [
                *capture.found,
                *_new(flaws, capture.found),
                *misplaced(capture, history.nodes.values(), history.erasures),
            ]
        ),
    )


def _new(flaws: Iterable[Discrepancy], found: Iterable[Discrepancy]) -> Iterable[Discrepancy]:
    """Leave out what the grant was found to suffer from already."""
    kinds = {each.kind for each in found}
    return (each for each in flaws if each.kind not in kinds)


def _ends(capture: CaptureStory) -> tuple[End, ...]:
    said = [
        End(time=each.said, why=str(each.details["reason"]), by=each.node)
        for each in capture.statements
        if each.kind in _ENDS
    ]
    told = [End(time=each.time, why=each.why, by=each.by or "the guard") for each in capture.stops]
    return tuple(sorted([*told, *said], key=lambda each: each.time))


def _refused(history: History, period: Window, now: datetime) -> Iterable[Discrepancy]:
    """Yield what is wrong with grants of the period that never ran (rule 5)."""
    for capture in history.captures.values():
        granted = capture.granted
        if granted and period.contains(granted.time) and _span(capture, now) is None:
            yield from capture.found


def _nodes(history: History, period: Window) -> Iterable[Discrepancy]:
    """Yield where chains of receipts broke in the period, and what in them does not count."""
    for chain in history.nodes.values():
        for before, each in chain.gaps():
            begun = before or min(each.said, period.not_before)
            if each.gap and _touches(min(begun, each.said), max(begun, each.said), period):
                yield each.gap
        for each in chain.statements:
            if each.flaw and _touches(each.said, each.recorded, period):
                yield each.flaw
