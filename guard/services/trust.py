"""The service of the contract that takes in and hands out trust policies."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from guard.api.v1 import trust_service_pb2 as messages
from guard.api.v1.trust_service_pb2_grpc import TrustServiceServicer
from guard.app.trust import Trust
from guard.services.gate import admission

__all__ = ["TrustService"]


class TrustService(TrustServiceServicer):
    """Translates; ``guard.app.trust`` decides."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    async def PublishTrustPolicy(
        self, request: messages.PublishTrustPolicyRequest, _context: object
    ) -> messages.PublishTrustPolicyResponse:
        """Put a newer policy in force."""
        version = await self._trust.publish(request.envelope, admission().caller.name)
        return messages.PublishTrustPolicyResponse(version=version)

    async def GetTrustPolicy(
        self, request: messages.GetTrustPolicyRequest, _context: object
    ) -> messages.GetTrustPolicyResponse:
        """Return the policies above a version."""
        return messages.GetTrustPolicyResponse(
            envelopes=self._trust.policies(request.after_version)
        )
