"""The bytes that cosigners sign, C2SP tlog-cosignature.

1. An Ed25519 cosigner (0x04) signs a header, the time and the checkpoint's whole text. Its own name
   is not among that.
2. An ML-DSA-44 cosigner (0x06) signs a `cosigned_message` structure: its name, the time, the log's
   origin, the leaves [start, end) and their root. For a checkpoint start is 0 and end its size.
   Names are 1 to 255 bytes there, numbers 8 bytes, big-endian.
"""

from __future__ import annotations

from guard.core.reasons import Reason, Refused

__all__ = ["MAX_COSIGNED_NAME", "checkpoint_message", "subtree_message"]

MAX_COSIGNED_NAME = 255
_LABEL = b"subtree/v1\n\x00"
_NUMBER_BYTES = 8


def checkpoint_message(seconds: int, text: str) -> bytes:
    """Return what an Ed25519 cosigner signs for a checkpoint's text (rule 1).

    `seconds` since 1970, UTC.
    """
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def subtree_message(
    *, cosigner: str, seconds: int, origin: str, start: int, end: int, root: bytes
) -> bytes:
    """Return what an ML-DSA-44 cosigner signs for the leaves [start, end) (rule 2).

    `seconds` since 1970, UTC; 0 where nothing is said of the time. Raises
    Refused(DOCUMENT_MALFORMED) for names that the structure cannot hold.
    """
    return b"".join(
        (
            _LABEL,
            _name(cosigner),
            seconds.to_bytes(_NUMBER_BYTES),
            _name(origin),
            start.to_bytes(_NUMBER_BYTES),
            end.to_bytes(_NUMBER_BYTES),
            root,
        )
    )


def _name(name: str) -> bytes:
    data = name.encode()
    if not 1 <= len(data) <= MAX_COSIGNED_NAME:
        raise Refused(Reason.DOCUMENT_MALFORMED, "a name has no place in an ML-DSA-44 cosignature")
    return bytes([len(data)]) + data
