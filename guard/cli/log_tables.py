"""Entries and records of the log for people and for machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from guard.cli.durations import stamp
from guard.cli.log_verification import Numbered
from guard.core.fields import format_time, parse_time
from guard.core.logaudit import PublicEntry

__all__ = ["entry_json", "entry_row", "record_json", "record_row", "words"]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DOCUMENTS: Final = frozenset({"document", "envelope", "receipt", "sig"})


def entry_json(index: int, entry: PublicEntry) -> dict[str, Any]:
    """Return what is public of a record."""
    return {
        "index": index,
        "time": format_time(entry.time),
        "kind": entry.kind,
        "digest": entry.digest,
    }


def entry_row(index: int, entry: PublicEntry) -> tuple[str, ...]:
    """Return it for people."""
    return (str(index), stamp(entry.time), entry.kind)


def record_json(each: Numbered) -> dict[str, Any]:
    """Return a record; body and salt are null when it was erased."""
    return {
        "index": each.index,
        "time": each.entry.time,
        "kind": each.entry.kind,
        "digest": each.entry.digest.hex(),
        "body": dict(each.record.body) if each.record else None,
        "salt": each.record.salt.hex() if each.record else None,
    }


def record_row(each: Numbered) -> tuple[str, ...]:
    """Return it for people."""
    said = "(erased)" if each.record is None else words(each.record.body)
    return (str(each.index), stamp(parse_time(each.entry.time)), each.entry.kind, said)


def words(body: Mapping[str, Any]) -> str:
    """Return a record's fields in one line: digests by their beginning, documents left out."""
    return " ".join(f"{key}={value}" for key, value in _flat(body))


def _flat(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in sorted(body.keys() - _DOCUMENTS):
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
