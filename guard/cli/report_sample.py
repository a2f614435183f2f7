"""Drawing the sample of TKÜV section 17, and checking from outside that it was not steered.

1. The nonce is drawn here and told nobody before its commitment is on record (`sampling`, rule 1).
2. `sample-check` needs the report, the public log and its policy: the commitment's record is in
   the log behind the period, the root is that of the public tree, every use of the period is an
   entry of the report, and the sample is what nonce and root make it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1.audit_service_pb2 import CommitSampleRequest
from guard.cli.audit_history import Told
from guard.cli.exits import UsageTroubleError, auditing
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import at_log, log_policy, under_policy
from guard.cli.public_log import open_public_log
from guard.cli.report_files import read_report
from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.fields import format_time, parse_time
from guard.core.logaudit import parse_entry, trusted_head
from guard.core.merkle import leaf_hash
from guard.core.note import decode_base64, encode_base64
from guard.core.reasons import Refused
from guard.core.record import RecordKind, encode_opening, leaf, parse_opening
from guard.core.sampling import NONCE_BYTES, commitment, sample, seed
from guard.core.tiles import TileLog
from guard.core.uses import USE_KINDS, Use, UseBook
from guard.core.window import Window

__all__ = ["Draw", "drawn", "redrawn", "sample_check", "sampled"]


@dataclass(frozen=True, slots=True)
class Draw:
    """A nonce and where its commitment stands in the log."""

    nonce: bytes = field(repr=False)
    index: int


def drawn(invocation: Invocation, period: Window) -> Draw:
    """Draw a nonce and have it committed to (rule 1); raises a `Failure`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(period.not_before)
    end.FromDatetime(period.not_after)
    with invocation.connected() as connection:
        request = CommitSampleRequest(start=start, end=end, commitment=commitment(nonce))
        return Draw(nonce, connection.call(connection.audit.CommitSample, request).index)


def redrawn(path: Path, period: Window) -> Draw:
    """Take the draw of an earlier report of the same period."""
    report = read_report(path)
    if (report.get("from"), report.get("to")) != _times(period):
        raise UsageTroubleError(f"{path} is a report of another period")
    nonce, index, _ = _draw_of(report, path)
    return Draw(nonce, index)


def sampled(
    told: Told[UseBook], draw: Draw | None, uses: Sequence[Use], period: Window
) -> dict[str, Any] | None:
    """Return the sample and all that an outsider needs to draw it again; None without a draw."""
    if draw is None:
        return None
    mine = next((each for each in told.history.samples if each.index == draw.index), None)
    known = mine is not None and (mine.commitment, mine.period) == (commitment(draw.nonce), period)
    if mine is None or not known or told.marked is None:
        raise Discrepant(
            Discrepancy.RECORD_MISSING, "the sample's commitment is not on record", index=draw.index
        )
    earlier = [
        each.index
        for each in told.history.samples
        if each.period == period and each.index < draw.index
    ]
    drawn_from = {each.index: each.leaf for each in uses}
    return {
        "index": draw.index,
        "nonce": encode_base64(draw.nonce),
        "root": encode_base64(told.marked),
        "opening": encode_base64(encode_opening(mine.opening)),
        "earlier": earlier,
        "counts": not earlier,
        "of": len(drawn_from),
        "indices": list(sample(seed(told.marked, draw.nonce), drawn_from)),
    }


@click.command("sample-check", cls=Command)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True))
@at_log
@under_policy
@passes
def sample_check(
    invocation: Invocation, path: Path, where: str | None, policy: Path | None
) -> None:
    """Check that the sample of a TKÜV report was not steered, with the public log alone."""
    if where is None:
        raise UsageTroubleError("name the public log with --log DIR or --log URL")
    report = read_report(path)
    files = open_public_log(where)
    trusted = log_policy(invocation, files, policy)
    with auditing():
        head = trusted_head(files.checkpoint(), trusted, now=invocation.now())
        log = TileLog(files.read, head.size)
        try:
            if log.check() != head.root:
                raise Discrepant(Discrepancy.TILE_ALTERED, "the entries lead to another root")
            count = _check(report, path, log, TileLog(files.read, _size(report, path)))
        except (Refused, FileNotFoundError) as error:
            sentence = getattr(error, "detail", "a file of the log is missing")
            raise Discrepant(Discrepancy.TILE_ALTERED, sentence) from error
    before = list(report["sample"]["earlier"])
    words = (
        f"The sample of {count} entries is what nonce and log make it; every use of the period is "
        "in the report."
    )
    if before:
        words += f" It was drawn before, at {before}: this draw does not count."
    invocation.output.done({"checked": True, "sample": count, "earlier": before}, words)


def _size(report: Mapping[str, Any], path: Path) -> int:
    """Return the size of the tree that ends with the commitment."""
    return _draw_of(report, path)[1] + 1


def _check(report: Mapping[str, Any], path: Path, log: TileLog, then: TileLog) -> int:
    """Hold a report against the log (rule 2); return how many entries the sample has.

    ``then`` is the log as it ended with the commitment.
    """
    nonce, index, root = _draw_of(report, path)
    period = Window(
        not_before=parse_time(str(report.get("from"))), not_after=parse_time(str(report.get("to")))
    )
    if index >= log.size:
        raise _wrong("the log ends before the commitment")
    _check_commitment(report, log, index, nonce, period)
    if then.root() != root:
        raise _wrong("the root is not that of the tree which ends with the commitment")
    leaves = _uses(log, period)
    entered = [int(each["entry"]) for each in report.get("entries", ())]
    if entered != list(leaves):
        raise _wrong("the report does not hold exactly the uses of the period")
    expected = list(sample(seed(root, nonce), leaves))
    marked = [int(each["entry"]) for each in report["entries"] if "sample" in each["examine"]]
    if expected != list(report["sample"].get("indices", ())) or expected != marked:
        raise _wrong("the sample is not what nonce and root make it")
    return len(expected)


def _check_commitment(
    report: Mapping[str, Any], log: TileLog, index: int, nonce: bytes, period: Window
) -> None:
    """Hold the commitment on record against the nonce, the period and its end."""
    record = parse_opening(decode_base64(str(report["sample"].get("opening"))))
    (data,) = log.leaves(index, index + 1)
    body = record.body
    said = (body.get("commitment"), body.get("start"), body.get("end"))
    if (
        data != leaf(record)
        or record.kind is not RecordKind.SAMPLE_COMMITTED
        or said != (commitment(nonce), *_times(period))
        or record.time < period.not_after
    ):
        raise _wrong("the commitment on record is not that of this sample")


def _uses(log: TileLog, period: Window) -> dict[int, bytes]:
    """Return the hashes of the leaves that stand for uses in the period, by index."""
    found: dict[int, bytes] = {}
    for index, data in enumerate(log.leaves(0, log.size)):
        entry = parse_entry(index, data)
        if entry.kind in USE_KINDS and period.contains(entry.time):
            found[index] = leaf_hash(data)
    return found


def _draw_of(report: Mapping[str, Any], path: Path) -> tuple[bytes, int, bytes]:
    try:
        found = report["sample"]
        return decode_base64(found["nonce"]), int(found["index"]), decode_base64(found["root"])
    except (KeyError, TypeError, ValueError, Refused) as error:
        raise UsageTroubleError(f"{path} is no report with a sample") from error


def _times(period: Window) -> tuple[str, str]:
    return format_time(period.not_before), format_time(period.not_after)


def _wrong(sentence: str) -> Discrepant:
    return Discrepant(Discrepancy.SAMPLE_STEERED, sentence)
