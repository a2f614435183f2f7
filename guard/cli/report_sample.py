"""Drawing the sample of TKÜV section 17, and checking from outside that it was not steered.

1. The nonce is drawn here and told nobody before its commitment is on record (`sampling`, rule 1).
   It is kept first, and drawn once for a period: a report that failed or is made again has the same
   sample.
2. `sample-check` needs the report, the public log and its policy: the commitment's record is in
   the log behind the period, the root is that of the public tree, every use of the period that
   stood there before the commitment is an entry of the report, and the sample is what nonce and
   root make it.
3. That nobody drew before is not the report's word: every commitment that the public log holds
   between the period's end and this one is opened in the report, and none is for the same period.
   Those for a period that overlaps are told.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp

from guard.api.v1.audit_service_pb2 import CommitSampleRequest
from guard.cli.audit_history import Told, read_book
from guard.cli.exits import TroubleError, UsageTroubleError, auditing
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import at_log, log_policy, under_policy
from guard.cli.profile import write_whole
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
    path = invocation.profile.state_dir / "samples" / f"{'_'.join(_times(period))}.json"
    kept = _kept(path)
    if kept is None:
        nonce, index = secrets.token_bytes(NONCE_BYTES), None
        _keep(path, nonce, None)
    else:
        nonce, index = kept
        index = _committed(invocation, nonce, period) if index is None else index
    if index is None:
        index = _commit(invocation, nonce, period)
    _keep(path, nonce, index)
    return Draw(nonce, index)


def _commit(invocation: Invocation, nonce: bytes, period: Window) -> int:
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(period.not_before)
    end.FromDatetime(period.not_after)
    with invocation.connected() as connection:
        request = CommitSampleRequest(start=start, end=end, commitment=commitment(nonce))
        return int(connection.call(connection.audit.CommitSample, request).index)


def _committed(invocation: Invocation, nonce: bytes, period: Window) -> int | None:
    """Return where a commitment stands whose answer was lost; None when it is not on record."""
    told = read_book(invocation, UseBook, purpose="report tkuev", records=None, roots=None)
    wanted = (commitment(nonce), period)
    found = (e.index for e in told.history.filed.samples if (e.commitment, e.period) == wanted)
    return next(found, None)


def _keep(path: Path, nonce: bytes, index: int | None) -> None:
    kept = {"nonce": encode_base64(nonce), "index": index}
    write_whole(path, json.dumps(kept).encode())


def _kept(path: Path) -> tuple[bytes, int | None] | None:
    if not path.exists():
        return None
    found = read_report(path)
    try:
        nonce, index = decode_base64(str(found["nonce"])), found["index"]
        commitment(nonce)
    except (KeyError, Refused) as error:
        raise TroubleError(f"{path} does not hold the sample that was drawn") from error
    return nonce, None if index is None else int(index)


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
    mine = next((each for each in told.history.filed.samples if each.index == draw.index), None)
    known = mine is not None and (mine.commitment, mine.period) == (commitment(draw.nonce), period)
    if mine is None or not known or told.marked is None:
        raise Discrepant(
            Discrepancy.RECORD_MISSING, "the sample's commitment is not on record", index=draw.index
        )
    behind = [e for e in told.history.filed.samples if e.opening.time >= period.not_after]
    before = [each for each in behind if each.index < draw.index]
    earlier = [each.index for each in before if each.period == period]
    later = [e.index for e in behind if e.index > draw.index and e.period == period]
    drawn_from = {each.index: each.leaf for each in uses if each.index < draw.index}
    return {
        "index": draw.index,
        "nonce": encode_base64(draw.nonce),
        "root": encode_base64(told.marked),
        "opening": encode_base64(encode_opening(mine.opening)),
        "before": [encode_base64(encode_opening(each.opening)) for each in before],
        "earlier": earlier,
        "later": later,
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
            count, others = _check(report, path, log, TileLog(files.read, _size(report, path)))
        except (Refused, FileNotFoundError) as error:
            sentence = getattr(error, "detail", "a file of the log is missing")
            raise Discrepant(Discrepancy.TILE_ALTERED, sentence) from error
        except (KeyError, TypeError, ValueError) as error:
            raise UsageTroubleError(f"{path} is no report with a sample") from error
    words = (
        f"The sample of {count} entries is the first drawn for the period and what nonce and log "
        "make it; every use of the period is in the report."
    )
    if others:
        words += f" Before it, samples of overlapping periods were drawn, at {others}."
    invocation.output.done({"checked": True, "sample": count, "overlapping": others}, words)


def _size(report: Mapping[str, Any], path: Path) -> int:
    """Return the size of the tree that ends with the commitment."""
    return _draw_of(report, path)[1] + 1


def _check(
    report: Mapping[str, Any], path: Path, log: TileLog, then: TileLog
) -> tuple[int, list[int]]:
    """Hold a report against the log (rules 2 and 3).

    Return how many entries the sample has, and where overlapping periods were drawn before.
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
    others = _check_before(report, log, index, period)
    leaves = _uses(log, period, index)
    entered = [int(each["entry"]) for each in report.get("entries", ())]
    if [each for each in entered if each < index] != list(leaves):
        raise _wrong("the report does not hold exactly the uses of the period")
    expected = list(sample(seed(root, nonce), leaves))
    marked = [int(each["entry"]) for each in report["entries"] if "sample" in each["examine"]]
    if expected != list(report["sample"].get("indices", ())) or expected != marked:
        raise _wrong("the sample is not what nonce and root make it")
    return len(expected), others


def _check_before(report: Mapping[str, Any], log: TileLog, index: int, period: Window) -> list[int]:
    """Hold every commitment before this one against its opening (rule 3)."""
    openings = [parse_opening(decode_base64(str(e))) for e in report["sample"].get("before", ())]
    opened = {leaf(each): each for each in openings}
    others: list[int] = []
    for number, data in enumerate(log.leaves(0, index)):
        entry = parse_entry(number, data)
        if entry.kind != RecordKind.SAMPLE_COMMITTED or entry.time < period.not_after:
            continue
        if data not in opened:
            raise _wrong(f"the report does not show the sample that was drawn before, at {number}")
        body = opened[data].body
        start, end = parse_time(str(body.get("start"))), parse_time(str(body.get("end")))
        if (start, end) == (period.not_before, period.not_after):
            raise _wrong(f"the period was drawn before, at {number}: that sample counts")
        if start < period.not_after and period.not_before < end:
            others.append(number)
    return others


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


def _uses(log: TileLog, period: Window, end: int) -> dict[int, bytes]:
    """Return the hashes of the leaves before `end` that stand for uses in the period, by index."""
    found: dict[int, bytes] = {}
    for index, data in enumerate(log.leaves(0, end)):
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
