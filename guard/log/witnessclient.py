"""Asking one witness for its cosignature, C2SP tlog-witness `add-checkpoint`.

1. A client belongs to one thread at a time; its connection is kept open between requests.
2. The witness says which size it knows; a stale guess is corrected from its answer, at most twice.
3. What comes back is believed only if it verifies under the witness's key.
4. A witness that knows a longer log than the checkpoint cosigns nothing. If that stays so, the
   store was rolled back, and no new grant can be armed. Its word is not remembered, so a false one
   does no lasting harm.
5. A witness that knows another root, or no proof that satisfies it, has refused the checkpoint for
   good, whether it says so by 422 (tlog-witness v1.1.0) or by 409 (v1.0.0).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from guard.core.checkpoint import parse_checkpoint, parse_size, verify_cosignature
from guard.core.note import NoteSignature, VerifierKey, parse_note, parse_signature_lines
from guard.core.reasons import Refused
from guard.core.witnessing import encode_add_checkpoint

_MAX_ANSWER: Final = 64 * 1024
_TRIES: Final = 3
_SIZE_TYPE: Final = "text/x.tlog.size"

Prove = Callable[[int, int], list[bytes]]


class WitnessFailed(Exception):  # noqa: N818  # what a witness did, told to the log's operator
    """A witness did not cosign; the message says why."""


class WitnessClient:
    """A witness at a URL; `timeout` is seconds for each step of a request."""

    def __init__(self, name: str, url: str, *, timeout: float) -> None:
        self.name = name
        parts = urlsplit(url)
        kind = {
            "http": http.client.HTTPConnection,
            "https": http.client.HTTPSConnection,
        }.get(parts.scheme)
        if kind is None or not parts.hostname:
            raise ValueError("a witness's URL is http or https")
        self._path = parts.path.rstrip("/") + "/add-checkpoint"
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self._known = 0

    def cosign(
        self, checkpoint: bytes, keys: Sequence[VerifierKey], prove: Prove
    ) -> tuple[NoteSignature, ...]:
        """Return this witness's cosignatures of a checkpoint, one at least, by these of its keys.

        `prove(old, new)` makes consistency proofs. Raises WitnessFailed.
        """
        size = parse_checkpoint(checkpoint).size
        for _ in range(_TRIES):
            if self._known > size:
                longer, self._known = self._known, 0  # Rule 4.
                raise WitnessFailed(f"knows a log of {longer} records, not of {size}")
            proof = prove(self._known, size)
            status, kind, body = self._post(encode_add_checkpoint(self._known, proof, checkpoint))
            if status == http.HTTPStatus.OK:
                self._known = size
                return _own_lines(checkpoint, body, keys)
            if status != http.HTTPStatus.CONFLICT or kind != _SIZE_TYPE:
                raise WitnessFailed(f"{_words(status)}: {_shown(body)}")
            if (named := _size(body)) == self._known:
                raise WitnessFailed(f"{_words(status)} with the size that it was asked from")
            self._known = named
        raise WitnessFailed("knows another size at every try")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        # A kept connection may have been closed by the other side: that is worth one more try.
        for fresh in (self._connection.sock is None, True):
            try:
                # A body of bytes goes out in one send with the head.
                self._connection.request("POST", self._path, body)
                answer = self._connection.getresponse()
                data = answer.read(_MAX_ANSWER)
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if fresh:
                    raise WitnessFailed(f"cannot be reached: {error}") from error
            else:
                if len(data) == _MAX_ANSWER:
                    self._connection.close()
                return answer.status, answer.headers.get_content_type(), data
        raise WitnessFailed("cannot be reached")


def _own_lines(
    checkpoint: bytes, body: bytes, keys: Sequence[VerifierKey]
) -> tuple[NoteSignature, ...]:
    note, own = parse_note(checkpoint), {(key.name, key.key_id): key for key in keys}
    try:
        lines = [line for line in parse_signature_lines(body) if (line.name, line.key_id) in own]
        for line in lines:
            verify_cosignature(note, line, own[line.name, line.key_id])
    except Refused as error:
        raise WitnessFailed(f"sent what does not verify: {error.detail}") from error
    if not lines:
        raise WitnessFailed("sent no cosignature of its key")
    return tuple(lines)


def _size(body: bytes) -> int:
    try:
        return parse_size(body.decode("ascii").removesuffix("\n"))
    except (UnicodeDecodeError, Refused) as error:
        raise WitnessFailed("sent a malformed size") from error


def _words(status: int) -> str:
    if status in {http.HTTPStatus.CONFLICT, http.HTTPStatus.UNPROCESSABLE_ENTITY}:
        return f"refuses this view of the log, answered {status}"  # Rule 5.
    return f"answered {status}"


def _shown(body: bytes) -> str:
    return repr(body[:80].decode("ascii", "replace").strip())
