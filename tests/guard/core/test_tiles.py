"""The log as files: paths, contents, and proofs from tiles held against the tree in memory."""

from __future__ import annotations

from hashlib import sha256
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.core.merkle import EMPTY_ROOT, MAX_SIZE, Tree, leaf_hash, verify_consistency
from guard.core.reasons import Reason, Refused
from guard.core.tiles import (
    Tile,
    TileLog,
    bundle_path,
    encode_bundle,
    parse_bundle,
    parse_tile,
    tile_path,
    tiles,
)

# Two full levels and something of a third.
LARGE = 256 * 256 + 3 * 256 + 7
# Where tiles fill up, and around it.
SIZES = st.one_of(
    st.integers(0, 1100),
    st.sampled_from([256, 512, 65535, 65536, 65537, 65536 + 256, LARGE - 1, LARGE]),
)


def leaf(index: int) -> bytes:
    return b"leaf %d" % index


TREE = Tree()
for number in range(LARGE):
    TREE.append(leaf_hash(leaf(number)))


class Folder:
    """The files of the trees of these sizes, made from the tree in memory."""

    def __init__(self, *sizes: int) -> None:
        self.files: dict[str, bytes] = {}
        for size in sizes:
            for tile in tiles(size):
                start = tile.index * 256
                hashes = TREE.nodes(8 * tile.level, start, start + tile.width)
                self.files[tile.path] = hashes
                if tile.level == 0:
                    held = [leaf(n) for n in range(start, start + tile.width)]
                    self.files[bundle_path(tile.index, tile.width)] = encode_bundle(held)

    def read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def log(self, size: int) -> TileLog:
        return TileLog(self.read, size)


WHOLE = Folder(LARGE)


def refusal(call) -> tuple[Reason, str]:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tile_path(0, 0), "tile/0/000"),
        (tile_path(0, 1234067), "tile/0/x001/x234/067"),
        (tile_path(1, 1234, 7), "tile/1/x001/234.p/7"),
        (tile_path(63, 999), "tile/63/999"),
        (tile_path(2, 1000), "tile/2/x001/000"),
        (bundle_path(273, 112), "tile/entries/273.p/112"),
        (bundle_path(10**6), "tile/entries/x001/x000/000"),
    ],
)
def test_a_path_is_spelled_as_the_specification_says(path, expected):
    """Three digits an element, all but the last with an x, and the width of a partial tile."""
    assert path == expected


@given(st.integers(0, 63), st.integers(0, MAX_SIZE), st.integers(1, 256))
def test_a_path_belongs_to_one_tile(level, index, width):
    """Level, index and width can be read back from a path, and no two paths stand for one tile."""
    parts = PurePosixPath(tile_path(level, index, width)).parts
    assert int(parts[1]) == level
    partial = parts[-2].endswith(".p")
    assert (int(parts[-1]) if partial else 256) == width
    digits = [part.removesuffix(".p") for part in parts[2 : -1 if partial else None]]
    assert all(part[0] == "x" and len(part) == 4 for part in digits[:-1])
    assert len(digits[-1]) == 3
    assert len(digits) == 1 or digits[0] != "x000"
    assert int("".join(part.removeprefix("x") for part in digits)) == index


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: tile_path(-1, 0),
        lambda: tile_path(64, 0),
        lambda: tile_path(0, -1),
        lambda: tile_path(0, 0, 0),
        lambda: bundle_path(0, 257),
        lambda: bundle_path(2**63),
        lambda: encode_bundle([]),
        lambda: encode_bundle([b""] * 257),
        lambda: encode_bundle([bytes(65536)]),
        lambda: list(tiles(1, 2)),
        lambda: WHOLE.log(5).root(6),
        lambda: WHOLE.log(5).inclusion(5, 5),
        lambda: list(WHOLE.log(5).leaves(3, 6)),
    ],
)
def test_what_cannot_be_is_a_mistake(wrong):
    """No tile, bundle or proof is made of what lies outside its range."""
    with pytest.raises(ValueError, match=r".+"):
        wrong()


def test_the_tiles_of_a_size_are_those_of_the_specification():
    """The example of the specification: 70,000 leaves, and the one of 256."""
    held = list(tiles(70_000))
    count = {level: [t.width for t in held if t.level == level] for level in range(4)}
    assert count == {0: [256] * 273 + [112], 1: [256, 17], 2: [1], 3: []}
    assert list(tiles(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles(0)) == []


@given(SIZES, SIZES)
@settings(deadline=None)
def test_new_tiles_are_those_that_were_not_there(one, other):
    """From one size to another come exactly the tiles that the first has not."""
    old, new = sorted((one, other))
    assert set(tiles(new, old)) == set(tiles(new)) - set(tiles(old))


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=256))
@settings(deadline=None)
def test_a_bundle_comes_back(leaves):
    """What was put in a bundle is read from it, empty leaves too."""
    assert parse_bundle(encode_bundle(leaves)) == leaves


def test_a_bundle_takes_the_longest_leaf():
    """65535 bytes fit the two bytes of length."""
    assert parse_bundle(encode_bundle([bytes(65535), b"x"])) == [bytes(65535), b"x"]


