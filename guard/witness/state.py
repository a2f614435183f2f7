"""What a witness remembers: for each log the newest checkpoint that it cosigned.

1. A checkpoint is on the disk, file and folder synced, before `keep` returns.
2. A file is replaced whole by renaming, so after any crash it holds one checkpoint or the next.
3. At the start every kept checkpoint must carry the log's signature and this witness's own, by its
   first key. One that does not refuses the start, because a witness that forgets would sign a
   split view.
4. One process has the folder: it is locked for as long as the witness runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from guard.core.checkpoint import verify_cosignature, verify_log_signature
from guard.core.note import Note, VerifierKey, parse_note
from guard.core.reasons import Refused
from guard.core.witnessing import WitnessState

_MODE: Final = 0o600


class WitnessUnusable(Exception):  # noqa: N818  # a state of the witness, told at the start
    """The witness does not start: its memory is damaged, or another process has it."""


class Memory:
    """The folder of kept checkpoints; `own` are the witness's keys. Raises WitnessUnusable."""

    def __init__(
        self, folder: Path, *, logs: Iterable[VerifierKey], own: Sequence[VerifierKey]
    ) -> None:
        self._folder = folder
        self._own = own
        self._lock = _lock(folder)
        self._states: dict[str, WitnessState] = {}
        self._notes: dict[str, bytes] = {}
        for log in logs:
            self._recall(log)

    @property
    def states(self) -> Mapping[str, WitnessState]:
        """Return the newest cosigned tree head by origin."""
        return self._states

    def note(self, origin_hash: str) -> bytes | None:
        """Return the newest cosigned checkpoint by the hex SHA-256 of its origin."""
        return self._notes.get(origin_hash)

    def keep(self, origin: str, state: WitnessState, note: Note) -> None:
        """Remember a checkpoint durably (rules 1 and 2). Raises OSError: nothing has changed."""
        data, name = note.encode(), _name(origin)
        write_durably(self._folder / name, data)
        self._states[origin] = state
        self._notes[name] = data

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def _recall(self, log: VerifierKey) -> None:
        name = _name(log.name)
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise WitnessUnusable(f"cannot read {self._folder / name}: {error}") from error
        try:
            note = parse_note(data)
            head = verify_log_signature(note, log)
            times = {
                own.key_id: verify_cosignature(note, line, own)
                for own in self._own
                for line in note.by(own)
            }
        except Refused as error:
            raise WitnessUnusable(f"{self._folder / name} is damaged: {error.detail}") from error
        if self._own[0].key_id not in times:
            raise WitnessUnusable(f"{self._folder / name} is not cosigned by {self._own[0].name}")
        newest = max(times.values())
        self._states[log.name] = WitnessState(size=head.size, root=head.root, cosigned_at=newest)
        self._notes[name] = data


def write_durably(path: Path, data: bytes) -> None:
    """Put a file in its place whole and on the disk (rules 1 and 2). Raises OSError."""
    temporary = path.with_name(f"{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have a folder's entries on the disk. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name(origin: str) -> str:
    """Return the file name of a log's checkpoint; monitors ask for it by this name."""
    return sha256(origin.encode()).hexdigest()


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
    except OSError as error:
        raise WitnessUnusable(f"cannot use {folder}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise WitnessUnusable(f"another witness uses {folder}") from error
    return handle
