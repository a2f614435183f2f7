"""``callguard log verify``: everything that can be checked, line by line, to the first discrepancy.

With ``--log`` the public log is verified from its tiles, and records against it where they are
given. Without, an auditor verifies the records that the guard shows against its checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click

from guard.cli.durations import DURATION, spoken, stamp
from guard.cli.exits import UnreachableError, UsageTroubleError, auditing
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import (
    at_log,
    input_file,
    log_policy,
    pinned_roots,
    read_file,
    shown_progress,
    under_policy,
    with_records,
)
from guard.cli.log_verification import (
    checked_checkpoint,
    fetched_entries,
    remember,
)
from guard.cli.public_log import PublicLogFiles, open_public_log
from guard.cli.record_auditing import RecordReport, audited_records
from guard.cli.record_source import exported_entries, kept_checkpoint
from guard.core.fields import format_time
from guard.core.logaudit import (
    Head,
    LogCounts,
    Older,
    audit_entries,
    older_head,
    require_continued,
    trusted_head,
)
from guard.core.logpolicy import LogPolicy
from guard.core.merkle import leaf_hash
from guard.core.reasons import Refused
from guard.core.tampering import diagnose
from guard.core.tiles import TileLog
from guard.core.trust import PinnedRoots

__all__ = ["verify"]


@click.command("verify", cls=Command)
@at_log
@under_policy
@input_file("--checkpoint", "Verify under this checkpoint in place of the log's newest.")
@input_file("--since", "An older checkpoint that this one must continue.")
@with_records
@input_file("--roots", "The pinned roots of trust, roots.json, for what is signed in records.")
@click.option("--max-age", type=DURATION, help="How old cosignatures may be.  [default: any age]")
@passes
def verify(
    invocation: Invocation,
    where: str | None,
    policy: Path | None,
    checkpoint: Path | None,
    since: Path | None,
    records: Path | None,
    roots: Path | None,
    max_age: timedelta | None,
) -> None:
    """Verify the whole log: signatures, witnesses, every entry's place, nothing rewritten.

    With --log nothing is needed but the policy; with --records and --roots everything that nodes
    and roots have signed is verified too. Without --log the role auditor is needed.

    Ends with status 3 at the first discrepancy, said as "discrepancy: KIND: sentence".
    """
    if where is None:
        if any((policy, checkpoint, since, records, roots, max_age)):
            raise UsageTroubleError("name the log with --log DIR or --log URL")
        _verify_guard(invocation)
        return
    if roots is not None and records is None:
        raise UsageTroubleError("--roots is for --records FILE")
    pinned = None if records is None else pinned_roots(invocation, roots)
    files = open_public_log(where)
    trusted = log_policy(invocation, files, policy)
    note = read_file(checkpoint) if checkpoint else files.checkpoint()
    with auditing():
        head = trusted_head(note, trusted, now=invocation.now(), max_age=max_age)
        _say_head(invocation, head, trusted)
        older = None
        if since is not None:
            older = older_head(read_file(since), trusted, now=invocation.now(), what=str(since))
        log = TileLog(files.read, head.size)
        counts = _audited(files, log, head, older, records)
        _say_entries(invocation, counts, older)
        report = None
        if records is not None and pinned is not None:
            size = _covered(invocation, log, head, records, trusted)
            report = _exported(log, head, size, records, pinned)
        elif policy is None and invocation.folder is not None:
            with _optional_guard():
                report = _fetched(invocation, log, head)
        else:
            invocation.output.say("records: none given; only what is public was verified")
    _say_end(invocation, head, counts.kinds, report)


def _audited(
    files: PublicLogFiles, log: TileLog, head: Head, older: Older | None, records: Path | None
) -> LogCounts:
    """Verify the tiles; say of tiles that do not fit which is wrong."""
    try:
        with shown_progress("verifying entries", head.size) as progress:
            return audit_entries(log, head, older=older, progress=progress)
    except Refused as refused:
        opened = None if records is None else partial(_leaves, records, head.size)
        raise diagnose(files.read, log, head, refused, opened) from refused


def _leaves(records: Path, size: int) -> Iterator[bytes]:
    for _, entry in islice(exported_entries(records), size):
        yield leaf_hash(entry.leaf())


def _covered(
    invocation: Invocation, log: TileLog, head: Head, records: Path, policy: LogPolicy
) -> int:
    """Return how many entries have their records in a file: as many as its checkpoint says."""
    path = kept_checkpoint(records)
    if not path.exists():
        return head.size
    kept = older_head(read_file(path), policy, now=invocation.now(), what=str(path))
    if kept.size >= head.size:
        return head.size
    require_continued(kept.checkpoint, head, log.root)
    invocation.output.say(
        f"records: those of the first {kept.size} entries are verified, up to the checkpoint that "
        "was kept with them"
    )
    return kept.size


def _exported(
    log: TileLog, head: Head, size: int, records: Path, roots: PinnedRoots
) -> RecordReport:
    with shown_progress("verifying records", size) as progress:
        leaves = log.leaf_hashes(0, size)
        entries = exported_entries(records)
        return audited_records(entries, head, roots, leaves=leaves, progress=progress)


def _fetched(invocation: Invocation, log: TileLog, head: Head) -> RecordReport:
    roots = invocation.profile.pinned_roots()
    with (
        invocation.connected() as connection,
        shown_progress("verifying records", head.size) as progress,
    ):
        entries = fetched_entries(connection, purpose="log verify", end=head.size)
        leaves = log.leaf_hashes(0, head.size)
        return audited_records(entries, head, roots, leaves=leaves, progress=progress)


@contextmanager
def _optional_guard() -> Iterator[None]:
    """Within: the guard is asked for records; without them the rest can be verified."""
    try:
        yield
    except UnreachableError as error:
        sentence = f"{error}; with --policy FILE what is public is verified without the guard"
        raise UnreachableError(sentence) from error


def _verify_guard(invocation: Invocation) -> None:
    with invocation.connected() as connection, auditing():
        trusted = invocation.policy(connection).policy
        seen = checked_checkpoint(connection, invocation.profile, trusted, now=invocation.now)
        _say_head(invocation, seen.head, trusted.log)
        entries = fetched_entries(connection, purpose="log verify", end=seen.head.size)
        with shown_progress("verifying records", seen.head.size) as progress:
            report = audited_records(
                entries,
                seen.head,
                invocation.profile.pinned_roots(),
                before=seen.before,
                progress=progress,
            )
        remember(invocation.profile, seen)
    _say_end(invocation, seen.head, report.counts.kinds, report, words=seen.words)


def _say_head(invocation: Invocation, head: Head, policy: LogPolicy) -> None:
    say = invocation.output.say
    say(f"checkpoint: {head.checkpoint.origin}, {head.size} entries, root {head.root.hex()}")
    say("signature: by the log")
    keys = {each.name: each.key.name for each in policy.witnesses}
    for name, time in head.witnesses.items():
        known = f" ({keys[name]})" if keys[name] != name else ""
        say(f"witness: {name}{known} cosigned at {stamp(time)}")
    say(f"quorum: {policy.words()}, made by {len(head.witnesses)}")


def _say_entries(invocation: Invocation, counts: LogCounts, older: Older | None) -> None:
    say = invocation.output.say
    bundles = "1 bundle" if counts.bundles == 1 else f"{counts.bundles} bundles"
    say(f"tiles: {bundles} and every tile above lead to the root")
    if counts.first and counts.last:
        say(
            f"entries: {counts.entries}, from {stamp(counts.first)} to {stamp(counts.last)}, none "
            "dated back"
        )
    if older is not None:
        say(f"older checkpoint: its {older.size} entries are the first ones of this log")


def _say_end(
    invocation: Invocation,
    head: Head,
    kinds: dict[str, int],
    report: RecordReport | None,
    words: str = "",
) -> None:
    if report is not None:
        for line in report.lines():
            invocation.output.say(line)
    said: dict[str, Any] = {
        "origin": head.checkpoint.origin,
        "size": head.size,
        "root": head.root.hex(),
        "cosigned_at": format_time(head.cosigned_at),
        "witnesses": {name: format_time(time) for name, time in head.witnesses.items()},
        "kinds": dict(sorted(kinds.items())),
        "records": None if report is None else report.json(),
        "records_verified_to": 0 if report is None else report.counts.records,
        "verified": True,
    }
    age = spoken(invocation.now() - head.cosigned_at)
    verified = 0 if report is None else report.counts.records
    what = "records" if verified == head.size else "entries"
    opened = f"; the records of its first {verified} entries are theirs"
    invocation.output.done(
        said,
        f"The log of {head.size} {what} is whole: signed by {head.checkpoint.origin}, cosigned "
        f"{age} ago by {len(head.witnesses)} of its witnesses, every one in its place{words}"
        f"{opened if 0 < verified < head.size else ''}.",
    )
