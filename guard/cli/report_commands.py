"""``callguard report``: what statutes want on paper, from the records alone.

1. Reports are made by auditors, who alone read records, and without the identifiers: those are
   sealed. The overseer puts them in with `certify`, on their own machine.
2. Every report says by what its records are vouched for, and what in them is not right. A
   discrepancy ends with status 3, after the report is written: it is a finding, not a failure. What
   is meant for the public says only how many there are: their sentences name nodes and grants.
3. A file is made anew, for its owner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from guard.cli.audit_history import Told, read_book
from guard.cli.exits import DiscrepancyError, TroubleError, UsageTroubleError, auditing
from guard.cli.ids import ID
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.log_sources import input_file, with_records
from guard.cli.moments import MOMENT
from guard.cli.profile import write_whole
from guard.cli.report_files import Format, rendered
from guard.cli.report_people import certify, review
from guard.cli.report_sample import Draw, drawn, redrawn, sample_check, sampled
from guard.core.answers import Discrepancy
from guard.core.fields import format_time
from guard.core.interceptions import interceptions
from guard.core.statutes import CERTIFIED, LOGGED, certification, counts, log_entry
from guard.core.uses import Outcome, Use, UseBook
from guard.core.window import Window

__all__ = ["report"]


@click.group(cls=Group)
def report() -> None:
    """Make the statutory records: certification, log with its sample, public counts."""


report.add_command(certify)
report.add_command(review)
report.add_command(sample_check)


def _sources(command: Callable[..., None]) -> Callable[..., None]:
    """Add where the records come from and where the report goes."""
    out = click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it."
    )
    how = click.option(
        "--format",
        "how",
        type=click.Choice([each.value for each in Format]),
        default=Format.JSON.value,
        show_default=True,
    )
    roots = input_file("--roots", "The pinned roots of trust, roots.json.")
    return out(how(with_records(roots(command))))


def _period(command: Callable[..., None]) -> Callable[..., None]:
    begin = click.option("--from", "start", type=MOMENT, required=True, metavar="TIME")
    end = click.option("--to", "end", type=MOMENT, required=True, metavar="TIME")
    return begin(end(command))


@report.command("calea")
@click.argument("identifier", metavar="GRANT|AUTHORITY|RECORD")
@_sources
@passes
def calea(
    invocation: Invocation,
    identifier: str,
    *,
    records: Path | None,
    roots: Path | None,
    how: str,
    out: Path | None,
) -> None:
    """Draft the certification of 47 CFR 1.20004(a) for one grant, or for each of an authority.

    What was denied, or captured without a grant, is named by the number of its record.
    The overseer completes and signs the JSON with `callguard report certify FILE`.
    """
    _require_new(out)
    wanted: str | int = (
        int(identifier) if identifier.isdecimal() else ID.convert(identifier, None, None)
    )
    told = _told(invocation, "report calea", records, roots)
    uses = [e for e in told.history.find(wanted) if isinstance(wanted, int) or _is_grant(e)]
    if not uses:
        raise TroubleError(
            "this record is no grant, denial or incident; `log entries` shows which are"
            if isinstance(wanted, int)
            else "no grant has this id, nor one under an authority of it"
        )
    found = [certification(each) for each in uses]
    made = _head("Certification of interception, 47 CFR 1.20004(a)", invocation, told)
    made |= found[0] if len(found) == 1 else {"entries": found}
    if len(found) == 1:
        made["signature_lines"] = True
    amiss = [*told.history.history.discrepancies, *(e for use in uses for e in use.amiss)]
    _finish(invocation, made, Format(how), out, CERTIFIED, amiss)


def _is_grant(use: Use) -> bool:
    return use.outcome in {Outcome.RAN, Outcome.NEVER_RAN}


@report.command("tkuev")
@_period
@click.option("--with-persons", is_flag=True, help="Tell who entered what: to look into misuse.")
@input_file("--again", "An earlier report of this period in JSON, whose sample is drawn again.")
@_sources
@passes
def tkuev(  # noqa: PLR0913 - one for each option
    invocation: Invocation,
    start: datetime,
    end: datetime,
    *,
    with_persons: bool,
    again: Path | None,
    records: Path | None,
    roots: Path | None,
    how: str,
    out: Path | None,
) -> None:
    """Make the log of TKÜV section 16 for a period, with the sample of section 17.

    The sample is drawn so that neither side can steer it: see `callguard report sample-check`.
    """
    _require_new(out)
    period = _window(start, end)
    draw: Draw | None = redrawn(again, period) if again else None
    if draw is None and records is None:
        draw = drawn(invocation, period)
    purpose = "report tkuev --with-persons" if with_persons else "report tkuev"
    told = _told(invocation, purpose, records, roots, mark=draw.index + 1 if draw else 0)
    uses = told.history.uses(period)
    with auditing():
        sample = sampled(told, draw, uses, period)
    chosen = set(sample["indices"]) if sample else set()
    entries = [
        {**log_entry(each, persons=with_persons), "examine": _examine(each.index in chosen, each)}
        for each in uses
    ]
    made = _head("Log of interception equipment, TKÜV section 16", invocation, told)
    made |= {"from": format_time(start), "to": format_time(end), "sample": sample}
    made["entries"] = entries
    _finish(invocation, made, Format(how), out, LOGGED, _amiss(told, period, invocation.now()))


@report.command("counts")
@_period
@click.option("--exact", is_flag=True, help="Show numbers below five: not for publication.")
@_sources
@passes
def counts_command(
    invocation: Invocation,
    start: datetime,
    end: datetime,
    *,
    exact: bool,
    records: Path | None,
    roots: Path | None,
    how: str,
    out: Path | None,
) -> None:
    """Count orders, interceptions and refusals of a period, for a transparency report."""
    _require_new(out)
    period = _window(start, end)
    told = _told(invocation, "report counts", records, roots)
    made = _head("Interceptions in numbers", invocation, told)
    made |= counts(told.history, period, suppress=not exact)
    amiss = _amiss(told, period, invocation.now())
    _finish(invocation, made, Format(how), out, {}, amiss, public=not exact)


def _told(
    invocation: Invocation, purpose: str, records: Path | None, roots: Path | None, mark: int = 0
) -> Told[UseBook]:
    return read_book(invocation, UseBook, purpose=purpose, records=records, roots=roots, mark=mark)


def _window(start: datetime, end: datetime) -> Window:
    if start >= end:
        raise UsageTroubleError("the period is empty: --to must be after --from")
    return Window(not_before=start, not_after=end)


def _head(title: str, invocation: Invocation, told: Told[UseBook]) -> dict[str, Any]:
    return {
        "title": title,
        "made_at": format_time(invocation.now()),
        "records": told.records,
        "source": told.source,
    }


def _examine(in_sample: bool, use: Use) -> list[str]:  # noqa: FBT001 - reads as a sentence
    """Say why an entry is to be examined: in the sample, a test, under suspicion; or not at all."""
    reasons = {"sample": in_sample, "test": use.test, "suspicion": use.under_suspicion}
    return [name for name, holds in reasons.items() if holds]


def _amiss(told: Told[UseBook], period: Window, now: datetime) -> list[Discrepancy]:
    """Return what of the period is not right."""
    return list(interceptions(told.history.history, period, now=now).discrepancies)


def _require_new(out: Path | None) -> None:
    """Refuse a file that is there, before anything is put on record for it (rule 3)."""
    if out is not None and out.exists():
        raise UsageTroubleError(f"{out} is there already; name a new file")


def _finish(
    invocation: Invocation,
    made: dict[str, Any],
    how: Format,
    out: Path | None,
    titles: Mapping[str, str],
    amiss: list[Discrepancy],
    *,
    public: bool = False,
) -> None:
    """Write the report, and end with the first discrepancy (rule 2)."""
    told = [
        {"kind": each.kind.value, "sentence": each.sentence, "record": each.index} for each in amiss
    ]
    made["discrepancies"] = len(told) if public else told
    text = rendered(made, how, titles=titles)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text.encode())
        invocation.output.done({"out": str(out), "format": how.value}, f"Written to {out}.")
    if amiss:
        invocation.end(DiscrepancyError(amiss[0].kind.value, amiss[0].sentence))
