"""``callguard log``: checkpoint, entries, prove, verify.

What `entries` prints is the guard's word; the others verify first, by
`guard.cli.log_verification`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from guard.api.v1.audit_service_pb2 import GetInclusionProofRequest
from guard.cli.durations import spoken, stamp
from guard.cli.exits import TroubleError, checking
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.log_verification import (
    Numbered,
    checked_checkpoint,
    fetched_records,
    recomputed,
    remember,
    verify_proof,
)
from guard.cli.output import table
from guard.cli.profile import write_whole
from guard.core.fields import format_time, parse_time
from guard.core.record import RecordKind

__all__ = ["log"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.group(cls=Group)
def log() -> None:
    """Read and verify the append-only log."""


@log.command("checkpoint")
@passes
def checkpoint(invocation: Invocation) -> None:
    """Fetch the newest checkpoint, verify it, and hold it against the last one seen."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        seen = checked_checkpoint(connection, invocation.profile, policy, now=invocation.now)
        remember(invocation.profile, seen)
    trusted = seen.trusted
    invocation.output.done(
        {
            "origin": trusted.origin,
            "size": trusted.size,
            "root": trusted.root.hex(),
            "cosigned_at": format_time(trusted.cosigned_at),
            "checkpoint": seen.note.decode(),
        },
        f"{trusted.origin}: {trusted.size} records, signed by the log, cosigned by its witnesses "
        f"at {stamp(trusted.cosigned_at)}{seen.words}.",
    )


@log.command("entries")
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="How many at the most.  [default: all]")
@click.option("--kind", type=click.Choice(list(RecordKind)), help="Only records of this kind.")
@passes
def entries(invocation: Invocation, start: int, limit: int | None, kind: str | None) -> None:
    """Read the records in order. Needs the role auditor."""
    with invocation.connected() as connection:
        end = start + limit if limit else 0
        records = fetched_records(connection, purpose="log entries", start=start, end=end)
        found = [each for each in records if kind is None or each.entry.kind == kind]
    invocation.output.done(
        {"records": [_json(each) for each in found]},
        table(("index", "time", "kind", "record"), map(_row, found)) if found else "No record.",
    )


def _json(each: Numbered) -> dict[str, Any]:
    return {
        "index": each.index,
        "time": each.entry.time,
        "kind": each.entry.kind,
        "digest": each.entry.digest.hex(),
        "body": dict(each.record.body) if each.record else None,
        "salt": each.record.salt.hex() if each.record else None,
    }


def _row(each: Numbered) -> tuple[str, ...]:
    words = "(erased)"
    if each.record is not None:
        words = " ".join(f"{key}={value}" for key, value in _flat(each.record.body))
    return (str(each.index), stamp(parse_time(each.entry.time)), each.entry.kind, words)


def _flat(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a record for people: nested ones in line, digests by their beginning."""
    for key in sorted(body):
        match body[key]:
            case dict() as inner:
                yield from _flat(inner)
            case list() as several:
                yield key, ",".join(map(str, several))
            case str() as text if _DIGEST.fullmatch(text):
                yield key, f"{text[:12]}…"
            case "":
                pass
            case value:
                yield key, str(value)


@log.command("prove")
@click.argument("index", type=click.IntRange(min=0))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the proof: a c2sp.org/tlog-proof@v1 that anybody can verify offline.",
)
@passes
def prove(invocation: Invocation, index: int, out: Path | None) -> None:
    """Prove that the record at INDEX is in the log. Needs the role auditor."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        request = GetInclusionProofRequest(index=index)
        proof = connection.call(connection.audit.GetInclusionProof, request).proof
    with checking("the proof"):
        proven = verify_proof(proof, policy, now=invocation.now())
    if proven.index != index:
        raise TroubleError("the guard proved another record than the one asked for; refused")
    if out is not None:
        write_whole(out, proof, mode=0o644)
    invocation.output.done(
        _json(proven) | {"proof": proof.decode()},
        f"Record {index}, {proven.entry.kind} of {stamp(parse_time(proven.entry.time))}, is in "
        f"the log."
        f"{f' The proof is in {out}.' if out else ''}",
    )


@log.command("verify")
@passes
def verify(invocation: Invocation) -> None:
    """Verify the whole log: signatures, witnesses, every record's place, nothing rewritten.

    Needs the role auditor.
    """
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        seen = checked_checkpoint(connection, invocation.profile, policy, now=invocation.now)
        with _progress(seen.trusted.size) as progress:
            counts = recomputed(connection, seen, progress=progress)
        remember(invocation.profile, seen)
    trusted = seen.trusted
    age = spoken(invocation.now() - trusted.cosigned_at)
    invocation.output.done(
        {"size": trusted.size, "root": trusted.root.hex(), "kinds": counts, "verified": True},
        f"The log of {trusted.size} records is whole: signed by {trusted.origin}, cosigned "
        f"{age} ago by {policy.log.words()}, "
        f"every record in its place{seen.words}.",
    )


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("verifying records", total=size)
        yield lambda done: shown.update(task, completed=done)
