"""The service of the contract that registers, signs and revokes authorities."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from guard.api.v1 import authority_service_pb2 as messages
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceServicer
from guard.app.authorities import Authorities
from guard.app.denial import MalformedError
from guard.core import envelope as dsse
from guard.services.gate import admission
from guard.services.translate import (
    MAX_PAGE_BYTES,
    page_size,
    page_token,
    required_id,
    required_text,
    to_authority,
)

__all__ = ["AuthorityService"]

_SIGNATURE_BYTES = 64
_KEYID_LENGTH = 64


class AuthorityService(AuthorityServiceServicer):
    """Translates; ``guard.app.authorities`` decides."""

    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities

    async def RegisterWarrant(
        self, request: messages.RegisterWarrantRequest, _context: object
    ) -> messages.RegisterWarrantResponse:
        """Register a warrant."""
        view = await self._authorities.register(
            request.envelope, admission().caller.principal, ticket=False
        )
        return messages.RegisterWarrantResponse(authority=to_authority(view))

    async def OpenTicket(
        self, request: messages.OpenTicketRequest, _context: object
    ) -> messages.OpenTicketResponse:
        """Open a ticket or a test."""
        view = await self._authorities.register(
            request.envelope, admission().caller.principal, ticket=True
        )
        return messages.OpenTicketResponse(authority=to_authority(view))

    async def AddSignature(
        self, request: messages.AddSignatureRequest, _context: object
    ) -> messages.AddSignatureResponse:
        """Add the caller's signature."""
        if len(request.signature) != _SIGNATURE_BYTES or len(request.key_id) != _KEYID_LENGTH:
            raise MalformedError("key_id or signature has another length")
        view = await self._authorities.add_signature(
            required_id(request.authority_id, "authority_id"),
            dsse.Signature(keyid=request.key_id, sig=request.signature),
            admission().caller.principal,
        )
        return messages.AddSignatureResponse(authority=to_authority(view))

    async def RevokeAuthority(
        self, request: messages.RevokeAuthorityRequest, _context: object
    ) -> messages.RevokeAuthorityResponse:
        """Revoke an authority."""
        view = await self._authorities.revoke(
            required_id(request.authority_id, "authority_id"),
            required_text(request.why, "why"),
            admission().caller.principal,
        )
        return messages.RevokeAuthorityResponse(authority=to_authority(view))

    async def GetAuthority(
        self, request: messages.GetAuthorityRequest, _context: object
    ) -> messages.GetAuthorityResponse:
        """Return one authority."""
        authority_id = required_id(request.authority_id, "authority_id")
        view = self._authorities.get(authority_id, admission().caller.principal)
        return messages.GetAuthorityResponse(authority=to_authority(view))

    async def ListAuthorities(
        self, request: messages.ListAuthoritiesRequest, _context: object
    ) -> messages.ListAuthoritiesResponse:
        """List authorities, newest first."""
        size = page_size(request.page_size)
        views, following = self._authorities.page(
            admission().caller.principal, limit=size, before=page_token(request.page_token)
        )
        answer = messages.ListAuthoritiesResponse(next_page_token=str(following or ""))
        room, last = MAX_PAGE_BYTES, 0
        for view in views:
            made = to_authority(view)
            room -= made.ByteSize()
            if room < 0 and answer.authorities:
                answer.next_page_token = str(last)
                break
            answer.authorities.append(made)
            last = view.row.revision
        return answer
