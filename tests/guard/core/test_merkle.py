"""The tree of RFC 6962, against other people's vectors.

Sources: transparency-dev/merkle, testonly/constants.go (leaf inputs, node hashes and roots, also in
certificate-transparency's tests) and testonly/vectors_test.go (the accumulated inclusion proofs of
draft-ietf-plants-merkle-tree-certs, appendix "Subtree Test Vectors").
"""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from guard.core.reasons import Reason, Refused

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODE_01 = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
NODE_23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
NODE_45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
NODE_67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
NODE_0123 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
NODE_4567 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
LEAF_1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
LARGEST = 20


def tree_of(size: int) -> Tree:
    tree = Tree()
    for number in range(size):
        tree.append(leaf_hash(b"leaf %d" % number))
    return tree


FULL = tree_of(LARGEST)


def reference_root(leaves: list[bytes]) -> bytes:
    """Follow the recursive definition of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


def test_roots_equal_the_published_ones():
    """Every root of the eight well-known leaves is the published one, at once and in hindsight."""
    tree = Tree()
    assert tree.root().hex() == ROOTS[0]
    for size, data in enumerate(LEAVES, start=1):
        assert tree.append(leaf_hash(data)) == size - 1
        assert tree.root().hex() == ROOTS[size]
    assert [tree.root(size).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (0, 8, [LEAF_1, NODE_23, NODE_4567]),
        (4, 5, [NODE_0123]),
        (5, 8, [LEAF_4, NODE_67, NODE_0123]),
    ],
)
def test_inclusion_proofs_equal_the_published_nodes(index, size, path):
    """A proof is made of the published nodes, from the leaf's sibling upwards."""
    tree = Tree()
    for data in LEAVES:
        tree.append(leaf_hash(data))
    assert [digest.hex() for digest in tree.inclusion(index, size)] == path


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (1, 1, []),
        (1, 8, [LEAF_1, NODE_23, NODE_4567]),
        (6, 8, [NODE_45, NODE_67, NODE_0123]),
        (2, 5, [NODE_23, LEAF_4]),
        (4, 8, [NODE_4567]),
    ],
)
def test_consistency_proofs_equal_the_published_nodes(old, new, path):
    """A consistency proof is made of the published nodes, in RFC 6962's order."""
    tree = Tree()
    for data in LEAVES:
        tree.append(leaf_hash(data))
    assert [digest.hex() for digest in tree.consistency(old, new)] == path


def test_all_inclusion_proofs_to_130_equal_the_drafts_digest():
    """Every inclusion proof in every aligned subtree up to 130 leaves equals another implementation's."""
    rolling = sha256()
    hashes = [leaf_hash(bytes([value])) for value in range(130)]
    trees: dict[int, Tree] = {}
    for end in range(1, 131):
        for start in range(end):
            aligned = 1 << (end - start - 1).bit_length()
            if start % aligned:
                continue
            tree = trees.setdefault(start, Tree())
            while tree.size < end - start:
                tree.append(hashes[start + tree.size])
            for index in range(start, end):
                proof = tree.inclusion(index - start, end - start)
                path = "".join(f" {digest.hex()}" for digest in proof)
                rolling.update(f"{index} [{start}, {end}){path}\n".encode())
    assert rolling.hexdigest() == "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"


def test_every_root_up_to_seventy_equals_the_definition():
    """The level store gives the root that RFC 6962 defines recursively."""
    leaves = [b"leaf %d" % number for number in range(70)]
    tree = tree_of(70)
    assert all(tree.root(size) == reference_root(leaves[:size]) for size in range(71))


def test_every_small_inclusion_proof_verifies_only_in_its_place():
    """For every size to twenty a proof verifies at its own index and at no other."""
    for size in range(1, LARGEST + 1):
        root = FULL.root(size)
        for index in range(size):
            proof = FULL.inclusion(index, size)
            leaf = leaf_hash(b"leaf %d" % index)
            verify_inclusion(leaf, index=index, size=size, proof=proof, root=root)
            for other in set(range(size)) - {index}:
                with pytest.raises(Refused):
                    verify_inclusion(leaf, index=other, size=size, proof=proof, root=root)


def test_every_small_consistency_proof_verifies():
    """Consistency verifies between every two sizes to twenty."""
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            verify_consistency(
                old_size=old,
                old_root=FULL.root(old),
                new_size=new,
                new_root=FULL.root(new),
                proof=FULL.consistency(old, new),
            )


