"""Records in a file: `callguard log entries --out` writes it, auditors without a guard read it.

1. One JSON object a line: `index`, `kind`, `time`, `digest`, `salt`, `body`; the last three in
   base64. Salt and body of an erased record are null.
2. The file holds what only auditors may read: it is made anew, for its owner alone.
3. Beside it lies the checkpoint over exactly these records: a file that was cut short shows.
4. It is written and read a line at a time, whatever its size. Nothing else than rule 1 describes is
   read, and an error names the line. What the records say is for `guard.core.recordaudit`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from guard.cli.exits import TroubleError, UsageTroubleError
from guard.core.record import MAX_BODY_BYTES, SALT_BYTES, Entry

__all__ = ["exported_entries", "kept_checkpoint", "write_entries"]

_MEMBERS: Final = {"index", "kind", "time", "digest", "salt", "body"}
_DIGEST_BYTES: Final = 32
# Base64 takes four bytes for three; what stands beside it is short.
_LONGEST_LINE: Final = MAX_BODY_BYTES * 4 // 3 + 4096


def kept_checkpoint(path: Path) -> Path:
    """Return where the checkpoint over the records at `path` is kept (rule 3)."""
    return path.with_name(f"{path.name}.checkpoint")


def write_entries(
    path: Path, entries: Iterable[tuple[int, Entry]], *, progress: Callable[[int], None]
) -> int:
    """Write records to a file that is not there yet; return how many (rule 2).

    Raises UsageTroubleError or TroubleError. A file that could not be finished is removed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError as error:
        raise UsageTroubleError(f"{path} is there already; name a new file") from error
    except OSError as error:
        raise TroubleError(f"cannot write {path}: {error.strerror}") from error
    count = 0
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            for index, entry in entries:
                file.write(json.dumps(_line(index, entry), separators=(",", ":")) + "\n")
                count += 1
                progress(count)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise TroubleError(f"cannot write {path}: {error.strerror}") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return count


def exported_entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """Yield the records of a file with the numbers they bear; raises TroubleError (rule 4)."""
    try:
        with path.open("rb") as file:
            number = 1
            while line := file.readline(_LONGEST_LINE + 1):
                try:
                    yield _entry(line)
                except ValueError as error:
                    raise TroubleError(f"{path}, line {number}: {error}") from None
                number += 1
    except OSError as error:
        raise TroubleError(f"cannot read {path}: {error.strerror}") from error


def _line(index: int, entry: Entry) -> dict[str, Any]:
    return {
        "index": index,
        "kind": entry.kind,
        "time": entry.time,
        "digest": _encoded(entry.digest),
        "salt": _encoded(entry.salt),
        "body": _encoded(entry.body),
    }


def _entry(line: bytes) -> tuple[int, Entry]:
    if len(line) > _LONGEST_LINE or not line.endswith(b"\n"):
        raise ValueError("too long, or cut off")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict) or fields.keys() != _MEMBERS:
        raise ValueError("not a record: it has index, kind, time, digest, salt and body")
    index, kind, time = fields["index"], fields["kind"], fields["time"]
    if type(index) is not int or not _is_plain(kind) or not _is_plain(time):
        raise ValueError("index, kind or time is of another form")
    digest, salt, body = (_decoded(fields[name]) for name in ("digest", "salt", "body"))
    if digest is None or len(digest) != _DIGEST_BYTES or (salt is None) is not (body is None):
        raise ValueError("the digest is not 32 bytes, or only one of salt and body is there")
    if salt is not None and len(salt) != SALT_BYTES:
        raise ValueError("the salt is not 32 bytes")
    return index, Entry(kind=kind, time=time, digest=digest, salt=salt, body=body)


def _is_plain(value: object) -> bool:
    """Say whether a value is a text that stands in a leaf as it is."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable()
    return plain and '"' not in str(value) and "\\" not in str(value)


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _decoded(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        raise ValueError("digest, salt or body is not base64") from None
    if data is None or _encoded(data) != value:
        raise ValueError("digest, salt or body is not canonical base64")
    return data
