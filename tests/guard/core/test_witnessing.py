"""The witness's rule without any socket: order of checks, and no state without a check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.checkpoint import Checkpoint, sign_checkpoint
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import KeyType, verifier_key
from guard.core.witnessing import (
    AddCheckpoint,
    Conflict,
    WitnessRefusal,
    WitnessState,
    check_add_checkpoint,
    encode_add_checkpoint,
    parse_add_checkpoint,
)

ORIGIN = "guard.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
LOGS = {ORIGIN: verifier_key(ORIGIN, KeyType.NOTE, KEY.public_key())}
LARGEST = 24
NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)


def tree_of(prefix: str) -> Tree:
    tree = Tree()
    for number in range(LARGEST):
        tree.append(leaf_hash(f"{prefix} {number}".encode()))
    return tree


TREE, FORK = tree_of("leaf"), tree_of("fork")


def body(old: int, new: int, *, tree: Tree = TREE, key=KEY, origin: str = ORIGIN, proof=None):
    head = Checkpoint(origin=origin, size=new, root=tree.root(new))
    path = tree.consistency(min(old, new), new) if proof is None else proof
    return encode_add_checkpoint(old, path, sign_checkpoint(head, origin, key))


def state(size: int, tree: Tree = TREE) -> dict[str, WitnessState]:
    return {ORIGIN: WitnessState(size=size, root=tree.root(size))}


@given(st.data())
def test_every_continuation_is_accepted(data):
    """From any size to any larger one the new state is the checkpoint's tree head."""
    new = data.draw(st.integers(0, LARGEST))
    old = data.draw(st.integers(0, new))
    origin, found, note = check_add_checkpoint(body(old, new), LOGS, state(old), NOW)
    assert (origin, found) == (ORIGIN, WitnessState(size=new, root=TREE.root(new), cosigned_at=NOW))
    assert note.text.startswith(ORIGIN)


@given(st.data())
def test_no_fork_is_accepted(data):
    """A checkpoint of another history is never accepted, whatever size and proof it comes with."""
    known = data.draw(st.integers(1, LARGEST))
    new = data.draw(st.integers(1, LARGEST))
    old = data.draw(st.sampled_from([0, known, new]))
    proof = data.draw(st.sampled_from([None, [], TREE.consistency(min(known, new), new)]))
    with pytest.raises(WitnessRefusal) as caught:
        check_add_checkpoint(body(old, new, tree=FORK, proof=proof), LOGS, state(known), NOW)
    assert caught.value.status in {400, 409, 422}


@pytest.mark.parametrize(
    ("request_body", "status", "size"),
    [
        # Each request is wrong in all the ways that are checked later, too.
        (b"nonsense", 400, None),
        (body(9, 5, tree=FORK, key=STRANGER, origin="other.example/log"), 404, None),
        (body(9, 5, tree=FORK, key=STRANGER), 403, None),
        (body(9, 5, tree=FORK), 400, None),
        (body(3, 5, tree=FORK), 409, 7),
        (body(7, 7, tree=FORK), 422, None),
        (body(7, 9, tree=FORK), 422, None),
    ],
)
def test_checks_come_in_the_specifications_order(request_body, status, size):
    """The first thing wrong decides the answer, and only a stale size tells the witness's."""
    with pytest.raises(WitnessRefusal) as caught:
        check_add_checkpoint(request_body, LOGS, state(7), NOW)
    assert (caught.value.status, caught.value.size) == (status, size)


EMPTY_WITH_A_ROOT = encode_add_checkpoint(
    0, [], sign_checkpoint(Checkpoint(origin=ORIGIN, size=0, root=b"\x05" * 32), ORIGIN, KEY)
)


@pytest.mark.parametrize(
    ("request_body", "known", "status", "conflict"),
    [
        (body(7, 7, tree=FORK), 7, 422, Conflict.SPLIT_VIEW),
        (body(3, 7, tree=FORK), 7, 409, Conflict.SPLIT_VIEW),
        (body(0, 7, tree=FORK), 7, 409, Conflict.SPLIT_VIEW),
        (EMPTY_WITH_A_ROOT, 0, 422, Conflict.SPLIT_VIEW),
        (body(7, 9, tree=FORK), 7, 422, Conflict.NOT_CONTINUED),
        (body(7, 9, proof=[]), 7, 422, Conflict.NOT_CONTINUED),
        (body(3, 5), 7, 409, Conflict.ROLLED_BACK),
        (body(7, 5), 7, 400, Conflict.ROLLED_BACK),
        (EMPTY_WITH_A_ROOT, 7, 409, Conflict.ROLLED_BACK),
        # Nothing in these speaks against the log.
        (body(3, 9), 7, 409, None),
        (body(3, 7), 7, 409, None),
        (body(7, 7, proof=[b"x" * 32]), 7, 422, None),
        (body(0, 9, proof=[b"x" * 32]), 0, 422, None),
        (body(9, 5), 0, 400, None),
        (body(7, 7, tree=FORK, key=STRANGER), 7, 403, None),
    ],
)
def test_a_refusal_carries_what_speaks_against_the_log(request_body, known, status, conflict):
    """Only what the log signed counts against it, and only where it differs from what was seen."""
    with pytest.raises(WitnessRefusal) as caught:
        check_add_checkpoint(request_body, LOGS, state(known), NOW)
    view = caught.value.view
    assert (caught.value.status, view and view.conflict) == (status, conflict)
    if view is not None:
        assert [line.name for line in view.note.signatures] == [ORIGIN]


def test_time_does_not_run_backwards():
    """Nothing is cosigned for a time before the last cosignature; the same second will do."""
    last = {ORIGIN: WitnessState(size=7, root=TREE.root(7), cosigned_at=NOW)}
    with pytest.raises(WitnessRefusal) as caught:
        check_add_checkpoint(body(7, 9), LOGS, last, NOW - timedelta(microseconds=1))
    assert (caught.value.status, caught.value.view) == (503, None)
    _, found, _ = check_add_checkpoint(body(7, 9), LOGS, last, NOW + timedelta(microseconds=1))
    assert found.cosigned_at == NOW
    with pytest.raises(WitnessRefusal) as caught:
        check_add_checkpoint(body(7, 9, tree=FORK), LOGS, last, NOW - timedelta(days=1))
    assert caught.value.view is not None


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_requests_are_read_as_written(old, proof):
    """A request's body is read as it was written."""
    request = encode_add_checkpoint(old, proof, b"text\n\n\xe2\x80\x94 name AAAAAAA=\n")
    found = parse_add_checkpoint(request)
    assert isinstance(found, AddCheckpoint)
    assert (found.old_size, list(found.proof)) == (old, proof)


@given(st.integers(0, 400), st.integers(1, 255))
def test_an_altered_request_changes_nothing_or_is_refused(place, change):
    """Any altered byte refuses the request, or leaves the tree head that the log signed."""
    raw = bytearray(body(7, 20))
    raw[place % len(raw)] ^= change
    try:
        _, found, _ = check_add_checkpoint(bytes(raw), LOGS, state(7), NOW)
    except WitnessRefusal:
        return
    assert found == WitnessState(size=20, root=TREE.root(20), cosigned_at=NOW)
