"""Fetching a capture: sealed segments are checked as they arrive, then opened if asked.

1. A segment is kept only when its size and SHA-256 are those of its header, and the same stand in a
   receipt signed by a node of the trust policy for this very capture. The guard cannot pass one
   capture's segment off as another's, or change it. Numbers only rise; those left out, because
   their retention is over or for any other reason, are said (`missing`).
2. Nothing gets its final name before it was checked; what failed is removed.
3. Opening decrypts into a temporary file beside the result; only whole pcapng sections make it.
   What was cut short or altered is refused and said, and leaves no plaintext behind.
4. File names are made from the capture id that the caller gave, never from what the guard sends.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyrage

from guard.api.v1.capture_service_pb2 import FetchCaptureResponse, SegmentHeader
from guard.cli.exits import TroubleError, checking
from guard.core.envelope import Kind, parse, verified_keyids
from guard.core.reasons import Reason, Refused
from guard.core.receipt import Receipt, ReceiptKind, parse_receipt
from guard.core.trust import TrustPolicy

__all__ = ["Kept", "keep_segments", "missing", "open_segments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A segment on disk that was checked (rule 1)."""

    number: int
    path: Path
    size: int
    sha256: str
    node: str
    packets: int
    drops: int


def keep_segments(
    capture_id: str, pieces: Iterable[FetchCaptureResponse], folder: Path, policy: TrustPolicy
) -> Iterator[Kept]:
    """Write each segment of the stream below ``folder`` and yield it once it is checked.

    Raises TroubleError at the first that fails; those before it stay.
    """
    kept: Kept | None = None
    for header, chunks in _by_segment(pieces):
        if header.capture_id != capture_id or header.number <= (kept.number if kept else 0):
            raise TroubleError("the guard sent a segment of another capture or twice; refused")
        kept = _keep(header, chunks, folder, policy)
        yield kept


def missing(kept: Sequence[Kept]) -> list[int]:
    """Return the numbers left out before the last segment (rule 1)."""
    here = {segment.number for segment in kept}
    return [number for number in range(1, max(here, default=0)) if number not in here]


def _by_segment(
    pieces: Iterable[FetchCaptureResponse],
) -> Iterator[tuple[SegmentHeader, Iterator[bytes]]]:
    """Split the stream; each inner iterator must be exhausted before the next segment is asked."""
    stream = iter(pieces)
    waiting = [next(stream, None)]

    def chunks() -> Iterator[bytes]:
        for piece in stream:
            if piece.WhichOneof("piece") != "chunk":
                waiting.append(piece)
                return
            yield piece.chunk

    while waiting and (first := waiting.pop()) is not None:
        if first.WhichOneof("piece") != "header":
            raise TroubleError("the guard sent a piece of no segment; refused")
        yield first.header, chunks()


def _keep(
    header: SegmentHeader, chunks: Iterator[bytes], folder: Path, policy: TrustPolicy
) -> Kept:
    name = f"{header.capture_id}-{header.number:06d}.pcapng.age"
    receipt = _receipt(header, policy)
    with _becoming(folder / name) as file:
        _copy(chunks, file, header)
    return Kept(
        number=header.number,
        path=folder / name,
        size=header.size,
        sha256=header.sha256.hex(),
        node=receipt.node,
        packets=int(receipt.details["packets"]),
        drops=int(receipt.details["drops"]),
    )


def _copy(chunks: Iterator[bytes], file: BinaryIO, header: SegmentHeader) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > header.size:
            break
        digest.update(chunk)
        file.write(chunk)
    if size != header.size or digest.digest() != header.sha256:
        raise TroubleError(
            f"segment {header.number} is not what the guard announced; refused. Fetch again"
        )


def _receipt(header: SegmentHeader, policy: TrustPolicy) -> Receipt:
    """Check the node's own word for what the header announces (rule 1), before a byte is kept."""
    with checking(f"the receipt of segment {header.number}"):
        envelope = parse(header.receipt, Kind.RECEIPT)
        receipt = parse_receipt(envelope.payload)
        node = policy.node(receipt.node)
        if node is None or not verified_keyids(envelope, {node.key.keyid: node.key}):
            raise Refused(Reason.SIGNATURE_INVALID, "it is signed by no node of the trust policy")
    said = (receipt.kind, receipt.grant_id, *map(receipt.details.get, ("number", "size", "sha256")))
    announced = (header.number, header.size, header.sha256.hex())
    if said != (ReceiptKind.SEALED, header.capture_id, *announced):
        raise TroubleError(
            f"segment {header.number} is not the one that node {receipt.node} sealed; refused"
        )
    return receipt


def open_segments(segments: Iterable[Kept], identity: pyrage.x25519.Identity, target: Path) -> int:
    """Decrypt ``segments`` and join their sections at ``target``; return its size (rule 3).

    Raises TroubleError.
    """
    with _becoming(target) as joined:
        for segment in segments:
            with tempfile.TemporaryFile(dir=target.parent) as opened:
                _decrypt(segment, identity, opened)
                _require_section(segment, opened)
                opened.seek(0)
                while data := opened.read(1 << 20):
                    joined.write(data)
        return joined.tell()


def _decrypt(segment: Kept, identity: pyrage.x25519.Identity, opened: BinaryIO) -> None:
    try:
        with segment.path.open("rb") as sealed:
            pyrage.decrypt_io(sealed, opened, [identity])
    except (pyrage.DecryptError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's doing, not the file's
        foreign = "no matching keys" in str(error).casefold()
        hint = "it is not sealed to your key" if foreign else "it is cut short or altered"
        raise TroubleError(f"segment {segment.number} does not open: {hint}") from error


_SECTION_HEADER = bytes.fromhex("0a0d0d0a")
_BYTE_ORDERS = {bytes.fromhex("4d3c2b1a"): "little", bytes.fromhex("1a2b3c4d"): "big"}
_SMALLEST_BLOCK = 12


def _require_section(segment: Kept, opened: BinaryIO) -> None:
    """Walk the blocks of one pcapng section (draft-ietf-opsawg-pcapng section 3.1)."""
    size = opened.seek(0, os.SEEK_END)
    opened.seek(0)
    start = opened.read(_SMALLEST_BLOCK)
    order = _BYTE_ORDERS.get(start[8:])
    position = 0
    while order and start[:4] == _SECTION_HEADER and position < size:
        opened.seek(position + 4)
        length = int.from_bytes(opened.read(4), order)  # type: ignore[arg-type] # little or big
        opened.seek(position + length - 4)
        sane = length >= _SMALLEST_BLOCK and length % 4 == 0
        if not sane or int.from_bytes(opened.read(4), order) != length:  # type: ignore[arg-type] # as above
            break
        position += length
    if position != size or not size:
        raise TroubleError(
            f"segment {segment.number} does not hold a whole pcapng section; refused"
        )


@contextmanager
def _becoming(target: Path) -> Iterator[BinaryIO]:
    """Yield a private file that gets the name ``target`` when the block succeeds (rule 2)."""
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".unfinished-")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TroubleError(f"cannot write {target}: {error.strerror}") from error
