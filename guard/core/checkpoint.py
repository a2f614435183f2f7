"""The log's signed tree heads and what witnesses add, C2SP tlog-checkpoint and tlog-cosignature.

1. A checkpoint is a note of exactly three lines: origin, size, root. Extension lines, which the
   specification advises against, are refused.
2. The log's key name is the origin.
3. Trust needs the log's signature and cosignatures that make the quorum of a log policy
   (`guard.core.logpolicy`).
4. A cosignature counts when its time is at most `max_age` in the past and at most 60 seconds in the
   future. A quorum that only old cosignatures make is named stale.
5. A signature of the log or of a known witness that does not verify refuses the whole checkpoint.
"""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.core.cosigned import checkpoint_message, subtree_message
from guard.core.fields import format_time
from guard.core.logpolicy import LogPolicy
from guard.core.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from guard.core.note import (
    KeyType,
    Note,
    NoteSignature,
    PublicKey,
    VerifierKey,
    decode_base64,
    encode_base64,
    parse_note,
    sign_note,
    verifier_key,
    verify_note,
)
from guard.core.reasons import Reason, Refused

FUTURE: Final = timedelta(seconds=60)
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINES = 3
_TIME_BYTES = 8


class CosigningKey(Protocol):
    """A private key, Ed25519 or ML-DSA-44."""

    def public_key(self) -> PublicKey:
        """Return the public half."""

    def sign(self, data: bytes, /) -> bytes:
        """Sign a message."""


class _MadeHere:
    """Only this module has the instance that makes a `TrustedCheckpoint`."""


_TOKEN: Final = _MadeHere()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree head: whose log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedCheckpoint:
    """A tree head that the log signed and a quorum cosigned; made only by `verify_checkpoint`."""

    origin: str
    size: int
    root: bytes
    cosigned_at: datetime
    """The latest time such that a quorum cosigned then or later."""
    token: InitVar[_MadeHere]

    def __post_init__(self, token: _MadeHere) -> None:
        if token is not _TOKEN:
            raise TypeError("only verify_checkpoint makes a TrustedCheckpoint")


def parse_size(text: str) -> int:
    """Read a tree size: decimal, no leading zeros. Raises Refused(DOCUMENT_MALFORMED)."""
    if not _SIZE.fullmatch(text) or int(text) > MAX_SIZE:
        raise _malformed("a tree size is not a decimal number")
    return int(text)


def parse_head(text: str) -> Checkpoint:
    """Read a note text as a tree head, whatever root it gives the empty tree.

    Raises Refused(DOCUMENT_MALFORMED).
    """
    lines = text.removesuffix("\n").split("\n")
    if not text.endswith("\n") or len(lines) != _LINES or not lines[0]:
        raise _malformed("a checkpoint is not origin, size and root")
    size, root = parse_size(lines[1]), decode_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise _malformed("a checkpoint's root is not a hash")
    return Checkpoint(origin=lines[0], size=size, root=root)


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Read a note text as a tree head. Raises Refused(DOCUMENT_MALFORMED)."""
    head = parse_head(text)
    if head.size == 0 and head.root != EMPTY_ROOT:
        raise _malformed("a checkpoint's root is not a root of its size")
    return head


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint without verifying it. Raises Refused(DOCUMENT_MALFORMED)."""
    return parse_checkpoint_text(parse_note(data).text)


def sign_checkpoint(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey) -> bytes:
    """Sign a tree head as the log `name` and return the note."""
    return sign_note(checkpoint.text(), name, key).encode()


def cosign(note: Note, name: str, key: CosigningKey, now: datetime) -> NoteSignature:
    """Cosign a checkpoint as the witness `name`, at whole seconds, by the kind that the key is of.

    Raises Refused(DOCUMENT_MALFORMED) for names too long for ML-DSA-44.
    """
    named = cosigner_key(name, key)
    seconds = int(now.timestamp())
    signature = key.sign(_cosigned(named, seconds, note.text))
    stamped = seconds.to_bytes(_TIME_BYTES) + signature
    return NoteSignature(name=name, key_id=named.key_id, signature=stamped)


