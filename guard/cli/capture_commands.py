"""``callguard capture``: start, stop, list, watch, fetch.

1. `start` carries a request id: repeating a command with it repeats the answer, never the grant.
2. `stop` never asks.
3. Leaving `watch` leaves the capture running, and says so. A guard that goes away in the meantime
   is waited for; one that never answered is not.
4. `fetch` keeps only what was verified (`guard.cli.segments`); it may be repeated.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn

from guard.api.v1.capture_service_pb2 import (
    Capture,
    FetchCaptureRequest,
    FetchCaptureResponse,
    RequestCaptureRequest,
    StopCaptureRequest,
    WatchCaptureRequest,
)
from guard.cli.connection import Connection
from guard.cli.durations import spoken, stamp
from guard.cli.exits import TroubleError, UnreachableError
from guard.cli.ids import ID
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.output import table
from guard.cli.plain_words import grid
from guard.cli.segments import Kept, keep_segments, missing, open_segments
from guard.cli.translate import capture_json, capture_state, moment
from guard.core.level import Level

__all__ = ["capture"]

_OVER = {"ended", "refused"}
_PATIENCE = 60  # tries, a second apart, once the guard has answered at all


@click.group(cls=Group)
def capture() -> None:
    """Start, stop, list, watch and fetch captures."""


@capture.command("start")
@click.argument("authority", metavar="AUTHORITY", type=ID)
@click.option("--node", required=True, help="On which node.")
@click.option("--level", type=click.Choice(list(Level)), help="Less than the authority allows.")
@click.option("--request-id", type=ID, help="Repeat an earlier request without starting twice.")
@passes
def start(
    invocation: Invocation, authority: str, node: str, level: str | None, request_id: str | None
) -> None:
    """Start a capture under an authority on a node."""
    request = RequestCaptureRequest(
        request_id=request_id or str(uuid.uuid4()),
        authority_id=authority,
        node=node,
        level=level or "",
    )
    with invocation.connected() as connection:
        made = connection.call(connection.captures.RequestCapture, request).capture
    invocation.output.done(
        capture_json(made) | {"request_id": request.request_id},
        f"Granted capture {made.id} on {made.node} until {stamp(moment(made.not_after))}.\n"
        f"Next: callguard capture watch {made.id}",
    )


@capture.command("stop")
@click.argument("id_", metavar="CAPTURE", type=ID)
@passes
def stop(invocation: Invocation, id_: str) -> None:
    """Stop a capture for good."""
    with invocation.connected() as connection:
        request = StopCaptureRequest(capture_id=id_)
        after = connection.call(connection.captures.StopCapture, request).capture
    invocation.output.done(
        capture_json(after),
        f"Capture {id_} is {capture_state(after)}. What it sealed: callguard capture fetch {id_} "
        "--out DIR",
    )


@capture.command("list")
@click.option("--authority", type=ID, metavar="ID", help="Only those under this authority.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@passes
def list_(invocation: Invocation, authority: str | None, limit: int) -> None:
    """List captures, newest first."""
    with invocation.connected() as connection:
        found = connection.list_captures(limit, authority=authority or "")
    headings = ("id", "reference", "node", "level", "state", "until", "calls", "packets", "drops")
    invocation.output.done(
        {"captures": [capture_json(shown) for shown in found]},
        table(headings, map(_row, found)) if found else "There is no capture.",
    )


def _row(shown: Capture) -> tuple[str, ...]:
    counters = shown.counters
    why = f" ({shown.why})" if shown.why else ""
    state = f"{capture_state(shown)}{why}"
    until = stamp(moment(shown.not_after))
    numbers = (str(n) for n in (counters.calls, counters.packets, counters.drops))
    return (shown.id, shown.reference, shown.node, shown.level, state, until, *numbers)


@capture.command("watch")
@click.argument("id_", metavar="CAPTURE", type=ID)
@passes
def watch(invocation: Invocation, id_: str) -> None:
    """Show a capture live until it has ended."""
    with invocation.connected() as connection:
        if invocation.json_only:
            for shown in _watched(invocation, connection, id_):
                invocation.output.line(capture_json(shown))
        else:
            _show_live(invocation, connection, id_)


def _watched(invocation: Invocation, connection: Connection, id_: str) -> Iterator[Capture]:
    """Yield what the guard says until the capture is over; a guard that is away is waited for."""
    request = WatchCaptureRequest(capture_id=id_)
    tries = 0
    while True:
        try:
            for answer in connection.stream(connection.captures.WatchCapture, request):
                tries = _PATIENCE
                yield answer.capture
                if capture_state(answer.capture) in _OVER:
                    return
        except UnreachableError as error:
            if not tries:
                raise
            invocation.output.note(f"{error}. The capture ends with its lease; trying again")
            tries -= 1
        time.sleep(1)


def _show_live(invocation: Invocation, connection: Connection, id_: str) -> None:
    shown: Capture | None = None
    try:
        with Live(console=invocation.output.console, auto_refresh=False) as live:
            for shown in _watched(invocation, connection, id_):
                live.update(grid(list(_live_lines(invocation, shown))), refresh=True)
    except KeyboardInterrupt:
        invocation.output.note(
            f"You left; the capture goes on. End it with: callguard capture stop {id_}"
        )


def _live_lines(invocation: Invocation, shown: Capture) -> Iterator[tuple[str, str]]:
    now, counters = invocation.now(), shown.counters
    yield "Capture", shown.id
    yield "Under", f"{shown.reference}, {shown.level} on {shown.node}"
    yield "State", f"{capture_state(shown)}{f': {shown.why}' if shown.why else ''}"
    live = capture_state(shown) not in _OVER
    if live:
        yield "Time left", spoken(moment(shown.not_after) - now)
    if live and shown.HasField("lease_until"):
        yield "Lease", f"{spoken(moment(shown.lease_until) - now)} unless renewed"
    yield "Calls", str(counters.calls)
    yield "Packets", f"{counters.packets}, {counters.bytes} bytes"
    yield "Dropped", str(counters.drops)
    yield "Sealed", f"{shown.segments} segments, {shown.sealed_bytes} bytes"


@capture.command("fetch")
@click.argument("id_", metavar="CAPTURE", type=ID)
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to put the files; made if missing.",
)
@click.option("--open", "opened", is_flag=True, help="Decrypt with your key, to one .pcapng.")
@passes
def fetch(invocation: Invocation, id_: str, folder: Path, *, opened: bool) -> None:
    """Fetch the sealed segments of a capture, verify them, and open them if asked."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TroubleError(f"cannot make {folder}: {error.strerror}") from error
    identity = invocation.profile.identity() if opened else None
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        pieces = connection.stream(
            connection.captures.FetchCapture, FetchCaptureRequest(capture_id=id_)
        )
        kept = list(keep_segments(id_, _with_progress(pieces), folder, policy))
    target = folder / f"{id_}.pcapng"
    if identity is not None and kept:
        open_segments(kept, identity, target)
    result = target if identity is not None and kept else None
    invocation.output.done(_fetched_json(id_, kept, result), _fetched_words(kept, folder, result))


