"""What a witness keeps against a log: views that the log signed and that differ from ours.

1. One file a view, `evidence/ORIGIN_HASH-CONFLICT-VIEW_HASH.json` in the state folder: both signed
   tree heads, the proof that came along, and when. It is on the disk before the answer leaves.
2. Per log and kind of conflict the first 64 are kept, each below 16 KiB. What comes later is
   counted in the log line. The kinds do not share room: a stranger can send old checkpoints, but
   only the log can make two roots for one size.
3. The same view again is not kept again.
4. What cannot be kept is said in the log; the view stays refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from guard.core.note import encode_base64
from guard.core.witnessing import OtherView, WitnessState
from guard.witness.state import sync_folder, write_durably

_LOG = structlog.get_logger("callguard.witness")
_MOST: Final = 64
_FOLDER: Final = "evidence"


class EvidenceUnreadable(Exception):  # noqa: N818  # a state of the folder, told to its owner
    """A file of evidence cannot be read; the message says which."""


class Remembered(Protocol):
    """What the witness itself has cosigned."""

    @property
    def states(self) -> Mapping[str, WitnessState]:
        """Return the newest cosigned tree head by origin."""

    def note(self, origin_hash: str) -> bytes | None:
        """Return the same as a signed note, by the hex SHA-256 of the origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptView:
    """A file of evidence: roots are base64, notes as they were signed, `at` is RFC 3339."""

    conflict: str
    origin: str
    at: str
    our_size: int
    our_root: str
    our_note: str
    their_size: int
    their_root: str
    their_note: str
    old_size: int
    proof: list[str]

    def fields(self) -> dict[str, Any]:
        """Return the fields in their order."""
        return {name: getattr(self, name) for name in self.__slots__}


class Evidence:
    """The folder of evidence in a witness's state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / _FOLDER
        self._dropped: Counter[str] = Counter()

    def keep(self, view: OtherView, ours: Remembered, now: datetime) -> None:
        """Keep a view unless it is there or there are enough (rules 1 to 4)."""
        kept = _kept_view(view, ours, now)
        row = f"{_digest(kept.origin)}-{kept.conflict}"
        path = self._folder / f"{row}-{_digest(view.note.text)}.json"
        try:
            if path.exists():
                return
            if len(list(self._folder.glob(f"{row}-*.json"))) >= _MOST:
                self._drop(row, kept)
                return
            self._write(path, kept)
        except OSError as error:
            _LOG.error("evidence_not_kept", **_spoken(kept), why=str(error))
        else:
            _LOG.warning("view_refused", **_spoken(kept), kept=path.name)

    def _write(self, path: Path, kept: KeptView) -> None:
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700)
            sync_folder(self._folder.parent)
        write_durably(path, json.dumps(kept.fields(), ensure_ascii=False, indent=1).encode())

    def _drop(self, row: str, kept: KeptView) -> None:
        self._dropped[row] += 1
        count = self._dropped[row]
        # Said at 1, 2, 4, 8 …: whoever sends without end fills neither the folder nor the log.
        if count & (count - 1) == 0:
            _LOG.warning("view_refused", **_spoken(kept), dropped=count)


def read_evidence(state_dir: Path) -> list[KeptView]:
    """Return what is kept, oldest first; raises EvidenceUnreadable."""
    found = []
    for path in sorted((state_dir / _FOLDER).glob("*.json")):
        try:
            found.append(KeptView(**json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError) as error:
            raise EvidenceUnreadable(f"cannot read {path}: {error}") from error
    return sorted(found, key=lambda kept: kept.at)


def _kept_view(view: OtherView, ours: Remembered, now: datetime) -> KeptView:
    origin = view.head.origin
    state = ours.states.get(origin, WitnessState())
    return KeptView(
        conflict=view.conflict,
        origin=origin,
        at=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        our_size=state.size,
        our_root=encode_base64(state.root),
        our_note=(ours.note(_digest(origin)) or b"").decode(),
        their_size=view.head.size,
        their_root=encode_base64(view.head.root),
        their_note=view.note.encode().decode(),
        old_size=view.old_size,
        proof=[encode_base64(digest) for digest in view.proof],
    )


def _spoken(kept: KeptView) -> dict[str, Any]:
    said = ("conflict", "origin", "our_size", "our_root", "their_size", "their_root")
    return {name: getattr(kept, name) for name in said}


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
