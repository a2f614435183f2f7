"""Incidents and their clocks as JSON and in words.

Clocks are the guard's (`guard.core.reporting`): this side only shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from guard.api.v1.incident_service_pb2 import Clock, Incident, ListIncidentsResponse, Verdict
from guard.cli.durations import spoken, stamp
from guard.cli.output import plain
from guard.cli.translate import moment, wire_name
from guard.core.fields import format_time

__all__ = ["incident_json", "lines_of", "next_clock", "status_lines"]

_MOST: Final = 10


def incident_json(shown: Incident) -> dict[str, Any]:
    """Return an incident for machines."""
    return {
        "id": shown.id,
        "kind": plain(shown.kind),
        "node": plain(shown.node),
        "count": shown.count,
        "first": format_time(moment(shown.first)),
        "last": format_time(moment(shown.last)),
        "last_record": shown.last_record,
        "open": shown.open,
        "clocks": [_clock_json(each) for each in shown.clocks],
    }


def _clock_json(shown: Clock) -> dict[str, Any]:
    said = shown.stopped
    made: dict[str, Any] = {
        "clock": shown.name,
        "provision": shown.provision,
        "to": shown.to,
        "due": format_time(moment(shown.due)) if shown.HasField("due") else None,
        "overdue": shown.overdue,
        "late": shown.late,
        "assessment": None,
    }
    if shown.HasField("stopped"):
        at = said.reported_at if said.HasField("reported_at") else None
        made["assessment"] = {
            "verdict": wire_name(Verdict, said.verdict, "VERDICT_"),
            "by": said.by,
            "at": format_time(moment(said.at)),
            "record": said.record,
            "reason": said.reason or None,
            "reported_to": said.reported_to or None,
            "reported_at": format_time(moment(at)) if at else None,
        }
    return made


def status_lines(answer: ListIncidentsResponse, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what `callguard status` says: how many are open, every overdue clock, every hook."""
    running = len(answer.incidents)
    late = [(each, clock) for each in answer.incidents for clock in each.clocks if clock.overdue]
    words = f"{running} not assessed" if running else "none to assess"
    yield "Incidents", f"{words}, {len(late)} CLOCKS OVERDUE" if late else words
    for each, clock in late[:_MOST]:
        yield "OVERDUE", f"incident {each.id}, {_what(each)}: {_clock(clock, now)}"
    if len(late) > _MOST:
        yield "OVERDUE", f"and {len(late) - _MOST} more: callguard incidents list"
    if not answer.hooks:
        yield "Notices", "nobody is told: no hook is configured ([notify] in guard.toml)"
    for hook in answer.hooks:
        yield "Notices", f"by {hook.name}: {'FAILING' if hook.failing else 'well'}"


def lines_of(shown: Incident, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what is shown of one incident, as label and words."""
    yield "Incident", f"{shown.id}, {_what(shown)}"
    yield "Known since", stamp(moment(shown.first))
    if shown.count > 1:
        last = f"{stamp(moment(shown.last))}, record {shown.last_record}"
        yield "Count", f"{shown.count}, the last of {last}"
    for clock in shown.clocks:
        yield "Clocks", _clock(clock, now)


def _what(shown: Incident) -> str:
    return f"{shown.kind} on {shown.node}" if shown.node else shown.kind


def next_clock(shown: Incident, now: datetime) -> str:
    """Say of the clocks the one that matters most."""
    running = [each for each in shown.clocks if not each.HasField("stopped")]
    numbered = [each for each in running if each.HasField("due")]
    if numbered:
        return _clock(min(numbered, key=lambda each: moment(each.due)), now)
    return _clock(running[0], now) if running else "assessed"


def _clock(shown: Clock, now: datetime) -> str:
    head = f"{shown.name} ({shown.provision}, {shown.to})"
    if shown.HasField("stopped"):
        return f"{head}: {_stopped(shown)}"
    if not shown.HasField("due"):
        return f"{head}: runs, within a reasonable time"
    due = moment(shown.due)
    if shown.overdue:
        return f"{head}: OVERDUE since {stamp(due)}, {spoken(now - due)}"
    return f"{head}: until {stamp(due)}, {spoken(due - now)} left"


def _stopped(shown: Clock) -> str:
    said = shown.stopped
    by = f"by {said.by}, record {said.record}"
    if said.verdict == Verdict.VERDICT_NOT_REPORTABLE:
        return f"not reportable, {said.reason} ({by})"
    late = ", LATE" if shown.late else ""
    return f"reported to {said.reported_to} {stamp(moment(said.reported_at))}{late} ({by})"