def _with_progress(pieces: Iterator[FetchCaptureResponse]) -> Iterator[FetchCaptureResponse]:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("fetching and verifying", total=None)
        for piece in pieces:
            progress.advance(task, len(piece.chunk))
            yield piece


def _fetched_json(id_: str, kept: list[Kept], opened: Path | None) -> dict[str, object]:
    segments = [
        {
            "number": segment.number,
            "path": str(segment.path),
            "size": segment.size,
            "sha256": segment.sha256,
            "node": segment.node,
            "packets": segment.packets,
            "drops": segment.drops,
        }
        for segment in kept
    ]
    return {
        "capture": id_,
        "segments": segments,
        "missing": missing(kept),
        "opened": str(opened) if opened else None,
    }


def _fetched_words(kept: list[Kept], folder: Path, opened: Path | None) -> str:
    if not kept:
        return "The guard holds no segment of it yet. A node uploads every few seconds; try again."
    packets, drops = sum(s.packets for s in kept), sum(s.drops for s in kept)
    words = (
        f"{len(kept)} segments, {packets} packets, {drops} dropped, are in {folder}; each matches "
        f"the receipt that {', '.join(sorted({s.node for s in kept}))} signed."
    )
    if gap := missing(kept):
        words += (
            f"\nMISSING: {', '.join(map(str, gap))}. Their retention is over, or they were "
            "withheld; an auditor sees which: callguard log entries --kind segment_deleted"
        )
    if opened:
        return f"{words}\nOpened: {opened}\nRead it with: tshark -r {opened}"
    return f"{words}\nOpen them with --open, or: age -d -i sealing.key SEGMENT | tshark -r -"
