"""``callguard log follow``: every new checkpoint verified, every new entry as it comes.

1. A checkpoint counts as in `guard.core.logaudit`, must continue the last one that counted, and its
   new entries must lead to its root. Only then they are printed, and it becomes the last one.
2. The first discrepancy ends it, with status 3. Of a log that forked or shrank, the checkpoint that
   contradicts the last one is kept beside it.
3. A log or guard that is away is waited for, which is said once. Control-C ends it with status 0.
4. The last checkpoint is kept in the file named with ``--state``, or in the profile whose trust
   policy counts. Without either, following begins with the newest checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from guard.cli.durations import DURATION, stamp
from guard.cli.exits import Failure, UnreachableError, UsageTroubleError, auditing
from guard.cli.guard_following import GuardFollower
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import at_log, log_policy, read_file, under_policy
from guard.cli.log_tables import entry_json, entry_row
from guard.cli.log_verification import kept_conflict
from guard.cli.output import Output
from guard.cli.profile import write_whole
from guard.cli.public_log import PublicLogFiles, open_public_log
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.logaudit import (
    Dates,
    Head,
    Older,
    PublicEntry,
    added_entries,
    older_head,
    trusted_head,
)
from guard.core.logpolicy import LogPolicy
from guard.core.reasons import Reason, Refused
from guard.core.tampering import diagnose
from guard.core.tiles import TileLog

__all__ = ["follow"]

_CONFLICTS = frozenset({Discrepancy.LOG_FORKED, Discrepancy.LOG_SHRUNK})


@click.command("follow", cls=Command)
@at_log
@under_policy
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the last verified checkpoint here and go on from it.",
)
@click.option(
    "--every",
    type=DURATION,
    default="5s",
    show_default=True,
    help="How often to look for a new checkpoint.",
)
@passes
def follow(
    invocation: Invocation,
    where: str | None,
    policy: Path | None,
    state: Path | None,
    every: timedelta,
) -> None:
    """Verify every new checkpoint and print new entries, until Control-C or a discrepancy.

    Without --log the guard is followed, which needs the role auditor.
    """
    if where is None and (policy or state):
        raise UsageTroubleError("name the log with --log DIR or --log URL")
    show = _printer(invocation)
    step: Callable[[], None]
    if where is None:
        step = GuardFollower(invocation, show).run
    else:
        files = open_public_log(where)
        trusted = log_policy(invocation, files, policy)
        if state is None and policy is None and invocation.folder is not None:
            state = invocation.profile.state_dir / "checkpoint"
        step = _PublicFollower(invocation, files, trusted, state, show).look
    try:
        _repeat(step, every.total_seconds())
    except KeyboardInterrupt:  # Rule 3.
        Output.note("stopped; what was printed was verified")


def _repeat(step: Callable[[], None], pause: float) -> None:
    away, begun = "", False
    while True:
        try:
            step()
            begun = True
            if away:
                Output.note("it is back")
            away = ""
        except UnreachableError as error:
            if str(error) != away:
                Output.note(f"{error}; waiting for it")
            away = str(error)
        except Failure as failure:
            # What was there at first and is not now may come back; what is wrong does not.
            if not begun or failure.status != 1:
                raise
            if str(failure) != away:
                Output.note(f"{failure}; waiting for it")
            away = str(failure)
        time.sleep(pause)


def _printer(invocation: Invocation) -> Callable[[int, PublicEntry], None]:
    def show(index: int, entry: PublicEntry) -> None:
        if invocation.json_only:
            invocation.output.line(entry_json(index, entry))
        else:
            invocation.output.say("  ".join(entry_row(index, entry)))

    return show


class _PublicFollower:
    """Follows the files of a public log."""

    def __init__(
        self,
        invocation: Invocation,
        files: PublicLogFiles,
        policy: LogPolicy,
        state: Path | None,
        show: Callable[[int, PublicEntry], None],
    ) -> None:
        self._invocation, self._files, self._policy = invocation, files, policy
        self._state, self._show = state, show
        self._note = b""
        self._last: Older | None = None
        self._dates = Dates()
        if state is not None and state.exists():
            with auditing():
                now = invocation.now()
                self._last = older_head(read_file(state), policy, now=now, what=str(state))
            Output.note(f"going on from the {self._last.size} entries seen before")

    def look(self) -> None:
        """Verify what is new (rule 1); raises a `Failure`."""
        note = self._files.checkpoint()
        if note == self._note:
            return
        with auditing():
            head = trusted_head(note, self._policy, now=self._invocation.now())
            try:
                self._take(head)
            except Discrepant as found:
                if found.kind in _CONFLICTS and self._state is not None and self._state.exists():
                    raise kept_conflict(self._state, note, found.kind, found.sentence) from found
                raise
        self._note = note
        self._last = Older(checkpoint=head.checkpoint, cosigned_at=head.cosigned_at)
        if self._state is not None:
            write_whole(self._state, note)

    def _take(self, head: Head) -> None:
        log = TileLog(self._files.read, head.size)
        if self._last is None:
            self._require_whole(log, head)
            Output.note(
                f"following {head.checkpoint.origin} from entry {head.size} on, cosigned at "
                f"{stamp(head.cosigned_at)}"
            )
            return
        self._dates.go_on(self._last)
        try:
            entries = added_entries(log, self._last, head, self._dates)
        except Refused as refused:
            raise diagnose(self._files.read, log, head, refused) from refused
        except Discrepant as found:
            if found.kind is Discrepancy.LOG_FORKED:
                self._require_whole(log, head)  # Or were the files replaced?
            raise
        for each in entries:
            self._show(*each)

    def _require_whole(self, log: TileLog, head: Head) -> None:
        try:
            if log.root() == head.root:
                return
            why = Refused(Reason.LOG_PROOF_INVALID, "the tiles lead to another root")
        except Refused as refused:
            why = refused
        raise diagnose(self._files.read, log, head, why)
