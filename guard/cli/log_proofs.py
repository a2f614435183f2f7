"""``callguard log prove``: that one record is in the log, for whoever has the policy.

1. A proof is a c2sp.org/tlog-proof@v1. Its extra data is the record's opening; where that is not at
   hand, or too large for a proof, it is the entry itself.
2. A proof that shows a record is kept so that nobody else on this machine reads it.
3. A proof is verified before it is kept or shown: its checkpoint's signatures and quorum, and that
   the extra data hashes to the leaf that is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from guard.api.v1.audit_service_pb2 import GetInclusionProofRequest
from guard.cli.durations import stamp
from guard.cli.exits import TroubleError, UsageTroubleError, auditing, checking
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import (
    at_log,
    input_file,
    log_policy,
    read_file,
    under_policy,
    with_records,
)
from guard.cli.log_tables import words
from guard.cli.profile import write_whole
from guard.cli.public_log import open_public_log
from guard.cli.record_source import exported_entries
from guard.core.fields import format_time
from guard.core.logaudit import Head, PublicEntry, parse_entry, trusted_head
from guard.core.logpolicy import LogPolicy, parse_log_policy
from guard.core.merkle import leaf_hash, verify_inclusion
from guard.core.proof import MAX_PROOF_BYTES, LogProof, encode_proof, parse_proof
from guard.core.reasons import Refused
from guard.core.record import Entry, Record, encode_opening, entry_of, parse_opening
from guard.core.tiles import TileLog

__all__ = ["Proven", "prove", "verify_proof"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a proof proves: an entry's place, and its record when the proof shows it."""

    index: int
    head: Head
    entry: PublicEntry
    record: Record | None


def verify_proof(
    proof: bytes, policy: LogPolicy, *, now: datetime, max_age: timedelta | None = None
) -> Proven:
    """Verify a proof and what it shows (rule 3); raises Refused or Discrepant."""
    parsed = parse_proof(proof)
    head = trusted_head(parsed.checkpoint, policy, now=now, max_age=max_age)
    record = _opening(parsed.extra)
    leaf = parsed.extra if record is None else entry_of(record).leaf()
    verify_inclusion(
        leaf_hash(leaf), index=parsed.index, size=head.size, proof=parsed.hashes, root=head.root
    )
    entry = parse_entry(parsed.index, leaf)
    return Proven(index=parsed.index, head=head, entry=entry, record=record)


def _opening(extra: bytes) -> Record | None:
    try:
        return parse_opening(extra)
    except Refused:
        return None  # It is the entry, or nothing: the inclusion proof tells (rule 1).


@click.command("prove", cls=Command)
@click.argument("index", type=click.IntRange(min=0), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the proof: a c2sp.org/tlog-proof@v1 that anybody can verify offline.",
)
@at_log
@under_policy
@with_records
@input_file("--check", "Verify this proof in place of making one.")
@passes
def prove(
    invocation: Invocation,
    index: int | None,
    out: Path | None,
    where: str | None,
    policy: Path | None,
    records: Path | None,
    check: Path | None,
) -> None:
    """Prove that the record at INDEX is in the log, or verify such a proof with --check.

    With --log the proof is made from the tiles, and the record is in it when --records has it.
    Without, the guard makes it, and the role auditor is needed.
    """
    if check is not None and index is None:
        _check(invocation, check, policy)
        return
    if check is not None or index is None:
        raise UsageTroubleError(
            "name the INDEX of a record or a proof with --check FILE, one of them"
        )
    if where is None and (policy or records):
        raise UsageTroubleError("name the log with --log DIR or --log URL")
    if out is not None and out.exists():
        raise UsageTroubleError(f"{out} is there already; name a new file")
    proof, trusted, age = (
        _from_guard(invocation, index)
        if where is None
        else _from_tiles(invocation, index, where, policy, records)
    )
    with checking("the proof"), auditing():
        proven = verify_proof(proof, trusted, now=invocation.now(), max_age=age)
    if proven.index != index:
        raise TroubleError("another record was proven than the one asked for; refused")
    if out is not None:
        write_whole(out, proof, mode=0o644 if proven.record is None else 0o600)
    _say(invocation, proven, proof, f" The proof is in {out}." if out else "")


def _check(invocation: Invocation, path: Path, policy: Path | None) -> None:
    if policy is None:
        raise UsageTroubleError("name the keys of log and witnesses with --policy FILE")
    with checking(str(policy)):
        trusted = parse_log_policy(read_file(policy).decode("utf-8", "surrogateescape"))
    proof = read_file(path)
    with checking("the proof"), auditing():
        proven = verify_proof(proof, trusted, now=invocation.now())
    _say(invocation, proven, proof, "")


def _from_guard(invocation: Invocation, index: int) -> tuple[bytes, LogPolicy, timedelta]:
    with invocation.connected() as connection:
        trusted = invocation.policy(connection).policy
        request = GetInclusionProofRequest(index=index)
        proof = connection.call(connection.audit.GetInclusionProof, request).proof
    return proof, trusted.log, trusted.checkpoint_max_age


def _from_tiles(
    invocation: Invocation, index: int, where: str, policy: Path | None, records: Path | None
) -> tuple[bytes, LogPolicy, None]:
    files = open_public_log(where)
    trusted = log_policy(invocation, files, policy)
    note = files.checkpoint()
    with auditing():
        head = trusted_head(note, trusted, now=invocation.now())
    if index >= head.size:
        raise TroubleError(f"there is no record {index}: the log has {head.size} entries")
    log = TileLog(files.read, head.size)
    with checking("the log"):
        hashes = tuple(log.inclusion(index, head.size))
        (leaf,) = log.leaves(index, index + 1)
    opening = None if records is None else _opened(records, index)
    proof = LogProof(index=index, hashes=hashes, checkpoint=note, extra=opening or leaf)
    encoded = encode_proof(proof)
    if len(encoded) > MAX_PROOF_BYTES:
        invocation.output.note("the record is too large for a proof; its entry is in it instead")
        encoded = encode_proof(LogProof(index=index, hashes=hashes, checkpoint=note, extra=leaf))
    return encoded, trusted, None


def _opened(path: Path, index: int) -> bytes | None:
    entry = _at(path, index)
    if entry is None or entry.erased:
        raise TroubleError(f"{path} does not show record {index}; leave out --records")
    with checking(f"record {index}"):
        return encode_opening(entry.record())


def _at(path: Path, index: int) -> Entry | None:
    _, entry = next(islice(exported_entries(path), index, None), (index, None))
    return entry


def _say(invocation: Invocation, proven: Proven, proof: bytes, more: str) -> None:
    entry, record = proven.entry, proven.record
    said: dict[str, Any] = {
        "index": proven.index,
        "time": format_time(entry.time),
        "kind": entry.kind,
        "digest": entry.digest,
        "body": None if record is None else dict(record.body),
        "salt": None if record is None else record.salt.hex(),
        "size": proven.head.size,
        "witnesses": {name: format_time(time) for name, time in proven.head.witnesses.items()},
        "proof": proof.decode(),
    }
    shown = "" if record is None else f" It says: {words(record.body)}."
    invocation.output.done(
        said,
        f"Record {proven.index}, {entry.kind} of {stamp(entry.time)}, is in the log.{more}{shown}",
    )
