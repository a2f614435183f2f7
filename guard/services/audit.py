"""The service of the contract that reads the log."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from guard.api.v1 import audit_service_pb2 as messages
from guard.api.v1.audit_service_pb2_grpc import AuditServiceServicer
from guard.app.audit import Audit
from guard.services.translate import MAX_PAGE_BYTES, page_size, to_log_record

__all__ = ["AuditService"]


class AuditService(AuditServiceServicer):
    """Translates; ``guard.app.audit`` reads."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def ListRecords(
        self, request: messages.ListRecordsRequest, _context: object
    ) -> messages.ListRecordsResponse:
        """List records in order."""
        records, size = self._audit.records(request.start, page_size(request.page_size))
        answer = messages.ListRecordsResponse(size=size)
        room = MAX_PAGE_BYTES
        for index, record in enumerate(records, request.start):
            made = to_log_record(index, record)
            room -= made.ByteSize()
            if room < 0 and answer.records:
                break
            answer.records.append(made)
        return answer

    async def GetCheckpoint(
        self, _request: messages.GetCheckpointRequest, _context: object
    ) -> messages.GetCheckpointResponse:
        """Return the newest checkpoint."""
        return messages.GetCheckpointResponse(checkpoint=self._audit.checkpoint())

    async def GetInclusionProof(
        self, request: messages.GetInclusionProofRequest, _context: object
    ) -> messages.GetInclusionProofResponse:
        """Prove that a record is in the log."""
        return messages.GetInclusionProofResponse(proof=self._audit.inclusion(request.index))

    async def GetConsistencyProof(
        self, request: messages.GetConsistencyProofRequest, _context: object
    ) -> messages.GetConsistencyProofResponse:
        """Prove that one checkpoint continues another."""
        hashes = self._audit.consistency(request.old_size, request.new_size)
        return messages.GetConsistencyProofResponse(hashes=hashes)
