"""The service of the contract that starts, stops, watches and hands out captures."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from guard.api.v1 import capture_service_pb2 as messages
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceServicer
from guard.app.captures import Captures
from guard.app.denial import MalformedError
from guard.app.shelf import Shelf
from guard.core.decision import CaptureRequest
from guard.core.level import Level
from guard.core.reasons import Refused
from guard.services.gate import admission
from guard.services.translate import (
    page_size,
    page_token,
    required_id,
    required_text,
    to_capture,
    to_segment_header,
)

__all__ = ["CaptureService"]


class CaptureService(CaptureServiceServicer):
    """Translates; ``guard.app.captures`` decides."""

    def __init__(self, captures: Captures, shelf: Shelf) -> None:
        self._captures = captures
        self._shelf = shelf

    async def RequestCapture(
        self, request: messages.RequestCaptureRequest, _context: object
    ) -> messages.RequestCaptureResponse:
        """Ask for a capture."""
        view = await self._captures.request(
            CaptureRequest(
                request_id=required_id(request.request_id, "request_id"),
                principal=admission().caller.principal,
                authority_id=required_id(request.authority_id, "authority_id"),
                node=required_text(request.node, "node"),
                level=_level(request.level),
            )
        )
        return messages.RequestCaptureResponse(capture=to_capture(view), grant=view.row.grant)

    async def StopCapture(
        self, request: messages.StopCaptureRequest, _context: object
    ) -> messages.StopCaptureResponse:
        """Stop a capture."""
        view = await self._captures.stop(
            required_id(request.capture_id, "capture_id"), admission().caller.principal
        )
        return messages.StopCaptureResponse(capture=to_capture(view))

    async def WatchCapture(
        self, request: messages.WatchCaptureRequest, _context: object
    ) -> AsyncIterator[messages.WatchCaptureResponse]:
        """Stream a capture's state."""
        capture_id = required_id(request.capture_id, "capture_id")
        async for view in self._captures.watch(capture_id, admission().caller.principal):
            yield messages.WatchCaptureResponse(capture=to_capture(view))

    async def ListCaptures(
        self, request: messages.ListCapturesRequest, _context: object
    ) -> messages.ListCapturesResponse:
        """List captures, newest first."""
        size = page_size(request.page_size)
        authority_id = request.authority_id
        views, following = self._captures.page(
            admission().caller.principal,
            authority_id=required_id(authority_id, "authority_id") if authority_id else None,
            limit=size,
            before=page_token(request.page_token),
        )
        return messages.ListCapturesResponse(
            captures=[to_capture(view) for view in views],
            next_page_token=str(following or ""),
        )

    async def FetchCapture(
        self, request: messages.FetchCaptureRequest, _context: object
    ) -> AsyncIterator[messages.FetchCaptureResponse]:
        """Stream a capture's sealed segments."""
        capture_id = required_id(request.capture_id, "capture_id")
        for row in await self._captures.fetch(capture_id, admission().caller.principal):
            yield messages.FetchCaptureResponse(header=to_segment_header(row))
            pieces = self._shelf.read(row.path)
            # The disk may be slow, and everybody else's calls are on this thread.
            while piece := await asyncio.to_thread(_next, pieces):
                yield messages.FetchCaptureResponse(chunk=piece)


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")


def _level(text: str) -> Level | None:
    try:
        return Level.parse(text) if text else None
    except Refused as refused:
        raise MalformedError(refused.detail) from refused
