"""Offline proofs that something is in the log, C2SP `c2sp.org/tlog-proof@v1`.

1. At most 256 KiB: a proof is index, at most 63 hashes, a checkpoint, and extra data.
2. There is one spelling: decimal without leading zeros, canonical base64, newline after every line.
3. The extra data is not authenticated. Whoever uses it hashes it into the leaf that is proven.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guard.core.checkpoint import parse_size
from guard.core.merkle import HASH_BYTES
from guard.core.note import decode_base64, encode_base64
from guard.core.reasons import Reason, Refused

MAX_PROOF_BYTES = 256 * 1024
MAX_HASHES = 63
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """A leaf's index, its way to the root, the checkpoint, and unauthenticated extra data."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = field(repr=False)


def encode_proof(proof: LogProof) -> bytes:
    """Return the proof's text."""
    lines = [_HEADER]
    if proof.extra:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += [encode_base64(digest) for digest in proof.hashes]
    return "\n".join(lines).encode() + b"\n\n" + proof.checkpoint


def parse_proof(data: bytes) -> LogProof:
    """Read a proof without verifying it. Raises Refused(DOCUMENT_MALFORMED)."""
    if len(data) > MAX_PROOF_BYTES:
        raise _malformed("the proof is too large")
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("the proof is not ASCII before its checkpoint") from error
    if not blank or lines.pop(0) != _HEADER or not lines:
        raise _malformed("not a proof")
    extra = b""
    if lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if not extra:
            raise _malformed("the proof's extra data is empty")
    if not lines or not lines[0].startswith("index ") or len(lines) > 1 + MAX_HASHES:
        raise _malformed("the proof has no index or too many hashes")
    index = parse_size(lines.pop(0).removeprefix("index "))
    hashes = tuple(parse_hash(line) for line in lines)
    return LogProof(index=index, hashes=hashes, checkpoint=checkpoint, extra=extra)


def parse_hash(line: str) -> bytes:
    """Read one proof line. Raises Refused(DOCUMENT_MALFORMED)."""
    digest = decode_base64(line)
    if len(digest) != HASH_BYTES:
        raise _malformed("a hash is not 32 bytes long")
    return digest


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, detail)
