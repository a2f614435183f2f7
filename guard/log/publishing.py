"""The public log: a folder of static files that any web server can serve, C2SP tlog-tiles.

1. What is published stays: a file that is there already must hold what would be written. A file
   with other content means that the folder was tampered with, or that the log has forked; it is
   said, and nothing is published over it.
2. Each file is written under another name, synced and renamed; then its folder is synced. Tiles and
   bundles of a size are on the disk before `checkpoint` names that size.
3. `checkpoint` never goes back, and is never one that the ledger's tree does not continue. At the
   start it is held against the ledger: a database that is older than what was published, or another
   one, refuses the start.
4. A partial tile goes when `checkpoint` covers the full one.
5. The folder belongs to one guard at a time: `.lock` in it is locked by the kernel.
6. Everybody may read everything but the lock: no record's body and no salt is ever written here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from guard.app.ports import LedgerUnavailable, LedgerUnusable
from guard.core.checkpoint import Checkpoint, parse_checkpoint, verify_log_signature
from guard.core.note import VerifierKey, parse_note
from guard.core.reasons import Refused
from guard.core.tiles import CHECKPOINT_PATH, WIDTH, Tile, bundle_path, encode_bundle, tiles
from guard.core.trust import TrustPolicy
from guard.log.sequencer import Sequencer

_POLICY: Final = "policy"
_LOCK: Final = ".lock"
_FRESH: Final = ".new"
_HEIGHT: Final = 8
_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755


class NotPublished(Exception):  # noqa: N818  # a state of the folder, told to the log's operator
    """The log cannot be published; the message says why."""


class PublicLog:
    """The folder `folder`, which exists, with the log `log` in it.

    Raises LedgerUnusable when another guard publishes there, or what is there is another log's.
    """

    def __init__(self, folder: Path, *, log: VerifierKey) -> None:
        self._folder = folder
        self._lock = _lock(folder)
        self._busy = threading.Lock()
        self._closed = False
        try:
            self._head = _published(folder, log)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def size(self) -> int:
        """Return the number of leaves that `checkpoint` names, 0 without one."""
        return self._head.size if self._head else 0

    def hold_against(self, ledger: Sequencer) -> None:
        """Refuse a ledger that does not continue what was published (rule 3), then tidy up.

        Raises LedgerUnusable.
        """
        if self._head is None:
            return
        if self._head.size > ledger.size:
            raise LedgerUnusable(
                f"the database is older than the log in {self._folder}: it holds {ledger.size} "
                f"records and {self._head.size} were published; restore the newer database, and "
                "never delete that folder"
            )
        if self._head.root != ledger.root(self._head.size):
            raise LedgerUnusable(
                f"the database is not the one of the log in {self._folder}: its first "
                f"{self._head.size} records are not those that were published; restore the right "
                "database, and never delete that folder"
            )
        try:
            self._tidy()
        except OSError as error:
            raise LedgerUnusable(f"cannot use {self._folder}: {error.strerror}") from error

    def publish(self, checkpoint: bytes, ledger: Sequencer, policy: TrustPolicy) -> None:
        """Publish everything up to a cosigned checkpoint, then the checkpoint (rule 2).

        What was written before a failure is found again by the next try. Raises NotPublished.
        """
        head = parse_checkpoint(checkpoint)
        with self._busy:
            try:
                self._require_continued(head, ledger)
                self._publish_tiles(head.size, ledger)
                self._replace(_POLICY, policy.log.text.encode("utf-8", "surrogateescape"))
                self._replace(CHECKPOINT_PATH, checkpoint)
                _sync([self._folder])
                before, self._head = self.size, head
                for tile in tiles(head.size, before):
                    if tile.width == WIDTH:
                        self._remove_partials(tile)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise NotPublished(f"cannot write into {self._folder}: {why}") from error
            except LedgerUnavailable as error:
                raise NotPublished(str(error)) from error

    def close(self) -> None:
        """Stop publishing at the next file, and let another guard have the folder."""
        closed, self._closed = self._closed, True
        with self._busy:
            if not closed:
                os.close(self._lock)

    def _require_continued(self, head: Checkpoint, ledger: Sequencer) -> None:
        if head.size < self.size:
            raise NotPublished(f"{self.size} records are published already, not {head.size}")
        if head.size > ledger.size or head.root != ledger.root(head.size):
            raise NotPublished("the checkpoint is not one of the ledger's")

    def _publish_tiles(self, size: int, ledger: Sequencer) -> None:
        folders: set[Path] = set()
        for name, data in _files(size, self.size, ledger):
            if self._closed:
                raise NotPublished("the guard is stopping")
            path = self._folder / name
            self._add(path, data)
            # All above it and what was there already: whoever made it may have died before syncing.
            folders.update(self._above(path))
        _sync(folders)

    def _add(self, path: Path, data: bytes) -> None:
        """Write a file that never changes again (rule 1)."""
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            self._make_folders(path)
            self._write(path, data)
            return
        if found != data:
            raise NotPublished(
                f"{path} holds something else than the log: it was tampered with, or another log "
                "was published there"
            )

    def _replace(self, name: str, data: bytes) -> None:
        path = self._folder / name
        if not path.exists() or path.read_bytes() != data:
            self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        fresh = self._folder / _FRESH
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, _FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(handle)
        fresh.replace(path)

    def _above(self, path: Path) -> list[Path]:
        """Return the folders from a file's own up to the log's."""
        return list(path.parents)[: len(path.relative_to(self._folder).parts)]

    def _make_folders(self, path: Path) -> None:
        for folder in reversed(self._above(path)):
            if not folder.is_dir():
                folder.mkdir()
            if folder.stat().st_mode & _FOLDER_MODE != _FOLDER_MODE:
                folder.chmod(_FOLDER_MODE)

    def _tidy(self) -> None:
        """Remove the partial tiles that a guard which died has left (rule 4)."""
        needed = {self._folder / path for path in _partials(self.size)}
        for place, folders, _ in os.walk(self._folder / "tile"):
            for name in [each for each in folders if each.endswith(".p")]:
                partial = Path(place) / name
                full = partial.with_suffix("")
                if full.exists() and not any(path.parent == partial for path in needed):
                    shutil.rmtree(partial)

    def _remove_partials(self, tile: Tile) -> None:
        for path in _paths(tile):
            # What cannot be removed harms nobody, and the next start tries again.
            shutil.rmtree(self._folder / f"{path}.p", ignore_errors=True)


def _files(size: int, since: int, ledger: Sequencer) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files that a tree of `since` leaves did not have."""
    for tile in tiles(size, since):
        start = tile.index * WIDTH
        end = start + tile.width
        if tile.level == 0:
            yield bundle_path(tile.index, tile.width), encode_bundle(ledger.leaves(start, end))
        yield tile.path, ledger.nodes(tile.level * _HEIGHT, start, end)


def _paths(tile: Tile) -> list[str]:
    """Return the file names of a tile and, at level 0, of its bundle."""
    return [tile.path] if tile.level else [tile.path, bundle_path(tile.index, tile.width)]


def _partials(size: int) -> Iterator[str]:
    """Yield the names of the partial files of a tree."""
    level = 0
    while size:
        index, width = divmod(size, WIDTH)
        if width:
            yield from _paths(Tile(level, index, width))
        level, size = level + 1, index


def _sync(folders: Iterable[Path]) -> None:
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _published(folder: Path, log: VerifierKey) -> Checkpoint | None:
    path = folder / CHECKPOINT_PATH
    try:
        return verify_log_signature(parse_note(path.read_bytes()), log)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerUnusable(f"cannot read {path}: {error.strerror}") from error
    except Refused as error:
        raise LedgerUnusable(f"{path} is not this log's: {error.detail}") from error


def _lock(folder: Path) -> int:
    try:
        if folder.stat().st_mode & _FOLDER_MODE != _FOLDER_MODE:
            folder.chmod(_FOLDER_MODE)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LedgerUnusable(f"cannot use {folder}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise LedgerUnusable(f"another guard publishes its log in {folder}") from error
    return handle
