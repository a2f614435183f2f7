"""What a witness checks before it cosigns, C2SP tlog-witness v1.1.0, `add-checkpoint`.

1. The checks run in the order of the specification: known origin (404), the log's signature (403),
   old size not above the new one (400), old size equal to the witness's own (409 with that size),
   consistency, equal roots at equal sizes included (422).
2. The time must not be before that of the last cosignature for the log (503): a cosignature says
   that as of its time no larger tree was seen.
3. The answer is made here; whoever calls stores the new state before it sends the cosignature.
4. A refusal of what the log itself signed carries the other view. Two roots for one size convict
   the log by themselves. A tree that is not shown to continue ours, and a smaller one, may also be
   old or sent by a stranger with a useless proof: they have to be looked into.
5. Bodies have at most 63 proof lines and 192 KiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from guard.core.checkpoint import Checkpoint, parse_head, parse_size
from guard.core.merkle import EMPTY_ROOT, verify_consistency
from guard.core.note import Note, VerifierKey, encode_base64, parse_note, verify_note
from guard.core.proof import MAX_HASHES, parse_hash
from guard.core.reasons import Reason, Refused

MAX_REQUEST_BYTES = 192 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessState:
    """The newest tree head that a witness cosigned for one log."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    cosigned_at: datetime | None = None
    """At whole seconds; None when nothing was cosigned yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A parsed `add-checkpoint` body."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note


class Conflict(StrEnum):
    """How a view that the log signed differs from ours (rule 4)."""

    SPLIT_VIEW = "split_view"
    """Another root at our size."""
    NOT_CONTINUED = "not_continued"
    """A larger tree, not proven to continue ours."""
    ROLLED_BACK = "rolled_back"
    """A smaller tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherView:
    """A tree head that the log signed and the witness refused; `note` has the log's line alone."""

    conflict: Conflict
    head: Checkpoint
    note: Note
    old_size: int
    proof: tuple[bytes, ...]


class WitnessRefusal(Exception):  # noqa: N818  # an answer of the protocol, not a fault
    """The checkpoint is not cosigned; `status` is the HTTP status to answer."""

    def __init__(self, status: int, detail: str, *, size: int | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.size = size
        """The witness's own size, to be sent as text/x.tlog.size."""
        self.view: OtherView | None = None
        """What the log signed, where that speaks against it."""


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
    body: bytes,
    logs: Mapping[str, VerifierKey],
    states: Mapping[str, WitnessState],
    now: datetime,
) -> tuple[str, WitnessState, Note]:
    """Return the origin, the state to store and the note to cosign.

    `logs` and `states` are by origin; a missing state is that of the empty tree. Raises
    WitnessRefusal.
    """
    request, claimed = _signed_request(body, logs)
    state = states.get(claimed.origin, WitnessState())
    try:
        _require_continuation(request, claimed, state)
    except WitnessRefusal as refusal:
        refusal.view = _other_view(request, claimed, state, logs[claimed.origin])
        raise
    now = now.replace(microsecond=0)
    if state.cosigned_at is not None and now < state.cosigned_at:  # Rule 2.
        raise WitnessRefusal(503, "the witness's clock is behind its last cosignature")
    found = WitnessState(size=claimed.size, root=claimed.root, cosigned_at=now)
    return claimed.origin, found, request.note


def _signed_request(
    body: bytes, logs: Mapping[str, VerifierKey]
) -> tuple[AddCheckpoint, Checkpoint]:
    try:
        request = parse_add_checkpoint(body)
        claimed = parse_head(request.note.text)
    except Refused as error:
        raise WitnessRefusal(400, error.detail) from error
    log = logs.get(claimed.origin)
    if log is None:
        raise WitnessRefusal(404, "unknown origin")
    try:
        verify_note(request.note, [log])
    except Refused as error:
        raise WitnessRefusal(403, "the checkpoint is not signed by the log") from error
    return request, claimed


def _require_continuation(request: AddCheckpoint, claimed: Checkpoint, state: WitnessState) -> None:
    if request.old_size > claimed.size:
        raise WitnessRefusal(400, "the old size is above the checkpoint's")
    if request.old_size != state.size:
        raise WitnessRefusal(409, "the old size is not the witness's", size=state.size)
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


def _other_view(
    request: AddCheckpoint, claimed: Checkpoint, state: WitnessState, log: VerifierKey
) -> OtherView | None:
    """Return what the refused checkpoint says against the log (rule 4), if anything."""
    if claimed.size < state.size:
        conflict = Conflict.ROLLED_BACK
    elif claimed.size == state.size and claimed.root != state.root:
        conflict = Conflict.SPLIT_VIEW
    elif claimed.size > state.size == request.old_size > 0:
        conflict = Conflict.NOT_CONTINUED
    else:
        return None
    return OtherView(
        conflict=conflict,
        head=claimed,
        note=Note(text=request.note.text, signatures=request.note.by(log)[:1]),
        old_size=request.old_size,
        proof=request.proof,
    )