def cosigner_key(name: str, key: CosigningKey) -> VerifierKey:
    """Name the public half of a witness's key. Raises Refused(DOCUMENT_MALFORMED)."""
    ed25519 = isinstance(key, Ed25519PrivateKey)
    kind = KeyType.COSIGNATURE if ed25519 else KeyType.COSIGNATURE_MLDSA44
    return verifier_key(name, kind, key.public_key())


def verify_log_signature(note: Note, log: VerifierKey) -> Checkpoint:
    """Return the tree head that this log signed. Raises Refused(CHECKPOINT_UNTRUSTED)."""
    checkpoint = parse_checkpoint_text(note.text)
    if log.type is not KeyType.NOTE or checkpoint.origin != log.name:
        raise _untrusted("the checkpoint is of another log")
    try:
        verify_note(note, [log])
    except Refused as error:
        raise _untrusted("the checkpoint is not signed by the log") from error
    return checkpoint


def verify_cosignature(note: Note, line: NoteSignature, witness: VerifierKey) -> datetime:
    """Return when this witness cosigned. Raises Refused(CHECKPOINT_UNTRUSTED)."""
    if witness.type is KeyType.NOTE:
        raise _untrusted("a cosignature is of a key that signs notes")
    seconds = int.from_bytes(line.signature[:_TIME_BYTES])
    try:
        message = _cosigned(witness, seconds, note.text)
        witness.verify(line.signature[_TIME_BYTES:], message)
        return datetime.fromtimestamp(seconds, UTC)
    except Refused as error:
        raise _untrusted("a cosignature does not verify") from error
    except (ValueError, OverflowError, OSError) as error:
        raise _untrusted("a cosignature's time is out of range") from error


def cosignature_times(note: Note, policy: LogPolicy) -> dict[str, datetime]:
    """Return by its name in the policy when each witness cosigned last (rule 5).

    Raises Refused(CHECKPOINT_UNTRUSTED).
    """
    newest: dict[str, datetime] = {}
    for witness in policy.witnesses:
        for line in note.by(witness.key):
            time = verify_cosignature(note, line, witness.key)
            newest[witness.name] = max(time, newest.get(witness.name, time))
    return newest


def verify_checkpoint(
    data: bytes, *, policy: LogPolicy, now: datetime, max_age: timedelta
) -> TrustedCheckpoint:
    """Trust a checkpoint, or refuse it.

    Raises Refused with CHECKPOINT_UNTRUSTED (not the log's, or a bad signature),
    WITNESS_QUORUM_MISSING, CHECKPOINT_STALE or DOCUMENT_MALFORMED.
    """
    note = parse_note(data)
    checkpoint = verify_log_signature(note, policy.key)
    times = cosignature_times(note, policy)
    present = {name: time for name, time in times.items() if time <= now + FUTURE}
    since = policy.met_since(present)
    if since is None:
        raise Refused(
            Reason.WITNESS_QUORUM_MISSING,
            f"{len(present)} witnesses cosigned the checkpoint; needed are {policy.words()}",
        )
    if since < now - max_age:
        sentence = f"the quorum cosigned last at {format_time(since)}, longer ago than is allowed"
        raise Refused(Reason.CHECKPOINT_STALE, sentence)
    return TrustedCheckpoint(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root,
        cosigned_at=since,
        token=_TOKEN,
    )


def _cosigned(key: VerifierKey, seconds: int, text: str) -> bytes:
    if key.type is not KeyType.COSIGNATURE_MLDSA44:
        return checkpoint_message(seconds, text)
    head = parse_checkpoint_text(text)
    return subtree_message(
        cosigner=key.name,
        seconds=seconds,
        origin=head.origin,
        start=0,
        end=head.size,
        root=head.root,
    )


def _untrusted(detail: str) -> Refused:
    return Refused(Reason.CHECKPOINT_UNTRUSTED, detail)


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, detail)
