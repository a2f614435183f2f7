"""The auditor's answers as JSON and in plain words. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from guard.cli.durations import spoken, stamp
from guard.cli.output import table
from guard.core.answers import Discrepancy, Verdict
from guard.core.ending import Ending
from guard.core.fields import format_time
from guard.core.interceptions import Interception, Interceptions
from guard.core.silence import Silence
from guard.core.window import Window

__all__ = [
    "ending_json",
    "ending_words",
    "interceptions_json",
    "interceptions_words",
    "silence_json",
    "silence_words",
]

_NOTHING = "-"


def interceptions_json(answer: Interceptions) -> dict[str, Any]:
    """Return the first answer for machines."""
    return {
        **_period(answer.period),
        "interceptions": [_interception(each) for each in answer.interceptions],
        "discrepancies": _listed(answer.discrepancies),
    }


def _interception(each: Interception) -> dict[str, Any]:
    return {
        "grant_id": each.grant_id,
        "node": each.node,
        "level": each.level.value if each.level else None,
        "authority_id": each.authority_id,
        "instrument": each.instrument,
        "reference": each.reference,
        "legal_basis": each.legal_basis,
        "signers": [{"name": one.name, "roles": list(one.roles)} for one in each.signers],
        "not_before": _time(each.window.not_before if each.window else None),
        "not_after": _time(each.window.not_after if each.window else None),
        "requested_by": each.requested_by,
        "started_by": each.started_by,
        "granted": _time(each.granted),
        "armed": [format_time(one) for one in each.armed],
        "ended": [
            {"time": format_time(one.time), "why": one.why, "by": one.by} for one in each.ended
        ],
        "begun": format_time(each.begun),
        "over": _time(each.over),
        "segments": each.traffic.segments,
        "segments_stored": each.stored,
        "packets": each.traffic.packets,
        "bytes": each.traffic.bytes,
        "first_packet": _time(each.traffic.first),
        "last_packet": _time(each.traffic.last),
        "discrepancies": _listed(each.discrepancies),
    }


def interceptions_words(answer: Interceptions) -> str:
    """Return the first answer for people: an overview, each interception, what is not right."""
    count = len(answer.interceptions)
    what = "No interception" if not count else f"{count} interception{'s' * (count != 1)}"
    parts = [f"{what} from {_span(answer.period)}."]
    if count:
        headings = ("begun", "over", "node", "level", "instrument", "reference", "grant")
        parts.append(table(headings, map(_row, answer.interceptions)))
        parts += ["\n".join(_lines(each)) for each in answer.interceptions]
    return "\n\n".join([*parts, _discrepancies(answer.discrepancies)])


def _row(each: Interception) -> tuple[str, ...]:
    over = stamp(each.over) if each.over else "may still run"
    level = each.level.value if each.level else _NOTHING
    known = (each.instrument or _NOTHING, each.reference or _NOTHING)
    return (stamp(each.begun), over, each.node or _NOTHING, level, *known, each.grant_id)


def _lines(each: Interception) -> Iterator[str]:
    """Yield one interception, a fact a line."""
    yield f"Grant {each.grant_id}"
    for label, words in (*_right(each), *_course(each)):
        yield f"  {label:<12}{words}"
    for one in each.discrepancies:
        yield f"  {'Discrepancy':<12}{one.kind}: {one.sentence}"


def _right(each: Interception) -> Iterator[tuple[str, str]]:
    if each.granted is None:
        yield "Granted", "never, as far as the log tells"
        return
    yield "Authority", f"{each.instrument} {each.reference} ({each.authority_id})"
    if each.legal_basis:
        yield "Legal basis", each.legal_basis
    signers = (f"{one.name} ({', '.join(one.roles)})" for one in each.signers)
    yield "Signed by", ", ".join(signers) or "nobody whose signature holds"
    if each.window:
        yield "In force", f"from {_span(each.window)}"
    yield "Granted", stamp(each.granted)
    by = f"{each.requested_by}"
    if each.started_by != each.requested_by:
        by = f"begun by itself ({each.started_by}), for {each.requested_by}"
    yield "Requested", by


def _course(each: Interception) -> Iterator[tuple[str, str]]:
    yield "Armed", ", ".join(map(stamp, each.armed)) or "no receipt says so"
    for one in each.ended:
        yield "Ended", f"{stamp(one.time)}: {one.why}, says {one.by}"
    counted = each.traffic
    words = (
        f"{counted.packets} packets, {counted.bytes} bytes in {counted.segments} segments, of "
        f"which the guard has {each.stored}"
    )
    if counted.first and counted.last:
        words += f"; packets from {stamp(counted.first)} to {stamp(counted.last)}"
    yield "Captured", words


def ending_json(answer: Ending) -> dict[str, Any]:
    """Return the second answer for machines."""
    return {
        "authority_id": answer.authority_id,
        "instrument": answer.instrument,
        "reference": answer.reference,
        "end": _time(answer.end),
        "why": answer.why,
        "verdict": answer.verdict.value,
        "tellable_from": _time(answer.tellable),
        "captures": [
            {
                "grant_id": each.grant_id,
                "node": each.node,
                "ended": _time(each.ended),
                "why": each.why,
                "last_packet": _time(each.last_packet),
            }
            for each in answer.captures
        ],
        "discrepancies": _listed(answer.discrepancies),
    }


_ENDED = {
    Verdict.SHOWN: "It ended when it should: the records show it.",
    Verdict.NOT_SHOWN: "The records do NOT show that it ended when it should.",
    Verdict.STILL_RUNNING: "It has not ended yet.",
    Verdict.TOO_EARLY: "It is too early to tell: its nodes may still say when they ended it.",
}
_QUIET = {
    True: "captured nothing: the records show it.",
    False: "is NOT shown to have captured nothing.",
}


def ending_words(answer: Ending) -> str:
    """Return the second answer for people."""
    parts = [f"Authority {answer.authority_id}"]
    if answer.end is not None:
        what = f"{answer.instrument} {answer.reference} ({answer.authority_id})"
        parts = [f"{what}: its end is {stamp(answer.end)}, {answer.why}."]
    parts.append(_ENDED[answer.verdict])
    if answer.tellable is not None:
        parts.append(
            f"Whether it ended when it should can be told from {stamp(answer.tellable)} on."
        )
    if answer.captures:
        headings = ("grant", "node", "ended", "why", "last packet")
        rows = (
            (each.grant_id, each.node, _at(each.ended), each.why or _NOTHING, _at(each.last_packet))
            for each in answer.captures
        )
        parts.append(table(headings, rows))
    else:
        parts.append("Nothing was captured under it.")
    return "\n\n".join([*parts, _discrepancies(answer.discrepancies)])


def silence_json(answer: Silence) -> dict[str, Any]:
    """Return the third answer for machines."""
    return {
        "node": answer.node,
        **_period(answer.period),
        "verdict": answer.verdict.value,
        "since": _time(answer.since),
        "until": _time(answer.until),
        "heartbeats": answer.heartbeats,
        "pauses": [
            {"stopped": format_time(each.stopped), "started": format_time(each.started)}
            for each in answer.pauses
        ],
        "discrepancies": _listed(answer.discrepancies),
    }


def silence_words(answer: Silence) -> str:
    """Return the third answer for people."""
    shown = answer.verdict is Verdict.SHOWN
    parts = [f"From {_span(answer.period)} {answer.node} {_QUIET[shown]}"]
    if answer.since and answer.until:
        parts.append(
            f"It said so in {answer.heartbeats} heartbeats from {stamp(answer.since)} to "
            f"{stamp(answer.until)}."
            if shown
            else f"There are {answer.heartbeats} heartbeats from {stamp(answer.since)} to "
            f"{stamp(answer.until)}."
        )
    parts += [
        f"Its agent did not run from {stamp(each.stopped)} to {stamp(each.started)} "
        f"({spoken(each.started - each.stopped)}), and signed both."
        for each in answer.pauses
    ]
    return "\n\n".join([*parts, _discrepancies(answer.discrepancies)])


def _discrepancies(found: Sequence[Discrepancy]) -> str:
    if not found:
        return "No discrepancy."
    rows = (
        (_NOTHING if each.index is None else str(each.index), each.kind, each.sentence)
        for each in found
    )
    return table(("record", "discrepancy", "what"), rows)


def _listed(found: Iterable[Discrepancy]) -> list[dict[str, Any]]:
    return [
        {"kind": each.kind.value, "sentence": each.sentence, "index": each.index} for each in found
    ]


def _period(period: Window) -> dict[str, str]:
    return {"from": format_time(period.not_before), "to": format_time(period.not_after)}


def _span(window: Window) -> str:
    return f"{stamp(window.not_before)} to {stamp(window.not_after)}"


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None


def _at(moment: datetime | None) -> str:
    return stamp(moment) if moment else _NOTHING
