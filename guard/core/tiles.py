"""The log as static files, C2SP tlog-tiles: paths, contents, and proofs computed from them.

1. A tile of level L holds up to 256 hashes, each of a full subtree of 256**L leaves. A bundle holds
   the leaves under one tile of level 0, each after its length in two bytes, big-endian.
2. A file has one name and one spelling. What has another length than its name says is refused.
3. A tree of a size has, at each level, full tiles and at most one partial one, whose width is in
   its name. A partial tile may be gone once the full one is there: then its beginning is used.
4. What was read proves nothing by itself. A root must be that of a trusted checkpoint, a proof must
   verify, and leaves are the log's only when `check` has returned such a root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from guard.core.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, Subtrees
from guard.core.reasons import Reason, Refused

WIDTH: Final = 256
MAX_ENTRY_BYTES: Final = 2**16 - 1
MAX_LEVEL: Final = 63
CHECKPOINT_PATH: Final = "checkpoint"
_HEIGHT: Final = 8
_LENGTH_BYTES: Final = 2
_KEPT: Final = 512


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place: level, index within the level, and how many hashes it holds."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """Return its file name."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return a hash tile's file name, `tile/<L>/<N>[.p/<W>]`. Raises ValueError."""
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError("a tile's level is 0 to 63")
    return f"tile/{level}/{_place(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Return an entry bundle's file name, `tile/entries/<N>[.p/<W>]`. Raises ValueError."""
    return f"tile/entries/{_place(index, width)}"


def tiles(size: int, since: int = 0) -> Iterator[Tile]:
    """Yield the hash tiles that a tree of `size` leaves has and one of `since` leaves has not.

    Every tile of level 0 has its bundle. Raises ValueError unless 0 <= since <= size.
    """
    if not 0 <= since <= size <= MAX_SIZE:
        raise ValueError("a log does not shrink")
    level = 0
    while size and since != size:
        for index in range(since // WIDTH, -(-size // WIDTH)):
            yield Tile(level, index, min(WIDTH, size - index * WIDTH))
        level, size, since = level + 1, size // WIDTH, since // WIDTH


def encode_bundle(leaves: list[bytes]) -> bytes:
    """Return the bundle of 1 to 256 leaves, each at most 65535 bytes. Raises ValueError."""
    if not 1 <= len(leaves) <= WIDTH or any(len(leaf) > MAX_ENTRY_BYTES for leaf in leaves):
        raise ValueError("a bundle holds 1 to 256 leaves of at most 65535 bytes")
    return b"".join(len(leaf).to_bytes(_LENGTH_BYTES) + leaf for leaf in leaves)


def parse_bundle(data: bytes) -> list[bytes]:
    """Read a bundle's leaves. Raises Refused(DOCUMENT_MALFORMED)."""
    leaves: list[bytes] = []
    at, end = 0, len(data)
    while at < end and len(leaves) < WIDTH:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start])
        leaves.append(data[start:at])
    if at != end or not leaves:
        raise _malformed("a bundle is not 1 to 256 leaves, each after its length")
    return leaves


def parse_tile(data: bytes) -> list[bytes]:
    """Read a tile's hashes. Raises Refused(DOCUMENT_MALFORMED)."""
    if len(data) % HASH_BYTES or not 1 <= len(data) // HASH_BYTES <= WIDTH:
        raise _malformed("a tile is not 1 to 256 hashes")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


