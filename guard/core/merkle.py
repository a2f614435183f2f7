"""The append-only tree of RFC 6962 section 2, SHA-256.

1. A leaf is hashed with the prefix 0x00 and a node with 0x01, so that neither passes as the other.
2. Sizes and indices are counted in leaves; a hash is 32 bytes.
3. A proof is accepted only when it uses every hash it carries and no more (RFC 9162 sections
   2.1.3.2 and 2.1.4.2), and verification raises; it never returns a bool.
4. Nodes of a tree of some size never change when leaves are added, nor when leaves beyond that size
   are cut off again. So proofs for a size that is durable may be made while a writer appends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256

from guard.core.reasons import Reason, Refused

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
# Sizes above this are refused: C2SP allows at most 63 hashes in a proof.
MAX_SIZE = 2**63 - 1


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's data (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with these children (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


class Subtrees(ABC):
    """Roots and proofs of a tree, from the hashes of its full subtrees, wherever they are kept."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Return the number of leaves."""

    @abstractmethod
    def node(self, level: int, position: int) -> bytes:
        """Return the hash of a full subtree of 2**level leaves, the one at `position`."""

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves, or of all."""
        size = self.size if size is None else size
        self._require(0, size, self.size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove that a leaf is in the tree of `size` leaves (RFC 6962 section 2.1.1).

        Raises ValueError unless index < size <= self.size.
        """
        self._require(index, index + 1, size)
        self._require(0, size, self.size)
        start, end, path = 0, size, []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the tree of `new` leaves continues that of `old` (RFC 6962 section 2.1.2).

        The proof is empty when `old` is zero or equals `new`. Raises ValueError unless
        old <= new <= self.size.
        """
        self._require(old, new, self.size)
        if old in {0, new}:
            return []
        start, end, path, whole = 0, new, [], True
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._range(start, end))
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        """Return the root of the leaves [start, end), where start is where a subtree begins."""
        span = end - start
        level = span.bit_length() - 1
        if span == 1 << level:
            return self.node(level, start >> level)
        middle = start + _split(span)
        return node_hash(self._range(start, middle), self._range(middle, end))

    @staticmethod
    def _require(low: int, middle: int, high: int) -> None:
        if not 0 <= low <= middle <= high:
            raise ValueError("no such leaves in the tree")


class Tree(Subtrees):
    """A tree held in memory, 64 bytes a leaf.

    Level `k` holds, one after another, the hashes of the full subtrees of 2**k leaves.
    """

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self._size = 0

    @property
    def size(self) -> int:
        """Return the number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> int:
        """Add a leaf by its hash and return its index."""
        index = self._size
        self._levels[0] += leaf
        level, position, digest = 0, index, leaf
        while position & 1:
            nodes = self._levels[level]
            digest = node_hash(bytes(nodes[-2 * HASH_BYTES : -HASH_BYTES]), digest)
            level, position = level + 1, position >> 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += digest
        self._size = index + 1
        return index

    def truncate(self, size: int) -> None:
        """Forget the leaves from index `size` on; ValueError when there are fewer."""
        self._require(0, size, self._size)
        self._size = size
        for level, nodes in enumerate(self._levels):
            del nodes[(size >> level) * HASH_BYTES :]

    def node(self, level: int, position: int) -> bytes:
        """Return the hash of a full subtree of 2**level leaves, the one at `position`."""
        return self.nodes(level, position, position + 1)

    def nodes(self, level: int, start: int, end: int) -> bytes:
        """Return the hashes of the full subtrees [start, end) of 2**level leaves, joined."""
        return bytes(self._levels[level][start * HASH_BYTES : end * HASH_BYTES])


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf with this hash is at `index` under `root` (RFC 9162 section 2.1.3.2).

    Raises Refused(LOG_PROOF_INVALID).
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise _invalid("the index is outside the tree")
    position, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _invalid("the inclusion proof is too long")
        if position & 1 or position == last:
            digest = node_hash(sibling, digest)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise _invalid("the inclusion proof is too short")
    if digest != root:
        raise _invalid("the inclusion proof leads to another root")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the new tree continues the old one (RFC 9162 section 2.1.4.2).

    An empty old tree is continued by every tree and its proof is empty. Raises
    Refused(LOG_PROOF_INVALID).
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise _invalid("the newer tree is smaller")
    if old_size in {0, new_size}:
        _verify_trivial(old_size, old_root, new_size, new_root, proof)
        return
    nodes = list(proof)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        raise _invalid("the consistency proof is too short")
    old, new = _consistency_roots(old_size, new_size, nodes)
    if old != old_root or new != new_root:
        raise _invalid("the consistency proof leads to other roots")


def _consistency_roots(old_size: int, new_size: int, nodes: list[bytes]) -> tuple[bytes, bytes]:
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise _invalid("the consistency proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, node)
        position, last = position >> 1, last >> 1
    if last:
        raise _invalid("the consistency proof is too short")
    return old, new


def _verify_trivial(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    if proof:
        raise _invalid("the consistency proof must be empty")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise _invalid("the empty tree has another root")
    if old_size == new_size and old_root != new_root:
        raise _invalid("two roots for one size")


def _split(span: int) -> int:
    """Return the largest power of two smaller than `span` (RFC 6962's k)."""
    return 1 << ((span - 1).bit_length() - 1)


def _invalid(detail: str) -> Refused:
    return Refused(Reason.LOG_PROOF_INVALID, detail)
