"""What waits to be written to the stream, in the order of its urgency.

1. Receipts first, in the order of their numbers; then the newest heartbeat; then segments, one
   message at a time, so that a long upload never keeps a receipt waiting.
2. Receipts are taken only once the session was told which of the older ones come before them.
   Without that a new receipt could overtake the chain that it belongs to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from agents.session import translate
from agents.session.uploads import Piece, Upload, Uploads
from guard.api.v1 import node_service_pb2 as pb

__all__ = ["Outbox"]


class Outbox:
    """One session's outgoing messages; used from one event loop."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._receipts: deque[bytes] = deque()
        self._caught_up = False
        self._heartbeat: pb.SessionRequest | None = None
        self._news = asyncio.Event()

    def catch_up(self, receipts: Sequence[bytes]) -> None:
        """Begin with the receipts that the guard has not accepted (rule 2)."""
        self._receipts = deque(receipts)
        self._caught_up = True
        self._news.set()

    def put_receipt(self, receipt: bytes) -> None:
        """Append a receipt; before `catch_up` it is among those that come with it."""
        if self._caught_up:
            self._receipts.append(receipt)
            self._news.set()

    def put_heartbeat(self, heartbeat: pb.SessionRequest) -> None:
        """Replace the heartbeat that was not written yet."""
        self._heartbeat = heartbeat
        self._news.set()

    def notice(self) -> None:
        """Look again: the uploads have changed."""
        self._news.set()

    async def next(self) -> pb.SessionRequest:
        """Wait for the next message and take it (rule 1)."""
        while True:
            self._news.clear()
            message = self._urgent() or await self._segment()
            if message is not None:
                return message
            await self._news.wait()

    def _urgent(self) -> pb.SessionRequest | None:
        if self._receipts:
            return translate.receipt(self._receipts.popleft())
        message, self._heartbeat = self._heartbeat, None
        return message

    async def _segment(self) -> pb.SessionRequest | None:
        now = asyncio.get_running_loop().time()
        match self._uploads.next(now) if self._caught_up else None:
            case Upload() as upload:
                return translate.offer(upload)
            case Piece(upload=upload, offset=offset, length=length):
                data = await asyncio.to_thread(_read, upload, offset, length)
                if len(data) == length:
                    return translate.chunk(upload, offset, data)
                # The file is gone or shorter than sealed: somebody removed it by hand.
                self._uploads.drop(upload.grant_id, upload.number)
                self._news.set()
                return None
            case None:
                return None


def _read(upload: Upload, offset: int, length: int) -> bytes:
    try:
        with upload.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError:
        return b""