class TileLog(Subtrees):
    """A log of `size` leaves, read from its files.

    `read(path)` returns a file's content and raises FileNotFoundError when there is none. Every
    method raises Refused with LOG_PROOF_INVALID for a file that is missing or holds other hashes,
    with DOCUMENT_MALFORMED for one of another form, ValueError for leaves beyond `size`, and
    whatever else `read` raises.
    """

    def __init__(self, read: Callable[[str], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._kept: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        """Return the number of leaves."""
        return self._size

    def node(self, level: int, position: int) -> bytes:
        """Return the hash of a full subtree of 2**level leaves, the one at `position`."""
        level, height = divmod(level, _HEIGHT)
        index, start = divmod(position << height, WIDTH)
        hashes = self._tile(level, index)
        return _root(hashes[start * HASH_BYTES : (start + (1 << height)) * HASH_BYTES])

    def leaf_hashes(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the hashes of the leaves [start, end), from the tiles of level 0."""
        for index, low, high in self._pieces(start, end):
            hashes = self._tile(0, index)
            for at in range(low * HASH_BYTES, high * HASH_BYTES, HASH_BYTES):
                yield hashes[at : at + HASH_BYTES]

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the data of the leaves [start, end), from the bundles."""
        for index, low, high in self._pieces(start, end):
            yield from self._bundle(index)[low:high]

    def check(self, seen: Callable[[int, list[bytes]], None] | None = None) -> bytes:
        """Hold every bundle and every tile against the leaves; return the root of the leaves read.

        `seen(start, leaves)` is called with each bundle once it fits its tile; what it was given is
        the log's when the root returned is that of a trusted checkpoint. The first tile that is
        wrong is named in the refusal.
        """
        hashes = self._check_leaves(seen)
        tails = [hashes.tail]
        level = 1
        while hashes.full:
            hashes = self._check_level(level, hashes.full)
            tails.append(hashes.tail)
            level += 1
        return _top(tails)

    def _check_leaves(self, seen: Callable[[int, list[bytes]], None] | None) -> _Level:
        full, tail = bytearray(), b""
        for index, _, width in self._pieces(0, self._size):
            leaves = self._bundle(index)
            hashes = b"".join([sha256(b"\x00" + leaf).digest() for leaf in leaves])
            self._compare(0, index, hashes)
            if seen is not None:
                seen(index * WIDTH, leaves)
            if width == WIDTH:
                full += _root(hashes)
            else:
                tail = hashes
        return _Level(bytes(full), tail)

    def _check_level(self, level: int, below: bytes) -> _Level:
        full, tail = bytearray(), b""
        span = WIDTH * HASH_BYTES
        for at in range(0, len(below), span):
            hashes = below[at : at + span]
            self._compare(level, at // span, hashes)
            if len(hashes) == span:
                full += _root(hashes)
            else:
                tail = hashes
        return _Level(bytes(full), tail)

    def _compare(self, level: int, index: int, hashes: bytes) -> None:
        if self._tile(level, index, keep=False) != hashes:
            path = tile_path(level, index, len(hashes) // HASH_BYTES)
            below = "its bundle" if level == 0 else "the tiles below it"
            raise _invalid(f"{path} does not hold the hashes of {below}")

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield tiles of level 0 with the range of their leaves that lies within [start, end)."""
        self._require(start, end, self._size)
        for index in range(start // WIDTH, -(-end // WIDTH)):
            first = index * WIDTH
            yield index, max(start - first, 0), min(end - first, WIDTH)

    def _tile(self, level: int, index: int, *, keep: bool = True) -> bytes:
        hashes = self._kept.get((level, index))
        if hashes is not None:
            return hashes
        width = self._width(level, index)
        path = tile_path(level, index, width)
        data, found = self._fetch(path, tile_path(level, index))
        if len(data) != (width if found == path else WIDTH) * HASH_BYTES:
            raise _malformed(f"{found} is not of its length")
        hashes = data[: width * HASH_BYTES]
        if keep:
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[level, index] = hashes
        return hashes

    def _bundle(self, index: int) -> list[bytes]:
        width = self._width(0, index)
        path = bundle_path(index, width)
        data, found = self._fetch(path, bundle_path(index))
        try:
            leaves = parse_bundle(data)
        except Refused as error:
            raise _malformed(f"{found}: {error.detail}") from error
        if len(leaves) != (width if found == path else WIDTH):
            raise _malformed(f"{found} does not hold as many leaves as it should")
        return leaves[:width]

    def _width(self, level: int, index: int) -> int:
        return min(WIDTH, (self._size >> level * _HEIGHT) - index * WIDTH)

    def _fetch(self, path: str, full: str) -> tuple[bytes, str]:
        """Return a file's content and which of the two it was (rule 3)."""
        for each in dict.fromkeys((path, full)):
            try:
                return self._read(each), each
            except FileNotFoundError:
                continue
        raise _invalid(f"{path} is missing")


class _Level(NamedTuple):
    """One level's hashes: the roots of its full tiles, and what its partial tile holds."""

    full: bytes
    tail: bytes


def _root(hashes: bytes) -> bytes:
    """Return the root over these hashes, one after another; an odd last one moves up as it is."""
    step = 2 * HASH_BYTES
    while len(hashes) > HASH_BYTES:
        odd = hashes[len(hashes) - len(hashes) % step :]
        pairs = range(0, len(hashes) - len(odd), step)
        hashes = b"".join([sha256(b"\x01" + hashes[at : at + step]).digest() for at in pairs]) + odd
    return hashes


def _top(tails: list[bytes]) -> bytes:
    """Return the tree's root from what stands in the partial tile of each level."""
    root = b""
    for tail in tails:
        # The unfinished tile below is the last, unfinished subtree of this level.
        root = _root(tail + root)
    return root or EMPTY_ROOT


def _place(index: int, width: int) -> str:
    if not 0 <= index <= MAX_SIZE or not 1 <= width <= WIDTH:
        raise ValueError("a tile has an index from 0 on and a width of 1 to 256")
    last, parts = f"{index % 1000:03}", []
    while index := index // 1000:
        parts.append(f"x{index % 1000:03}")
    place = "/".join([*reversed(parts), last])
    return place if width == WIDTH else f"{place}.p/{width}"


def _invalid(detail: str) -> Refused:
    return Refused(Reason.LOG_PROOF_INVALID, detail)


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, detail)
