"""``callguard log``: checkpoint, entries; prove, verify and follow are in modules of their own.

1. With ``--log`` only public files and public keys are used, and everything printed was verified.
2. Without, the guard is asked. Checkpoints and proofs are verified; what `entries` prints is the
   guard's word, each record held against its own digest only.
"""

from __future__ import annotations

from pathlib import Path

import click

from guard.cli.durations import stamp
from guard.cli.exits import TroubleError, UsageTroubleError, auditing, checking
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.log_follow import follow
from guard.cli.log_proofs import prove
from guard.cli.log_sources import at_log, log_policy, shown_progress, under_policy
from guard.cli.log_tables import entry_json, entry_row, record_json, record_row
from guard.cli.log_verification import (
    checked_checkpoint,
    fetched_entries,
    fetched_records,
    remember,
)
from guard.cli.log_verify import verify
from guard.cli.output import table
from guard.cli.profile import write_whole
from guard.cli.public_log import PublicLogFiles, open_public_log
from guard.cli.record_source import kept_checkpoint, write_entries
from guard.core.fields import format_time
from guard.core.logaudit import Head, proven_entries, trusted_head
from guard.core.record import RecordKind
from guard.core.tiles import TileLog

__all__ = ["log"]

_KINDS = [kind.value for kind in RecordKind]
_OUT = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def log() -> None:
    """Read and verify the append-only log."""


@log.command("checkpoint")
@at_log
@under_policy
@click.option("--out", type=_OUT, metavar="FILE", help="Keep the checkpoint.")
@passes
def checkpoint(
    invocation: Invocation, where: str | None, policy: Path | None, out: Path | None
) -> None:
    """Fetch the newest checkpoint and verify it.

    Without --log it is the guard's, and held against the last one seen.
    """
    words = ""
    if where is not None:
        _, head = _public(invocation, where, policy)
    elif policy is not None:
        raise UsageTroubleError("name the log with --log DIR or --log URL")
    else:
        with invocation.connected() as connection:
            trusted = invocation.policy(connection).policy
            seen = checked_checkpoint(connection, invocation.profile, trusted, now=invocation.now)
            remember(invocation.profile, seen)
        head, words = seen.head, seen.words
    if out is not None:
        write_whole(out, head.note, mode=0o644)
    invocation.output.done(
        {
            "origin": head.checkpoint.origin,
            "size": head.size,
            "root": head.root.hex(),
            "cosigned_at": format_time(head.cosigned_at),
            "witnesses": {name: format_time(time) for name, time in head.witnesses.items()},
            "checkpoint": head.note.decode(),
        },
        f"{head.checkpoint.origin}: {head.size} records, signed by the log, cosigned by its "
        f"witnesses ({', '.join(head.witnesses)}) at {stamp(head.cosigned_at)}{words}.",
    )


@log.command("entries")
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="How many at the most.  [default: all]")
@click.option("--kind", type=click.Choice(_KINDS), help="Only records of this kind.")
@click.option("--out", type=_OUT, metavar="FILE", help="Keep the records for `log verify`.")
@at_log
@under_policy
@passes
def entries(
    invocation: Invocation,
    start: int,
    limit: int | None,
    kind: str | None,
    out: Path | None,
    where: str | None,
    policy: Path | None,
) -> None:
    """Read the records in order. Needs the role auditor, or --log for what is public of them."""
    if where is not None:
        if out is not None:
            raise UsageTroubleError("a public log has no records to keep; leave out --log or --out")
        _public_entries(invocation, where, policy, (start, limit), kind)
    elif policy is not None:
        raise UsageTroubleError("name the log with --log DIR or --log URL")
    elif out is not None:
        if start or limit or kind:
            raise UsageTroubleError("--out keeps all records; leave out --start, --limit, --kind")
        _keep(invocation, out)
    else:
        _guards_entries(invocation, start, limit, kind)


def _guards_entries(
    invocation: Invocation, start: int, limit: int | None, kind: str | None
) -> None:
    with invocation.connected() as connection:
        end = start + limit if limit else 0
        records = fetched_records(connection, purpose="log entries", start=start, end=end)
        found = [each for each in records if kind is None or each.entry.kind == kind]
    invocation.output.done(
        {"records": [record_json(each) for each in found]},
        table(("index", "time", "kind", "record"), map(record_row, found))
        if found
        else "No record.",
    )


def _keep(invocation: Invocation, out: Path) -> None:
    with invocation.connected() as connection:
        trusted = invocation.policy(connection).policy
        seen = checked_checkpoint(connection, invocation.profile, trusted, now=invocation.now)
        size = seen.head.size
        records = fetched_entries(connection, purpose="log entries --out", end=size)
        with shown_progress("keeping records", size) as progress:
            count = write_entries(out, records, progress=progress)
    if count != size:
        out.unlink(missing_ok=True)
        raise TroubleError(f"the guard gave {count} records of {size}; nothing was kept")
    write_whole(kept_checkpoint(out), seen.head.note)
    invocation.output.done(
        {"file": str(out), "checkpoint": str(kept_checkpoint(out)), "count": count},
        f"{count} records are in {out}, the checkpoint over them beside it. Only auditors may read "
        "them: keep them, and delete them when they are not needed any more.",
    )


def _public_entries(
    invocation: Invocation,
    where: str,
    policy: Path | None,
    place: tuple[int, int | None],
    kind: str | None,
) -> None:
    files, head = _public(invocation, where, policy)
    start = min(place[0], head.size)
    end = min(start + place[1], head.size) if place[1] else head.size
    with auditing(), checking("the log"):
        proven = proven_entries(TileLog(files.read, head.size), head, start, end)
        found = [each for each in proven if kind is None or each[1].kind == kind]
    invocation.output.done(
        {"entries": [entry_json(*each) for each in found]},
        table(("index", "time", "kind"), (entry_row(*each) for each in found))
        if found
        else "No entry.",
    )


def _public(invocation: Invocation, where: str, policy: Path | None) -> tuple[PublicLogFiles, Head]:
    files = open_public_log(where)
    trusted = log_policy(invocation, files, policy)
    with auditing():
        return files, trusted_head(files.checkpoint(), trusted, now=invocation.now())


for _command in (prove, verify, follow):
    log.add_command(_command)
