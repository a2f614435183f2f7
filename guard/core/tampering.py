"""Telling what was done to a log whose files do not fit each other or its checkpoint.

1. Of the leaves that the bundles hold, those that the tiles of level 0 stand for, and those that
   records open to, the log's are the ones whose root is the checkpoint's. The others are held
   against them, and the first place where they part is named.
2. What stands at that place in one of them and comes later in the other, or does not, tells a leaf
   that was removed, added, altered or moved.
3. Where none of them has the root, the tile of level 1 tells which tile below it was replaced.
4. What fits together as a whole and has another root is another log: it was forked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import zip_longest
from typing import Final

from guard.core.discrepancies import Discrepancy, Discrepant
from guard.core.frontier import root_of
from guard.core.logaudit import Head
from guard.core.merkle import leaf_hash
from guard.core.reasons import Refused
from guard.core.tiles import WIDTH, TileLog, bundle_path, parse_bundle, tile_path, tiles

__all__ = ["Change", "change_at", "diagnose", "first_change"]

Read = Callable[[str], bytes]
Leaves = Callable[[], Iterable[bytes]]
_LEVEL_ONE: Final = 8


class Change(StrEnum):
    """What was done to a list of leaves."""

    REMOVED = "removed"
    ADDED = "added"
    ALTERED = "altered"
    REORDERED = "reordered"


_ENTRIES: Final = {
    Change.REMOVED: (Discrepancy.ENTRY_REMOVED, "entry {} of the tree is not in its bundle"),
    Change.ADDED: (Discrepancy.ENTRY_ADDED, "what is shown as entry {} is not in the tree"),
    Change.ALTERED: (Discrepancy.ENTRY_ALTERED, "entry {} is shown as another than in the tree"),
    Change.REORDERED: (Discrepancy.ENTRY_REORDERED, "entry {} is shown in another place"),
}


def change_at(
    true: bytes | None, shown: bytes | None, rest_true: Iterable[bytes], rest: Iterable[bytes]
) -> Change:
    """Tell what was done where two lists part (rule 2); None stands for the end of a list."""
    if shown is None or true is None:
        return Change.REMOVED if shown is None else Change.ADDED
    kept, moved = true in rest, shown in rest_true
    if kept and moved:
        return Change.REORDERED
    if moved:
        return Change.REMOVED
    return Change.ADDED if kept else Change.ALTERED


def first_change(true: Iterable[bytes], shown: Iterable[bytes]) -> tuple[int, Change] | None:
    """Return where two lists of leaf hashes part, and how; None where they are one."""
    rest_true, rest = iter(true), iter(shown)
    for index, (left, right) in enumerate(zip_longest(rest_true, rest)):
        if left != right:
            return index, change_at(left, right, rest_true, rest)
    return None


def diagnose(
    read: Read, log: TileLog, head: Head, why: Refused, records: Leaves | None = None
) -> Discrepant:
    """Tell what is wrong with files that were refused; `records` gives leaf hashes, if any."""

    def bundles() -> Iterator[bytes]:
        return _shown(read, head.size)

    def hashes() -> Iterator[bytes]:
        return log.leaf_hashes(0, head.size)

    wrong = Discrepant(Discrepancy.TILE_ALTERED, why.detail)
    missing = _missing(read, head.size)
    if missing is not None:
        wrong = Discrepant(Discrepancy.TILE_MISSING, f"{missing} is missing")
    for true in (hashes, records):
        if true is not None and _is_true(true, head):
            return _changed(true, bundles) or wrong
    if missing is not None or _is_true(bundles, head):
        return wrong
    return _replaced(log) or _other(log, head) or wrong


def _is_true(leaves: Leaves, head: Head) -> bool:
    try:
        return root_of(leaves()) == (head.size, head.root)
    except (Refused, FileNotFoundError):
        return False


def _changed(true: Leaves, shown: Leaves) -> Discrepant | None:
    try:
        found = first_change(true(), shown())
    except (Refused, FileNotFoundError):
        return None
    if found is None:
        return None
    index, change = found
    kind, sentence = _ENTRIES[change]
    return Discrepant(kind, sentence.format(index), index=index)


def _replaced(log: TileLog) -> Discrepant | None:
    """Return the first tile of level 0 that the tile above it does not stand for (rule 3)."""
    try:
        for index in range(log.size // WIDTH):
            first = index * WIDTH
            _, root = root_of(log.leaf_hashes(first, first + WIDTH))
            if root != log.node(_LEVEL_ONE, index):
                return Discrepant(
                    Discrepancy.TILE_ALTERED,
                    f"{tile_path(0, index)}, of the entries {first} to {first + WIDTH - 1}, does "
                    f"not have the hash in {_above(log, index)}",
                    index=first,
                )
    except Refused:
        pass
    return None


def _above(log: TileLog, index: int) -> str:
    place = index // WIDTH
    return tile_path(1, place, min(WIDTH, log.size // WIDTH - place * WIDTH))


def _other(log: TileLog, head: Head) -> Discrepant | None:
    """Return that the tiles are of another tree (rule 4), when they are of one at all."""
    try:
        if log.check() == head.root:
            return None
    except Refused:
        return None
    return Discrepant(
        Discrepancy.LOG_FORKED,
        f"the tiles hold another log of {head.size} entries than the checkpoint: it was signed "
        "twice, or whoever serves the files replaced them",
    )


def _missing(read: Read, size: int) -> str | None:
    for tile in tiles(size):
        names = [(tile.path, tile_path(tile.level, tile.index))]
        if tile.level == 0:
            names.append((bundle_path(tile.index, tile.width), bundle_path(tile.index)))
        for path, full in names:
            if not any(_is_there(read, each) for each in dict.fromkeys((path, full))):
                return path
    return None


def _is_there(read: Read, path: str) -> bool:
    try:
        read(path)
    except FileNotFoundError:
        return False
    return True


def _shown(read: Read, size: int) -> Iterator[bytes]:
    """Yield the hashes of whatever leaves the bundles hold, however many."""
    for index in range(-(-size // WIDTH)):
        width = min(WIDTH, size - index * WIDTH)
        try:
            leaves = parse_bundle(read(bundle_path(index, width)))
        except FileNotFoundError:
            leaves = parse_bundle(read(bundle_path(index)))[:width]
        yield from map(leaf_hash, leaves)