@given(st.binary(max_size=700))
def test_a_bundle_has_one_spelling(data):
    """Whatever is read as a bundle is written as the same bytes; all else is refused."""
    try:
        leaves = parse_bundle(data)
    except Refused:
        return
    assert encode_bundle(leaves) == data


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x00\x02a", b"\x00\x01ab", encode_bundle([b""] * 256) + b"\x00\x00"]
)
def test_a_broken_bundle_is_refused(data):
    """Nothing, half a length, a leaf cut short, something left over, and a 257th leaf."""
    assert refusal(lambda: parse_bundle(data))[0] is Reason.DOCUMENT_MALFORMED


@pytest.mark.parametrize("length", [0, 31, 33, 257 * 32])
def test_a_broken_tile_is_refused(length):
    """A tile is 1 to 256 whole hashes."""
    assert refusal(lambda: parse_tile(bytes(length)))[0] is Reason.DOCUMENT_MALFORMED


def test_a_tile_is_its_hashes():
    """A tile of three hashes is read as three hashes."""
    assert parse_tile(bytes(32) + b"\x01" * 64) == [bytes(32), b"\x01" * 32, b"\x01" * 32]


@given(SIZES, st.data())
@settings(deadline=None)
def test_roots_and_proofs_are_those_of_the_tree(size, data):
    """From the files of a larger log come the same roots and proofs as from the tree."""
    log = WHOLE.log(LARGE)
    assert log.root(size) == TREE.root(size)
    old = data.draw(st.integers(0, size))
    assert log.consistency(old, size) == TREE.consistency(old, size)
    if size:
        index = data.draw(st.integers(0, size - 1))
        assert log.inclusion(index, size) == TREE.inclusion(index, size)


@given(SIZES)
@settings(deadline=None, max_examples=30)
def test_a_size_needs_no_other_files_than_its_own(size):
    """The files of exactly one size give its root, its check and its leaves."""
    log = Folder(size).log(size)
    assert log.root() == log.check() == TREE.root(size)
    start = max(0, size - 300)
    assert list(log.leaves(start, size)) == [leaf(n) for n in range(start, size)]
    hashes = [leaf_hash(leaf(n)) for n in range(start, size)]
    assert list(log.leaf_hashes(start, size)) == hashes


@given(st.integers(1, 1500))
@settings(deadline=None)
def test_a_full_tile_stands_for_a_partial_one(size):
    """When partial tiles are gone, the beginnings of the full ones do."""
    full = Folder(LARGE)
    full.files = {path: data for path, data in full.files.items() if ".p/" not in path}
    # The full tiles of level 0 and the one of level 1 are there; that of level 2 never was.
    log = full.log(size)
    assert log.root() == log.check() == TREE.root(size)
    assert list(log.leaves(size - 1, size)) == [leaf(size - 1)]
    verify_consistency(
        old_size=size // 2,
        old_root=TREE.root(size // 2),
        new_size=size,
        new_root=TREE.root(size),
        proof=log.consistency(size // 2, size),
    )


def test_an_empty_log_has_no_files():
    """The root of nothing is known without reading anything."""
    log = Folder().log(0)
    assert log.root() == log.check() == EMPTY_ROOT == sha256(b"").digest()


def test_the_check_shows_what_it_read():
    """Each bundle is shown once, in order, with the index of its first leaf."""
    shown = []
    WHOLE.log(LARGE).check(lambda start, leaves: shown.extend(enumerate(leaves, start)))
    assert shown == [(n, leaf(n)) for n in range(LARGE)]


@given(st.integers(1, 1400), st.data())
@settings(deadline=None)
def test_the_check_names_the_file_that_was_changed(size, data):
    """A bit that was turned in any file is found, whichever file it is."""
    folder = Folder(size)
    path = data.draw(st.sampled_from(sorted(folder.files)))
    content = bytearray(folder.files[path])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    folder.files[path] = bytes(content)
    _, detail = refusal(folder.log(size).check)
    # A changed bundle is either no bundle any more or does not fit the tile above it.
    assert detail.split(" ")[0].rstrip(":") in {path, path.replace("entries", "0")}


@given(st.integers(1, 1400), st.data())
@settings(deadline=None)
def test_the_check_names_the_file_that_is_missing(size, data):
    """A file that was taken away is named."""
    folder = Folder(size)
    path = data.draw(st.sampled_from(sorted(folder.files)))
    del folder.files[path]
    assert refusal(folder.log(size).check) == (Reason.LOG_PROOF_INVALID, f"{path} is missing")


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("tile/0/001.p/44", bytes(32 * 45)),
        ("tile/0/001.p/44", bytes(32 * 43)),
        ("tile/0/000", bytes(32 * 255)),
        ("tile/entries/001.p/44", encode_bundle([b""] * 45)),
        ("tile/entries/000", encode_bundle([b""] * 255)),
    ],
)
def test_a_file_of_another_length_is_refused(path, data):
    """A tile or bundle that holds more or less than its name says is refused by its name."""
    folder = Folder(300)
    folder.files[path] = data
    reason, detail = refusal(folder.log(300).check)
    assert (reason, detail.split(" ")[0]) == (Reason.DOCUMENT_MALFORMED, path)


def test_another_failure_of_the_reader_is_told():
    """Only a missing file is answered by another; a broken connection is what it is."""

    def read(path: str) -> bytes:
        raise ConnectionResetError(path)

    with pytest.raises(ConnectionResetError):
        TileLog(read, 5).root()
