"""What a witness checks before it cosigns, C2SP tlog-witness v1.0.0, `add-checkpoint`.

1. The checks run in the order of the specification: known origin (404), the log's signature (403),
   old size not above the new one (400), old size equal to the witness's own (409 with that size),
   equal roots at equal sizes (409), consistency (422).
2. The answer is made here; whoever calls stores the new state before it sends the cosignature.
3. Bodies have at most 63 proof lines and 192 KiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guard.core.checkpoint import (
    parse_checkpoint_text,
    parse_size,
    verify_log_signature,
)
from guard.core.merkle import EMPTY_ROOT, verify_consistency
from guard.core.note import Note, VerifierKey, encode_base64, parse_note
from guard.core.proof import MAX_HASHES, parse_hash
from guard.core.reasons import Reason, Refused

MAX_REQUEST_BYTES = 192 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessState:
    """The newest tree head that a witness cosigned for one log."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A parsed `add-checkpoint` body."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note


class WitnessRefusal(Exception):  # noqa: N818  # an answer of the protocol, not a fault
    """The checkpoint is not cosigned; `status` is the HTTP status to answer."""

    def __init__(self, status: int, detail: str, *, size: int | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.size = size
        """The witness's own size, to be sent as text/x.tlog.size."""


def encode_add_checkpoint(old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return a request body."""
    lines = [f"old {old_size}", *map(encode_base64, proof)]
    return "\n".join(lines).encode() + b"\n\n" + checkpoint


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read a request body. Raises Refused(DOCUMENT_MALFORMED)."""
    if len(body) > MAX_REQUEST_BYTES:
        raise Refused(Reason.DOCUMENT_MALFORMED, "the request is too large")
    head, blank, checkpoint = body.partition(b"\n\n")
    try:
        old, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "the request is not ASCII") from error
    if not blank or not old.startswith("old ") or len(lines) > MAX_HASHES:
        raise Refused(Reason.DOCUMENT_MALFORMED, "the request is not old size, proof, checkpoint")
    return AddCheckpoint(
        old_size=parse_size(old.removeprefix("old ")),
        proof=tuple(parse_hash(line) for line in lines),
        note=parse_note(checkpoint),
    )


def check_add_checkpoint(
    body: bytes, logs: Mapping[str, VerifierKey], states: Mapping[str, WitnessState]
) -> tuple[str, WitnessState, Note]:
    """Return the origin, the state to store and the note to cosign.

    `logs` and `states` are by origin; a missing state is that of the empty tree. Raises
    WitnessRefusal.
    """
    try:
        request = parse_add_checkpoint(body)
        claimed = parse_checkpoint_text(request.note.text)
    except Refused as error:
        raise WitnessRefusal(400, error.detail) from error
    log = logs.get(claimed.origin)
    if log is None:
        raise WitnessRefusal(404, "unknown origin")
    try:
        verify_log_signature(request.note, log)
    except Refused as error:
        raise WitnessRefusal(403, error.detail) from error
    if request.old_size > claimed.size:
        raise WitnessRefusal(400, "the old size is above the checkpoint's")
    state = states.get(claimed.origin, WitnessState())
    if request.old_size != state.size:
        raise WitnessRefusal(409, "the old size is not the witness's", size=state.size)
    if claimed.size == state.size and claimed.root != state.root:
        raise WitnessRefusal(409, "another root at the same size")
    try:
        verify_consistency(
            old_size=state.size,
            old_root=state.root,
            new_size=claimed.size,
            new_root=claimed.root,
            proof=request.proof,
        )
    except Refused as error:
        raise WitnessRefusal(422, error.detail) from error
    return claimed.origin, WitnessState(size=claimed.size, root=claimed.root), request.note
