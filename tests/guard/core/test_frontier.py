"""A tree's right edge, held against the whole tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guard.core.frontier import Frontier, root_of
from guard.core.merkle import EMPTY_ROOT, Tree, leaf_hash

LEAVES = [leaf_hash(b"%d" % number) for number in range(700)]
TREE = Tree()
for each in LEAVES:
    TREE.append(each)


@given(st.integers(0, 700))
def test_the_edge_has_the_trees_root(size):
    assert root_of(LEAVES[:size]) == (size, TREE.root(size))


@given(st.integers(0, 700), st.integers(0, 700))
def test_an_edge_that_was_taken_goes_on(old, new):
    """Taken from a tree's nodes at any size, it has that root, and any later one after more."""
    old, new = sorted((old, new))
    edge = Frontier.of(TREE, old)
    assert (edge.size, edge.root()) == (old, TREE.root(old))
    for leaf in LEAVES[old:new]:
        edge.append(leaf)
    assert (edge.size, edge.root()) == (new, TREE.root(new))


def test_nothing_is_the_empty_tree():
    assert root_of([]) == (0, EMPTY_ROOT)