@given(st.data())
def test_an_altered_inclusion_proof_is_refused(data):
    """Any flipped bit, missing hash or added hash makes an inclusion proof invalid."""
    size = data.draw(st.integers(1, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    parts = [leaf_hash(b"leaf %d" % index), *FULL.inclusion(index, size), FULL.root(size)]
    how = data.draw(st.sampled_from(["flip", "drop", "add"]))
    place = data.draw(st.integers(0, len(parts) - 1))
    if how == "flip":
        bit = data.draw(st.integers(0, 255))
        changed = int.from_bytes(parts[place]) ^ (1 << bit)
        parts[place] = changed.to_bytes(32)
    elif how == "drop" and len(parts) > 2:
        del parts[1 + place % (len(parts) - 2)]
    else:
        parts.insert(1 + place % (len(parts) - 1), data.draw(st.binary(min_size=32, max_size=32)))
    leaf, *proof, root = parts
    with pytest.raises(Refused) as caught:
        verify_inclusion(leaf, index=index, size=size, proof=proof, root=root)
    assert caught.value.reason is Reason.LOG_PROOF_INVALID


@given(st.data())
def test_an_altered_consistency_proof_is_refused(data):
    """Any flipped bit, missing hash or added hash makes a consistency proof invalid."""
    new = data.draw(st.integers(2, LARGEST))
    old = data.draw(st.integers(1, new - 1))
    parts = [FULL.root(old), *FULL.consistency(old, new), FULL.root(new)]
    how = data.draw(st.sampled_from(["flip", "drop", "add"]))
    place = data.draw(st.integers(0, len(parts) - 1))
    if how == "flip":
        bit = data.draw(st.integers(0, 255))
        parts[place] = (int.from_bytes(parts[place]) ^ (1 << bit)).to_bytes(32)
    elif how == "drop" and len(parts) > 2:
        del parts[1 + place % (len(parts) - 2)]
    else:
        parts.insert(1 + place % (len(parts) - 1), data.draw(st.binary(min_size=32, max_size=32)))
    first, *proof, last = parts
    with pytest.raises(Refused):
        verify_consistency(old_size=old, old_root=first, new_size=new, new_root=last, proof=proof)


@pytest.mark.parametrize(
    ("old", "old_root", "new", "new_root", "proof"),
    [
        (0, b"x" * 32, 3, FULL.root(3), []),
        (0, EMPTY_ROOT, 3, FULL.root(3), [b"x" * 32]),
        (3, FULL.root(3), 3, FULL.root(4), []),
        (3, FULL.root(3), 3, FULL.root(3), [b"x" * 32]),
        (4, FULL.root(4), 3, FULL.root(3), []),
        (-1, EMPTY_ROOT, 3, FULL.root(3), []),
        (3, FULL.root(3), 4, FULL.root(4), []),
    ],
)
def test_degenerate_consistency_is_refused(old, old_root, new, new_root, proof):
    """Empty, equal, shrinking and negative trees are not excuses to skip the check."""
    with pytest.raises(Refused):
        verify_consistency(
            old_size=old, old_root=old_root, new_size=new, new_root=new_root, proof=proof
        )


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3), (0, 2**63)])
def test_an_index_outside_the_tree_is_refused(index, size):
    """No proof places a leaf outside its tree."""
    with pytest.raises(Refused):
        verify_inclusion(b"x" * 32, index=index, size=size, proof=[], root=b"x" * 32)


def test_a_node_does_not_pass_as_a_leaf():
    """The data of an inner node, offered as a leaf, has another hash than the node."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_truncating_leaves_no_trace(steps):
    """After any sequence of growing and cutting, the tree equals one built straight."""
    tree = Tree()
    for grow, cut in steps:
        for _ in range(grow):
            tree.append(leaf_hash(b"leaf %d" % tree.size))
        tree.truncate(max(0, tree.size - cut))
    assert tree.root() == tree_of(tree.size).root()


@pytest.mark.parametrize(
    "ask",
    [
        lambda tree: tree.root(21),
        lambda tree: tree.root(-1),
        lambda tree: tree.inclusion(20, 20),
        lambda tree: tree.inclusion(-1, 20),
        lambda tree: tree.inclusion(0, 21),
        lambda tree: tree.consistency(5, 21),
        lambda tree: tree.consistency(6, 5),
        lambda tree: tree.truncate(21),
    ],
)
def test_asking_beyond_the_tree_is_an_error(ask):
    """Nothing is proven about leaves that the tree does not have."""
    with pytest.raises(ValueError, match="no such leaves"):
        ask(FULL)
