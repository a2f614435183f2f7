"""``callguard audit``: the auditor's three questions, answered from records alone.

1. Every answer names what its records are vouched for by, and all that is not right.
2. Exit status 0 stands for an answer without a discrepancy and, for `ended` and `nothing`, for one
   that is shown. Of `ended`, 5 says that it is too early to tell, and until when. Anything else is
   status 3 with the first discrepancy on standard error.
3. With ``--json`` the one object on standard output is the answer, whatever the status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from guard.cli.audit_history import Told, read_history
from guard.cli.audit_words import (
    ending_json,
    ending_words,
    interceptions_json,
    interceptions_words,
    silence_json,
    silence_words,
)
from guard.cli.durations import stamp
from guard.cli.exits import DiscrepancyError, TooEarlyError, UsageTroubleError
from guard.cli.ids import ID
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.log_sources import input_file, with_records
from guard.cli.moments import MOMENT
from guard.core.answers import Discrepancy, Verdict
from guard.core.ending import ending
from guard.core.history import History
from guard.core.interceptions import interceptions
from guard.core.silence import silence
from guard.core.window import Window

__all__ = ["audit"]


def _from_file(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of an auditor who has a file and no guard."""
    return with_records(input_file("--roots", "The pinned roots of trust, roots.json.")(command))


def _period(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a period, half-open."""
    begin = click.option(
        "--from", "start", type=MOMENT, required=True, metavar="TIME", help="The first moment."
    )
    end = click.option(
        "--to", "end", type=MOMENT, required=True, metavar="TIME", help="The moment after the last."
    )
    return begin(end(command))


@click.group(cls=Group)
def audit() -> None:
    """Ask what ran, whether it ended, and whether nothing was captured. Needs the role auditor."""


@audit.command("interceptions")
@_period
@_from_file
@passes
def interceptions_command(
    invocation: Invocation, start: datetime, end: datetime, records: Path | None, roots: Path | None
) -> None:
    """Show every interception of a period, and whether each was what it should have been."""
    period = _window(start, end)
    told = read_history(invocation, purpose="audit interceptions", records=records, roots=roots)
    answer = interceptions(told.history, period, now=invocation.now())
    _answer(
        invocation,
        told,
        interceptions_json(answer),
        interceptions_words(answer),
        answer.discrepancies,
    )


@audit.command("ended")
@click.argument("authority", metavar="AUTHORITY", type=ID)
@_from_file
@passes
def ended(invocation: Invocation, authority: str, records: Path | None, roots: Path | None) -> None:
    """Show whether AUTHORITY ended when it should. Status 5: it is too early to tell."""
    told = read_history(invocation, purpose="audit ended", records=records, roots=roots)
    answer = ending(told.history, authority, now=invocation.now())
    _answer(invocation, told, ending_json(answer), ending_words(answer), answer.discrepancies)
    if answer.tellable is not None:
        what = "it has not ended yet" if answer.verdict is Verdict.STILL_RUNNING else "it has ended"
        at = stamp(answer.tellable)
        invocation.end(TooEarlyError(f"{what}: whether as it should can be told from {at} on"))


@audit.command("nothing")
@click.argument("node", metavar="NODE")
@_period
@_from_file
@passes
def nothing(
    invocation: Invocation,
    node: str,
    start: datetime,
    end: datetime,
    records: Path | None,
    roots: Path | None,
) -> None:
    """Show whether NODE captured nothing in a period."""
    period = _window(start, end)
    told = read_history(invocation, purpose="audit nothing", records=records, roots=roots)
    answer = silence(told.history, node, period)
    _answer(invocation, told, silence_json(answer), silence_words(answer), answer.discrepancies)


def _window(start: datetime, end: datetime) -> Window:
    if start >= end:
        raise UsageTroubleError("the period is empty: --to must be after --from")
    return Window(not_before=start, not_after=end)


def _answer(
    invocation: Invocation,
    told: Told[History],
    machine: Mapping[str, Any],
    human: str,
    discrepancies: Sequence[Discrepancy],
) -> None:
    """Print the answer, and end with the first discrepancy if there is one (rules 2 and 3)."""
    answer = {**machine, "records": told.records, "source": told.source}
    invocation.output.done(answer, f"{human}\n\n{told.source}")
    if not discrepancies:
        return
    invocation.end(DiscrepancyError(discrepancies[0].kind.value, discrepancies[0].sentence))
