"""``callguard incidents``: what the privacy team was told, and what legal says of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click
from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1.incident_service_pb2 import (
    AssessIncidentRequest,
    GetIncidentRequest,
    Incident,
    Verdict,
)
from guard.cli.durations import stamp
from guard.cli.exits import UsageTroubleError
from guard.cli.incident_words import incident_json, lines_of, next_clock
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.moments import MOMENT
from guard.cli.output import table
from guard.cli.plain_words import grid
from guard.cli.translate import moment
from guard.core.reporting import ClockName

__all__ = ["incidents"]

_NUMBER = click.IntRange(min=0)


@click.group(cls=Group)
def incidents() -> None:
    """See incidents and their reporting clocks, and say what they come to."""


@incidents.command("list")
@click.option("--all", "every", is_flag=True, help="Also those for which no clock runs any more.")
@passes
def list_(invocation: Invocation, *, every: bool) -> None:
    """List incidents, newest first, with the next clock that ends."""
    now = invocation.now()
    with invocation.connected() as connection:
        found = connection.list_incidents(only_open=not every).incidents
    headings = ("number", "since", "what", "node", "count", "clock")
    rows = (
        (str(e.id), stamp(moment(e.first)), e.kind, e.node, str(e.count), next_clock(e, now))
        for e in found
    )
    invocation.output.done(
        {"incidents": [incident_json(each) for each in found]}, table(headings, rows)
    )


@incidents.command("show")
@click.argument("number", type=_NUMBER)
@passes
def show(invocation: Invocation, number: int) -> None:
    """Show one incident: its clocks, and what its first record says. That is itself on record."""
    now = invocation.now()
    with invocation.connected() as connection:
        request = GetIncidentRequest(id=number)
        answer = connection.call(connection.incidents.GetIncident, request)
    machine = {**incident_json(answer.incident), "details": dict(sorted(answer.details.items()))}
    lines = [*lines_of(answer.incident, now)]
    lines += [("Record", f"{name}: {words}") for name, words in sorted(answer.details.items())]
    invocation.output.done(machine, grid(lines))


@incidents.command("assess")
@click.argument("numbers", metavar="NUMBER...", type=_NUMBER, nargs=-1, required=True)
@click.option("--not-reportable", "reason", metavar="REASON", help="It need not be reported: why.")
@click.option("--reported-to", "to", metavar="WHOM", help="It was reported: to whom.")
@click.option("--at", type=MOMENT, metavar="TIME", help="It was reported: when.  [default: now]")
@click.option(
    "--clock",
    "clocks",
    multiple=True,
    type=click.Choice([each.value for each in ClockName]),
    help="For which clock; repeatable.  [default with --not-reportable: all that run]",
)
@passes
def assess(
    invocation: Invocation,
    numbers: tuple[int, ...],
    *,
    reason: str | None,
    to: str | None,
    at: datetime | None,
    clocks: tuple[str, ...],
) -> None:
    """Say that incidents are not reportable, or that they were reported. It is on record."""
    request = _request(reason, to, at or invocation.now(), clocks, timed=at is not None)
    found: list[Incident] = []
    with invocation.connected() as connection:
        for number in numbers:
            request.id = number
            answer = connection.call(connection.incidents.AssessIncident, request)
            found.append(answer.incident)
            if len(numbers) > 1:
                invocation.output.note(f"{number} assessed")
    now = invocation.now()
    invocation.output.done(
        {"incidents": [incident_json(each) for each in found]},
        "\n".join(f"{each.id} {each.kind}: {next_clock(each, now)}" for each in found),
    )


def _request(
    reason: str | None, to: str | None, at: datetime, clocks: Sequence[str], *, timed: bool
) -> AssessIncidentRequest:
    one_of = "say one of the two: --not-reportable REASON or --reported-to WHOM"
    if reason is not None:
        if to is not None:
            raise UsageTroubleError(one_of)
        if timed:
            raise UsageTroubleError("--at is for --reported-to")
        return AssessIncidentRequest(
            verdict=Verdict.VERDICT_NOT_REPORTABLE, clocks=clocks, reason=reason
        )
    if to is None:
        raise UsageTroubleError(one_of)
    if not clocks:
        raise UsageTroubleError("name the clocks for which it was reported, with --clock")
    when = Timestamp()
    when.FromDatetime(at)
    return AssessIncidentRequest(
        verdict=Verdict.VERDICT_REPORTED, clocks=clocks, reported_to=to, reported_at=when
    )
